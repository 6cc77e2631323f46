public import SystemPackage

/// A queue of system calls that are worked off elsewhere: by the kernel (io_uring), by threads, or by a simulated
/// world.
///
/// One for each reactor, used on its thread only. Operations are prepared during a turn and handed over together at
/// its end; results come back to the ``RingClient`` that asked, in any order, never from within the call that started
/// the operation.
///
/// Every operation answers whether there was room. When it was refused, nothing has happened: the client keeps it, in
/// order, and is told through ``RingClient/ringHasRoom()`` when to go on. Clients that wait are served in the order
/// they came, and nobody overtakes them.
///
/// Memory, ``IOVectorList``s and descriptors given to an operation must live until its result is delivered.
///
/// Cost of an operation: no allocation, and a share of one system call for each turn. Cancelling a task does nothing
/// here: see ``cancel(token:for:)``.
open class Ring {
    /// How a ring is made.
    public struct Options: Sendable {
        /// Entries of the submission queue, a power of two, at most 4,096.
        public var entries = 256
        /// Operations that may be outstanding, a power of two, at most 32,768: the entries of the completion queue.
        public var completionEntries = 2048
        /// Completions are polled for instead of interrupting (IORING_SETUP_IOPOLL): files opened with O_DIRECT on
        /// devices that can.
        public var pollsCompletions = false
        /// A kernel thread takes submissions without a system call (IORING_SETUP_SQPOLL).
        public var pollsSubmissions = false
        /// How many files may be registered. Others work too, at the price of a look-up for each operation.
        public var fileSlots = 256
        /// How many regions of memory may be registered. Others work too, at the price of pinning their pages for
        /// each operation.
        public var bufferSlots = 256
        /// How many threads stand in where there is no io_uring.
        public var threads = 4
        /// Behave as on a kernel that forbids io_uring.
        public var isForbidden = false

        public init() {}
    }

    /// What is in force.
    public internal(set) final var features: RingFeatures
    /// Operations started whose results have not been delivered.
    public internal(set) final var outstanding = 0
    /// The most that may be outstanding.
    public final let capacity: Int
    /// After ``close(within:)``: every operation is refused, for good.
    public private(set) final var isClosed = false

    private final var table = ClientTable()
    private final var waiting: [RingClient] = []
    /// The first of `waiting` while it is being told that there is room.
    private final var serving: RingClient?
    /// A client is being told a result: it must not be freed by leaving.
    private final var isDelivering = false

    public init(features: RingFeatures, capacity: Int) {
        self.features = features
        self.capacity = capacity
    }

    // MARK: For subclasses

    /// Takes an operation, to be started at the next ``turn()``. False: there is no room, and nothing has happened.
    /// Must not deliver its result.
    open func prepare(_ operation: RingOperation) -> Bool { preconditionFailure("a ring must override prepare(_:)") }

    /// Submits what was prepared, and delivers what is complete. Called once in a turn; must not block.
    ///
    /// `.busy`: something was submitted or delivered. `.pending`: operations are outstanding that only the next call
    /// can find complete.
    open func turn() -> PollResult { preconditionFailure("a ring must override turn()") }

    /// Blocks until a completion is ready, the reactor is woken, or `nanoseconds` have passed (nil: no limit). May
    /// return early.
    open func wait(nanoseconds: UInt64?) { preconditionFailure("a ring must override wait(nanoseconds:)") }

    /// Operations are outstanding that another thread works off: of this process, or of the kernel on its behalf,
    /// which is how it reads files of tmpfs and of devices that cannot be asked without blocking. A reactor that has
    /// nothing to do should let it have the core (sched_yield(2)) instead of spinning: that more than doubles the
    /// rate on a small machine.
    open var yieldsCore: Bool { false }

    /// Frees what the ring holds of the system. Called once, with nothing outstanding.
    open func releaseResources() {}

    /// Hands a result to the client that asked. For subclasses, from ``turn()``.
    @inline(__always)
    public final func deliver(userData: UInt64, result: Int32) {
        outstanding -= 1
        // SAFETY: a client with operations outstanding stays in the table, and `remove` keeps it to the end of the
        // turn.
        guard let client = unsafe table.client(userData: userData) else { return }
        isDelivering = true
        unsafe client._withUnsafeGuaranteedRef {
            $0.outstanding -= 1
            $0.ringCompleted(token: userData & RingOperation.tokenMask, result: result)
        }
        isDelivering = false
    }

