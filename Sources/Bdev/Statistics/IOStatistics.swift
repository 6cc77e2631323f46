/// Counts of one kind of I/O.
public struct IOCounters: Sendable, Hashable {
    /// Completed with success.
    public internal(set) var operationCount: UInt64 = 0
    public internal(set) var blockCount: UInt64 = 0
    /// `blockCount` blocks in bytes.
    public internal(set) var byteCount: UInt64 = 0
    /// From submission to completion, in ticks, summed over all.
    public internal(set) var latencyTicks: UInt64 = 0
    /// The shortest, in ticks; `.max` while there was none.
    public internal(set) var minimumLatencyTicks = UInt64.max
    /// The longest, in ticks.
    public internal(set) var maximumLatencyTicks: UInt64 = 0

    mutating func add(_ other: IOCounters) {
        operationCount &+= other.operationCount
        blockCount &+= other.blockCount
        byteCount &+= other.byteCount
        latencyTicks &+= other.latencyTicks
        minimumLatencyTicks = min(minimumLatencyTicks, other.minimumLatencyTicks)
        maximumLatencyTicks = max(maximumLatencyTicks, other.maximumLatencyTicks)
    }

    mutating func forgetExtremes() { (minimumLatencyTicks, maximumLatencyTicks) = (.max, 0) }
}

/// What a bdev, or one of its channels, has done.
///
/// A part of an I/O that the layer cut up counts, and the whole does not; so does what an emulated kind of I/O became.
public struct IOStatistics: Sendable, Hashable {
    public internal(set) var read = IOCounters()
    public internal(set) var write = IOCounters()
    public internal(set) var unmap = IOCounters()
    public internal(set) var copy = IOCounters()
    /// All other kinds.
    public internal(set) var other = IOCounters()
    /// Failed I/O by status code; those that there were.
    public internal(set) var errors: [IOStatus.Code: UInt64] = [:]
    /// Submissions repeated because the device had no room.
    public internal(set) var retryCount: UInt64 = 0
    /// Ticks in a second, the unit of the latencies.
    public internal(set) var ticksPerSecond: UInt64 = 0

    mutating func add(_ statistics: IOStatistics) {
        read.add(statistics.read)
        write.add(statistics.write)
        unmap.add(statistics.unmap)
        copy.add(statistics.copy)
        other.add(statistics.other)
        retryCount &+= statistics.retryCount
        for (code, count) in statistics.errors { errors[code, default: 0] += count }
    }

    /// Begins anew with what `reset` names.
    mutating func reset(_ reset: StatisticsReset) {
        switch reset {
        case .none: break
        case .errors: errors = [:]
        case .all:
            let rate = ticksPerSecond
            self = IOStatistics()
            ticksPerSecond = rate
        case .extremes:
            read.forgetExtremes()
            write.forgetExtremes()
            unmap.forgetExtremes()
            copy.forgetExtremes()
            other.forgetExtremes()
        }
    }

    /// All kinds together.
    public var total: IOCounters {
        var sum = read
        for counters in [write, unmap, copy, other] { sum.add(counters) }
        return sum
    }

    /// All failures together.
    public var errorCount: UInt64 { errors.values.reduce(0, &+) }

    /// The mean of one kind's latencies; nil when there was none of it.
    public func averageLatency(_ kind: KeyPath<IOStatistics, IOCounters>) -> Duration? {
        let counters = self[keyPath: kind]
        if counters.operationCount == 0 { return nil }
        return Duration(ticks: counters.latencyTicks / counters.operationCount, perSecond: ticksPerSecond)
    }
}

/// What of a bdev's figures begins anew. For everybody who reads them: they are kept once.
public enum StatisticsReset: Sendable, Hashable {
    /// Nothing.
    case none
    /// Everything.
    case all
    /// The shortest and longest latencies.
    case extremes
    /// The counts of failures.
    case errors
}

/// What a channel counts of one kind of I/O.
struct ChannelCounters {
    private var operationCount: UInt64 = 0
    private var blockCount: UInt64 = 0
    private var latencyTicks: UInt64 = 0
    private var minimumLatencyTicks = UInt64.max
    private var maximumLatencyTicks: UInt64 = 0

    @inline(__always)
    mutating func record(blocks: UInt64, ticks: UInt64) {
        operationCount &+= 1
        blockCount &+= blocks
        latencyTicks &+= ticks
        minimumLatencyTicks = min(minimumLatencyTicks, ticks)
        maximumLatencyTicks = max(maximumLatencyTicks, ticks)
    }

    mutating func forgetExtremes() { (minimumLatencyTicks, maximumLatencyTicks) = (.max, 0) }

    func counters(blockByteCount: UInt64) -> IOCounters {
        var result = IOCounters()
        result.operationCount = operationCount
        result.blockCount = blockCount
        result.byteCount = blockCount &* blockByteCount
        result.latencyTicks = latencyTicks
        result.minimumLatencyTicks = minimumLatencyTicks
        result.maximumLatencyTicks = maximumLatencyTicks
        return result
    }
}

extension Duration {
    /// Rounded down to nanoseconds.
    init(ticks: UInt64, perSecond rate: UInt64) {
        let (seconds, rest) = ticks.quotientAndRemainder(dividingBy: max(1, rate))
        let (high, low) = rest.multipliedFullWidth(by: 1_000_000_000)
        let nanoseconds = max(1, rate).dividingFullWidth((high, low)).quotient
        self = .seconds(Int64(clamping: seconds)) + .nanoseconds(Int64(nanoseconds))
    }
}

extension IOType {
    /// Counters are kept by raw value.
    static let counterCount = IOType.allCases.count + 1

    @inline(__always)
    var counterIndex: Int { Int(rawValue) }
}
