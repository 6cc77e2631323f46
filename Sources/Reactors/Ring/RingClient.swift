// SAFETY (below): the table keeps its clients alive until they are removed, and a number is below its size.

/// Whoever starts operations on a ``Ring``: subclass it, and ``Ring/add(_:)`` it. Used on the ring's thread only.
open class RingClient {
    /// Its place in the ring's table; 0: on no ring.
    final var number: UInt16 = 0
    /// Operations of this client whose results have not been delivered.
    public internal(set) final var outstanding = 0
    /// It was refused, and will be told when there is room.
    final var wantsRoom = false

    public init() {}

    /// An operation has ended: `result` is what its method says, or a negative errno. It may start others.
    /// `token`: as given when it was started.
    open func ringCompleted(token: UInt64, result: Int32) {}

    /// After a refusal: there is room again. Start what was kept, in order, until refused again.
    open func ringHasRoom() {}
}

/// The clients of a ring, found by the number in an operation's user data.
@safe struct ClientTable: ~Copyable {
    // SAFETY: each entry holds a reference, taken in `add` and taken back in `remove` or deinit. Entry 0 stays empty:
    // it is the ring's own.
    private var clients: ContiguousArray<Unmanaged<RingClient>?> = unsafe [nil]
    private var free: [UInt16] = []
    private var removed: [RingClient] = []

    deinit {
        // SAFETY: as for `clients`.
        for index in unsafe clients.indices { unsafe clients[index]?.release() }
    }

    mutating func add(_ client: RingClient) {
        precondition(client.number == 0, "this client is on a ring already")
        let entry = unsafe Unmanaged.passRetained(client)
        if let number = free.popLast() {
            client.number = number
            unsafe clients[Int(number)] = entry
        } else {
            precondition(unsafe clients.count <= Int(UInt16.max), "a ring has at most 65,535 clients")
            client.number = UInt16(unsafe clients.count)
            unsafe clients.append(entry)
        }
    }

    mutating func remove(_ client: RingClient) {
        precondition(client.outstanding == 0, "a client with operations outstanding cannot leave its ring")
        let number = client.number
        precondition(number != 0, "this client is on no ring")
        // It may be running at this moment: its reference is dropped at the end of the turn.
        // SAFETY: takes back the reference of `add`, once, as the entry is emptied.
        unsafe removed.append(clients[Int(number)]!.takeRetainedValue())
        unsafe clients[Int(number)] = nil
        client.number = 0
        free.append(number)
    }

    /// For the caller to let go of, outside this table: what a client does as it goes may lead back here.
    mutating func takeRemoved() -> [RingClient] {
        if removed.isEmpty { return [] }
        defer { removed = [] }
        return removed
    }

    /// Who is told the result of an operation; nil: nobody.
    @unsafe @inline(__always)
    func client(userData: UInt64) -> Unmanaged<RingClient>? { unsafe clients[Int(userData >> 48)] }
}