    /// Tells waiting clients that there is room, the first first, as long as there is. For subclasses, at the end of
    /// ``turn()``.
    public final func serveWaiting() {
        _ = table.takeRemoved()
        if waiting.isEmpty || isClosed { return }
        while outstanding < capacity, let client = waiting.first {
            client.wantsRoom = false
            serving = client
            client.ringHasRoom()
            serving = nil
            if client.wantsRoom { return }
            waiting.removeFirst()
        }
    }

    /// Whether a client waits for room.
    public final var hasWaitingClients: Bool { !waiting.isEmpty }

    // MARK: Clients

    /// Lets `client` start operations here. A client is on one ring at a time; 65,535 clients at most.
    public final func add(_ client: RingClient) { table.add(client) }

    /// Nothing of `client` may be outstanding. It may be called from inside
    /// ``RingClient/ringCompleted(token:result:)``.
    public final func remove(_ client: RingClient) {
        waiting.removeAll { $0 === client }
        client.wantsRoom = false
        table.remove(client)
        if !isDelivering { _ = table.takeRemoved() }
    }

    /// The one way in: refuses while others wait, and remembers whom it refused.
    @inline(__always)
    private final func start(_ operation: RingOperation, for client: RingClient) -> Bool {
        assert(client.number != 0, "this client is on no ring: add it first")
        if outstanding < capacity, waiting.isEmpty || serving === client, !isClosed, prepare(operation) {
            outstanding += 1
            client.outstanding += 1
            return true
        }
        refuse(client)
        return false
    }

    private final func refuse(_ client: RingClient) {
        if client.wantsRoom { return }
        client.wantsRoom = true
        if serving !== client { waiting.append(client) }
    }

    // MARK: Operations

    /// Reads from `offset` (bytes) into `memory`: preadv2(2), IORING_OP_READ or READ_FIXED. The result is the number
    /// of bytes, fewer at the end of the file.
    /// `token`: comes back with the result; 48 bits.
    public final func read(
        _ file: RingFile, at offset: Int64, into memory: IOMemory, flags: TransferFlags = [], token: UInt64,
        for client: RingClient
    ) -> Bool {
        start(
            RingOperation(.read, file, offset, memory, buffer: bufferIndex(memory), flags, client, token), for: client)
    }

    /// Writes `memory` to `offset` (bytes): pwritev2(2), IORING_OP_WRITE or WRITE_FIXED. The result is the number of
    /// bytes.
    public final func write(
        _ file: RingFile, at offset: Int64, from memory: IOMemory, flags: TransferFlags = [], token: UInt64,
        for client: RingClient
    ) -> Bool {
        start(
            RingOperation(.write, file, offset, memory, buffer: bufferIndex(memory), flags, client, token), for: client)
    }

    /// Reads from `offset` (bytes) into the pieces of `vectors`, one after another. The list must not change until
    /// the result is here.
    public final func read(
        _ file: RingFile, at offset: Int64, into vectors: IOVectorList, flags: TransferFlags = [], token: UInt64,
        for client: RingClient
    ) -> Bool {
        if let memory = vectors.single {
            return read(file, at: offset, into: memory, flags: flags, token: token, for: client)
        }
        return start(RingOperation(.readVector, file, offset, vectors, flags, client, token), for: client)
    }

    /// Writes the pieces of `vectors` to `offset` (bytes), one after another. The list must not change until the
    /// result is here.
    public final func write(
        _ file: RingFile, at offset: Int64, from vectors: IOVectorList, flags: TransferFlags = [], token: UInt64,
        for client: RingClient
    ) -> Bool {
        if let memory = vectors.single {
            return write(file, at: offset, from: memory, flags: flags, token: token, for: client)
        }
        return start(RingOperation(.writeVector, file, offset, vectors, flags, client, token), for: client)
    }

