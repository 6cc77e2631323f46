public import Reactors

/// What one kind of I/O did in the time between two snapshots.
public struct IORate: Sendable, Hashable {
    /// I/Os completed with success.
    public let operationCount: UInt64
    public let byteCount: UInt64
    public let operationsPerSecond: Double
    public let bytesPerSecond: Double
    /// The mean of the latencies of those I/Os; nil when there were none.
    public let averageLatency: Duration?

    init(from before: IOCounters, to after: IOCounters, elapsed: Duration, ticksPerSecond: UInt64) {
        operationCount = after.operationCount &- before.operationCount
        byteCount = after.byteCount &- before.byteCount
        operationsPerSecond = elapsed > .zero ? Double(operationCount) * (.seconds(1) / elapsed) : 0
        bytesPerSecond = elapsed > .zero ? Double(byteCount) * (.seconds(1) / elapsed) : 0
        let ticks = after.latencyTicks &- before.latencyTicks
        averageLatency = operationCount > 0 ? Duration(ticks: ticks / operationCount, perSecond: ticksPerSecond) : nil
    }
}

/// What one bdev did in the time between two snapshots.
public struct BdevActivity: Sendable {
    /// The bdev's name.
    public let name: String
    public let read: IORate
    public let write: IORate
    public let unmap: IORate
    public let copy: IORate
    /// All other kinds.
    public let other: IORate
    /// All kinds together.
    public let total: IORate
    /// I/Os that failed.
    public let errorCount: UInt64
    /// Submissions repeated because the device had no room.
    public let retryCount: UInt64
    /// As ``BdevEngine/queueDepthSamples(of:)``.
    public let queueDepth: QueueDepthSamples?

    init(_ bdev: RegisteredBdev, from before: IOStatistics, to after: IOStatistics, elapsed: Duration) {
        name = bdev.name
        func rate(_ kind: KeyPath<IOStatistics, IOCounters>) -> IORate {
            IORate(
                from: before[keyPath: kind], to: after[keyPath: kind], elapsed: elapsed,
                ticksPerSecond: after.ticksPerSecond)
        }
        (read, write, unmap, copy, other) = (rate(\.read), rate(\.write), rate(\.unmap), rate(\.copy), rate(\.other))
        total = rate(\.total)
        errorCount = after.errorCount &- before.errorCount
        retryCount = after.retryCount &- before.retryCount
        queueDepth = bdev.sampler.samples
    }
}

/// What bdevs did in the time since the snapshot before.
public struct IOStatisticsSnapshot: Sendable {
    /// When it was taken, on the clock of the engine's first reactor.
    public let instant: ReactorInstant
    /// The time since the snapshot before.
    public let elapsed: Duration
    /// In the order of registration.
    public let bdevs: [BdevActivity]
}

/// Snapshots at times of what bdevs do, for tools like `iostat`. Made by ``BdevEngine/statisticsStream(of:every:)``.
///
/// Nothing runs for it between two calls of `next()`: whoever leaves leaves nothing behind.
public struct IOStatisticsStream: AsyncSequence, Sendable {
    public typealias Element = IOStatisticsSnapshot
    public typealias Failure = Never

    let engine: BdevEngine
    let names: [String]?
    let period: Duration

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: self) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let stream: IOStatisticsStream
        private var last: StatisticsReading?
        private var isOver = false

        init(stream: IOStatisticsStream) { self.stream = stream }

        /// nil when the engine stops or the task is cancelled, which is noticed within 100 ms; and from then on.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> IOStatisticsSnapshot? {
            if isOver { return nil }
            guard let (snapshot, reading) = await stream.engine.snapshot(stream, after: last) else {
                isOver = true
                return nil
            }
            last = reading
            return snapshot
        }

        public mutating func next() async -> IOStatisticsSnapshot? { await next(isolation: #isolation) }
    }
}

/// What bdevs had done at an instant.
struct StatisticsReading: Sendable {
    let instant: ReactorInstant
    // The bdevs are kept, so that another does not come to lie where one of them was.
    let figures: [(bdev: RegisteredBdev, statistics: IOStatistics)]

    func statistics(of bdev: RegisteredBdev) -> IOStatistics {
        figures.first { $0.bdev === bdev }?.statistics ?? IOStatistics()
    }
}

extension BdevEngine {
    /// What the bdevs of these names, or all, do: a snapshot every `period`, the first one `period` after the first
    /// call of the iterator's `next()`, for one or for several consumers. Ends when the engine stops.
    ///
    /// Each snapshot is of the time since the one before, however late the consumer asks for it; a reset of the
    /// statistics does not show. A bdev that is not there is left out, one that has come is taken from its registration
    /// on. Cost of a snapshot: a message to each reactor for each bdev.
    ///
    /// - Parameters:
    ///   - names: names or aliases; nil: all that ``list()`` shows.
    ///   - period: more than 0.
    public nonisolated func statisticsStream(of names: [String]? = nil, every period: Duration) -> IOStatisticsStream {
        precondition(period > .zero, "a stream of statistics needs a period above 0")
        return IOStatisticsStream(engine: self, names: names, period: period)
    }

    fileprivate func snapshot(
        _ stream: IOStatisticsStream, after last: StatisticsReading?
    ) async -> (IOStatisticsSnapshot, StatisticsReading)? {
        let before: StatisticsReading
        if let last { before = last } else { before = await reading(of: stream.names) }
        // Cancellation wakes nobody: looked at as often as a pending open does.
        let isDue = await waitUntil(before.instant.advanced(by: stream.period), atMost: .milliseconds(100)) {
            !isStopping && !Task.isCancelled
        }
        if !isDue { return nil }
        let after = await reading(of: stream.names)
        if isStopping { return nil }
        let elapsed = before.instant.duration(to: after.instant)
        let bdevs = after.figures.map { bdev, statistics in
            BdevActivity(bdev, from: before.statistics(of: bdev), to: statistics, elapsed: elapsed)
        }
        return (IOStatisticsSnapshot(instant: after.instant, elapsed: elapsed, bdevs: bdevs), after)
    }

    private func reading(of names: [String]?) async -> StatisticsReading {
        let instant = home.loop.clock.instant
        var figures: [(bdev: RegisteredBdev, statistics: IOStatistics)] = []
        for bdev in bdevs {
            if let names {
                if !names.contains(where: { self.names[$0] === bdev }) { continue }
            } else if await !bdev.isAnnounced {
                continue
            }
            var sum = IOStatistics()
            for reactor in reactors { sum.add(await reactor.local.lifetimeStatistics(of: bdev)) }
            sum.ticksPerSecond = home.backend.clock.ticksPerSecond
            figures.append((bdev, sum))
        }
        return StatisticsReading(instant: instant, figures: figures)
    }
}
