import Bdev
import Reactors
import Synchronization
import ToolSupport

/// Raised by the clock, by Ctrl-C and by a failure; looked at before every I/O.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    private let followers = Mutex<[StopFlag]>([])

    init() {}

    /// One that is raised with `other`, and also without it.
    init(following other: StopFlag) { other.followers.withLock { $0.append(self) } }

    var isSet: Bool { flag.load(ordering: .relaxed) }

    func set() {
        flag.store(true, ordering: .relaxed)
        for follower in followers.withLock({ $0 }) { follower.set() }
    }
}

/// What the jobs of one bdev share: the places of `verify` are dealt out of it, each once.
final class Cursor: Sendable {
    private let next = Atomic<UInt64>(0)

    func take() -> UInt64 { next.wrappingAdd(1, ordering: .relaxed).oldValue }
    /// How many have been dealt.
    var count: UInt64 { next.load(ordering: .relaxed) }
}

/// One bdev under load from one reactor.
final class Job: Sendable {
    /// How the work on a bdev is divided among its jobs, and what is left for this one.
    struct Share: Sendable {
        /// This job among those of its bdev.
        var index = 0
        var count = 1
        /// I/Os of this job; nil: until the time is up.
        var ioCount: UInt64?
        /// I/Os of all jobs of the bdev.
        var ioCountOfBdev: UInt64?
        var cursor = Cursor()
        /// How many bytes from the start of the bdev are used; nil: all.
        var region: UInt64?
    }

    let plan: Plan
    let descriptor: BdevDescriptor
    let reactor: Reactor
    let share: Share
    let stop: StopFlag
    /// Blocks of an I/O, and how many of that size the bdev has room for.
    let ioBlocks: UInt64
    let places: UInt64
    private let failures = Mutex(Failures())
    private let running = Mutex<BdevChannel?>(nil)

    struct Failures: Sendable {
        var count: UInt64 = 0
        var first: String?
    }

    init(_ plan: Plan, _ descriptor: BdevDescriptor, on reactor: Reactor, share: Share, stop: StopFlag) {
        var plan = plan
        ioBlocks = UInt64(plan.ioByteCount / descriptor.blockByteCount)
        let blocks = share.region.map { Swift.min($0 / UInt64(descriptor.blockByteCount), descriptor.blockCount) }
        places = Swift.max(1, (blocks ?? descriptor.blockCount) / ioBlocks)
        if let theta = plan.zipfTheta { plan.zipf = Zipf(theta: theta, places: places) }
        self.plan = plan
        self.descriptor = descriptor
        self.reactor = reactor
        self.share = share
        self.stop = stop
    }

    /// The stream of one of `count` slots or groups of slots.
    func stream(_ index: Int, of count: Int) -> Stream {
        Stream(
            plan, places: places, blocks: ioBlocks, index: share.index * count + index, count: share.count * count,
            seed: plan.seed,
            remaining: plan.ioCount(of: index, parts: count, in: share.ioCount))
    }

    func note(_ failure: some CustomStringConvertible) {
        failures.withLock {
            $0.count += 1
            if $0.first == nil { $0.first = "\(descriptor.name): \(failure)" }
        }
        if !plan.continuesAfterFailure { stop.set() }
    }

    func note(_ error: BdevError) {
        failures.withLock {
            $0.count += 1
            if $0.first == nil { $0.first = error.description }
        }
        if !plan.continuesAfterFailure { stop.set() }
    }

    /// I/Os and bytes done so far; nil before the start and after the end.
    func progress() async -> UInt64? {
        guard let channel = running.withLock({ $0 }) else { return nil }
        return await channel.statistics.total.operationCount
    }

    // MARK: Running

    /// Runs to the end of the plan.
    func run() async throws -> JobResult {
        try await descriptor.withChannel(on: reactor) { channel in
            running.withLock { $0 = channel }
            defer { running.withLock { $0 = nil } }
            if plan.latencyDetail > 0 { channel.recordLatencies(in: LatencyHistogram()) }
            let start = ContinuousClock.now
            await load(channel)
            let runtime = ContinuousClock.now - start
            let failures = failures.withLock { $0 }
            return JobResult(
                self, statistics: channel.statistics, runtime: runtime.seconds, failures: failures,
                histogram: channel.latencyHistogram)
        }
    }

    private func load(_ channel: isolated BdevChannel) async {
        switch plan.api {
        case .engine: await runEngine(channel)
        case .batch: await runBatches(channel)
        case .global: await runGlobally(channel)
        case .async:
            // Long-lived tasks, one for each slot, isolated to the channel: an I/O that completes at once does not
            // suspend.
            var tasks: [Task<Void, Never>] = []
            for slot in 0..<plan.depth {
                tasks.append(Task { await self.runSlot(slot, channel) })
            }
            if plan.workload == .reset { tasks.append(Task { await self.resetRepeatedly(channel) }) }
            for task in tasks { await task.value }
        }
    }
}