    /// Makes what was written durable: fsync(2), or fdatasync(2) with `dataOnly`. The result is 0. It covers writes
    /// whose results were delivered before it was started.
    public final func synchronize(
        _ file: RingFile, dataOnly: Bool = true, token: UInt64, for client: RingClient
    ) -> Bool {
        start(RingOperation(.synchronize, file, 0, 0, flags: dataOnly ? 1 : 0, client, token), for: client)
    }

    /// Changes what stands behind a range of bytes: fallocate(2). The result is 0. Block devices take `.zero` and
    /// `.punchHole`, which there mean BLKZEROOUT, without and with leave to unmap.
    public final func allocate(
        _ file: RingFile, at offset: Int64, byteCount: Int64, mode: AllocationMode, token: UInt64,
        for client: RingClient
    ) -> Bool {
        start(RingOperation(.allocate, file, offset, byteCount, flags: mode.rawValue, client, token), for: client)
    }

    /// Tells a block device that a range of bytes is not needed any more: BLKDISCARD, or BLOCK_URING_CMD_DISCARD from
    /// Linux 6.12. The result is 0. What the range reads as afterwards is the device's choice.
    public final func discard(
        _ file: RingFile, at offset: Int64, byteCount: Int64, token: UInt64, for client: RingClient
    ) -> Bool {
        start(RingOperation(.discard, file, offset, byteCount, flags: 0, client, token), for: client)
    }

    /// Waits until a descriptor is ready for one of `events` (POLLIN and so on, poll(2)). The result is the events
    /// found.
    public final func poll(_ file: RingFile, events: UInt32, token: UInt64, for client: RingClient) -> Bool {
        start(RingOperation(.poll, file, 0, 0, flags: events, client, token), for: client)
    }

    /// Does nothing, asynchronously. The result is 0.
    public final func nop(token: UInt64, for client: RingClient) -> Bool {
        start(RingOperation(.nop, .none, 0, 0, flags: 0, client, token), for: client)
    }

    /// Asks for an operation of `client` to end soon. It ends either way and delivers its result: -ECANCELED, or what
    /// it would have been. False: there was no room to ask; the client is not put on the waiting list for this.
    public final func cancel(token: UInt64, for client: RingClient) -> Bool {
        let target = RingOperation.userData(client, token)
        if isClosed || outstanding == capacity || !prepare(RingOperation(cancelling: target)) { return false }
        outstanding += 1
        return true
    }

    // MARK: Files and buffers

    /// Makes a descriptor cheaper to use. When the table is full or the kernel refuses, the descriptor is used as it
    /// is.
    /// - Returns: what operations are given, until ``unregister(_:)``.
    open func register(_ descriptor: FileDescriptor) -> RingFile { RingFile(descriptor) }

    /// Gives the file's slot back. Nothing may be outstanding on it. The descriptor stays open and is the caller's to
    /// close.
    open func unregister(_ file: RingFile) {}

    /// Pins a region of memory once instead of for each operation, and keeps it alive as long as the ring. False: the
    /// kernel refused (``features`` says why); the memory can be used all the same.
    open func register(_ region: MemoryRegion) -> Bool { false }

    /// The number under which the kernel knows the memory; -1: none.
    @inline(__always)
    private final func bufferIndex(_ memory: IOMemory) -> Int32 { buffers.index(of: memory.arena) }
    package final var buffers = ArenaTable()

    // MARK: The end

    /// Delivers what is outstanding, refusing everything new, and frees the ring. On the ring's thread. Blocks for at
    /// most `limit`.
    ///
    /// - Returns: how many operations had not ended by then. If there are any, the kernel may still write where they
    ///   point: the ring and the memory registered with it are left in place for good, and the caller should say so.
    @discardableResult
    public final func close(within limit: Duration = .seconds(5)) -> Int {
        if isClosed { return 0 }
        isClosed = true
        let clock = ReactorClock.kernel()
        let end = clock.now() &+ clock.ticks(limit)
        while outstanding > 0, clock.now() < end {
            if turn() != .busy { wait(nanoseconds: 1_000_000) }
        }
        if outstanding == 0 {
            releaseResources()
        } else {
            // SAFETY: never released, on purpose: see above.
            unsafe _ = Unmanaged.passRetained(self)
        }
        return outstanding
    }
}
