import Bdev
import Reactors
import Synchronization
import ToolSupport

/// Raised by Ctrl-C and by a failure; looked at once in a turn.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    var isSet: Bool { flag.load(ordering: .relaxed) }
    func set() { flag.store(true, ordering: .relaxed) }
}

/// What one queue has in flight, where its I/Os go, and what has come of them. One reactor's.
///
/// The clock is read once in a turn, before the device is looked at: an I/O is counted from the turn that gave it to
/// the turn that found its end.
final class Load {
    struct IO {
        /// Its first block.
        let block: UInt64
        let isRead: Bool
        /// When it was given, in ticks.
        let start: UInt64
    }

    /// I/Os in flight at most.
    let depth: Int
    private let reactor: Reactor
    private let stop: StopFlag
    private let failureInterval: UInt64?
    private let histogram: LatencyHistogram?

    // Where.
    private let blocks: UInt64
    private let places: UInt64
    private let isRandom: Bool
    private let readShare: UInt64
    private var random: UInt64
    private var place: UInt64

    // When. In ticks.
    private var now: UInt64 = 0
    private var start: UInt64 = 0
    private let warmUp: UInt64
    private let duration: UInt64?
    private var hasBegun = false
    private var isWarm = false
    private var end: UInt64 = 0

    // What.
    private var remaining: UInt64
    private var inFlight = 0
    private var completed: UInt64 = 0
    private var failed: UInt64 = 0
    private var firstFailure: String?
    private var sum: UInt64 = 0
    private var minimum = UInt64.max
    private var maximum: UInt64 = 0
    private var isOver = false
    private var spot: ParkingSpot?

    /// - Parameters:
    ///   - blockCount: of the device.
    ///   - blocks: of an I/O.
    ///   - depth: I/Os in flight.
    ///   - index: which of the queues of the run it is.
    init(
        _ plan: Plan, blockCount: UInt64, blocks: UInt64, depth: Int, ioCount: UInt64?, index: Int, stop: StopFlag,
        on local: isolated LocalReactor
    ) {
        self.depth = depth
        reactor = local.reactor
        self.stop = stop
        failureInterval = plan.failureInterval
        histogram = plan.latencyDetail > 0 ? LatencyHistogram() : nil
        self.blocks = blocks
        places = blockCount / blocks
        isRandom = plan.workload.isRandom
        readShare = UInt64(plan.readPercent) << 32 / 100
        // Any state but 0 will do; neighbors must not look alike.
        random = (plan.seed &+ UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15 | 1
        place = UInt64(index) &* 7919 % places
        warmUp = local.loop.clock.ticks(plan.warmUp)
        duration = plan.duration.map(local.loop.clock.ticks)
        remaining = ioCount ?? .max
    }

    // MARK: Time

    /// From now on, time counts. Called before the first I/O.
    func begin() {
        now = reactor.loop.clock.now()
        start = now
        hasBegun = true
    }

    /// Called once in a turn.
    func tick(_ ticks: UInt64) {
        if !hasBegun { return }
        now = ticks
        if !isWarm, now &- start >= warmUp { beginCounting() }
        if let duration, isWarm, now &- start >= duration { remaining = 0 }
        if stop.isSet { remaining = 0 }
    }

    private func beginCounting() {
        isWarm = true
        start = now
        (completed, failed, sum, minimum, maximum) = (0, 0, 0, .max, 0)
    }

    // MARK: I/O

    /// The next one; nil: there are no more.
    @inline(__always)
    func next() -> IO? {
        if remaining == 0 { return nil }
        remaining &-= 1
        inFlight &+= 1
        if !isRandom { place = place &+ 1 == places ? 0 : place &+ 1 }
        let place = isRandom ? draw().multipliedFullWidth(by: places).high : place
        return IO(block: place &* blocks, isRead: readShare >> 32 != 0 || draw() >> 32 < readShare, start: now)
    }

    /// The next 64 random bits: xorshift64, Marsaglia 2003.
    @inline(__always)
    private func draw() -> UInt64 {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return random
    }

    /// One has ended well. `start`: the low 48 bits of its own will do.
    @inline(__always)
    func succeeded(since start: UInt64) {
        let latency = (now &- start) & 0xFFFF_FFFF_FFFF
        completed &+= 1
        sum &+= latency
        if latency < minimum { minimum = latency }
        if latency > maximum { maximum = latency }
        if isWarm { histogram?.record(latency) }
        inFlight &-= 1
    }

    /// One has failed, or could not be given.
    @inline(never)
    func failed(_ what: String) {
        inFlight -= 1
        failed += 1
        if firstFailure == nil { firstFailure = what }
        guard let failureInterval else {
            stop.set()
            remaining = 0
            return
        }
        if failureInterval > 0, failed % failureInterval == 0 { Tool.complain("failure \(failed): \(what)") }
    }

    /// Called after an end for which there was no next one.
    @inline(never)
    func endIfIdle() {
        if inFlight > 0 { return }
        isOver = true
        end = now
        if let spot, reactor.loop.isParked(at: spot) { reactor.loop.unpark(spot) }
    }

    // MARK: The end

    /// Waits until the last one has ended. Called on the reactor.
    nonisolated(nonsending) func wait() async {
        let loop = reactor.loop
        let spot = loop.makeSpot()
        self.spot = spot
        while !isOver { await reactor.park(at: spot) }
        loop.release(spot)
    }

    /// What came of it.
    func result(_ device: String, _ plan: Plan) -> JobResult {
        let clock = reactor.loop.clock
        func microseconds(_ ticks: UInt64) -> Double { Double(ticks) * 1e6 / Double(clock.ticksPerSecond) }
        return JobResult(
            device: device, core: reactor.core, depth: depth, runtime: microseconds(end &- start) / 1e6,
            completed: completed, failed: failed, firstFailure: firstFailure,
            average: completed > 0 ? microseconds(sum) / Double(completed) : 0,
            minimum: completed > 0 ? microseconds(minimum) : 0, maximum: microseconds(maximum),
            latencies: histogram.map { histogram in
                Latencies(
                    buckets: histogram.buckets.map { (microseconds($0.upperBound), $0.count) },
                    maximum: microseconds(maximum))
            })
    }
}
