/// A place in a reactor's parking table: where the job of one waiting task is kept until what it waits for has
/// happened.
///
/// Whoever owns the spot (a request, a timer) parks at most one task there and unparks it exactly once.
public struct ParkingSpot: Hashable, Sendable {
    let index: Int
}

/// The jobs of the tasks that wait on one reactor.
///
/// A task suspends by hopping to the `ParkingLot`, an actor whose executor keeps the job it is handed; completing the
/// I/O puts that job in the reactor's run queue. No continuation, no second executor visit, no allocation.
@safe struct ParkingTable: ~Copyable {
    private static let none: UInt = 0
    private var spots: UnsafeMutablePointer<UInt>
    private var capacity: Int
    private var used = 0
    private var free: [Int] = []
    /// Where the next task that hops to the lot is kept. -1 when nobody is expected.
    private var expected = -1

    init(capacity: Int) {
        self.capacity = capacity
        // SAFETY: freed in deinit; every word is initialized.
        unsafe spots = .allocate(capacity: capacity)
        unsafe spots.initialize(repeating: Self.none, count: capacity)
    }

    deinit {
        precondition(parkedCount == 0, "a reactor was destroyed with tasks still waiting on it")
        // SAFETY: allocated in init or grow, trivially destroyed.
        unsafe spots.deallocate()
    }

    /// A spot nobody else has. Control path: the table may grow.
    mutating func makeSpot() -> ParkingSpot {
        if let index = free.popLast() { return ParkingSpot(index: index) }
        if used == capacity { grow() }
        used += 1
        return ParkingSpot(index: used - 1)
    }

    mutating func release(_ spot: ParkingSpot) {
        precondition(!isOccupied(spot), "a parking spot was given back with a task still in it")
        free.append(spot.index)
    }

    private mutating func grow() {
        // SAFETY: the new allocation is twice the old, which is copied whole and freed.
        let larger = UnsafeMutablePointer<UInt>.allocate(capacity: capacity * 2)
        unsafe larger.initialize(repeating: Self.none, count: capacity * 2)
        unsafe larger.update(from: spots, count: capacity)
        unsafe spots.deallocate()
        unsafe spots = larger
        capacity *= 2
    }

    /// How many tasks wait. Counted when asked, which costs a look at every spot, so that parking costs nothing for it.
    var parkedCount: Int {
        var count = 0
        // SAFETY: spots below `used` are initialized.
        for index in 0..<used where unsafe spots[index] != Self.none { count += 1 }
        return count
    }

    func isOccupied(_ spot: ParkingSpot) -> Bool {
        // SAFETY: spots are made by this table, below `used`.
        unsafe spots[spot.index] != Self.none
    }

    /// The task that runs now will hop to the lot next; its job belongs at `spot`.
    mutating func expect(at spot: ParkingSpot) {
        assert(expected < 0, "two tasks are about to park at once")
        expected = spot.index
    }

    /// Takes what the suspended task left: a job or, in the build-time fallback, a continuation.
    mutating func store(_ bits: UInt) {
        precondition(expected >= 0, "a task hopped to a reactor's parking lot without saying what it waits for")
        // SAFETY: `expected` came from a spot of this table.
        unsafe spots[expected] = bits
        expected = -1
    }

    func isCancelled(_ spot: ParkingSpot) -> Bool {
        // SAFETY: spots are made by this table, below `used`.
        let bits = unsafe spots[spot.index]
        if bits == Self.none { return false }
        // SAFETY: the job of a suspended task, and its continuation, are the address of the task, which is alive while
        // it is parked; the runtime contract tests hold the toolchain to it. The library's own handle of a task is that
        // address too.
        let task = unsafe unsafeBitCast(bits, to: UnsafeCurrentTask.self)
        let isCancelled = unsafe task.isCancelled
        return isCancelled
    }

    mutating func take(_ spot: ParkingSpot) -> UInt {
        // SAFETY: spots are made by this table, below `used`.
        let bits = unsafe spots[spot.index]
        precondition(bits != Self.none, "nobody is parked at the spot that was to be woken")
        unsafe spots[spot.index] = Self.none
        return bits
    }
}
