/// Counts of one kind of I/O.
public struct IOCounters: Sendable, Hashable {
    /// Completed with success.
    public internal(set) var operationCount: UInt64 = 0
    public internal(set) var blockCount: UInt64 = 0
    /// From submission to completion, in ticks, summed over all.
    public internal(set) var latencyTicks: UInt64 = 0
    /// The shortest, in ticks; `.max` while there was none.
    public internal(set) var minimumLatencyTicks = UInt64.max
    /// The longest, in ticks.
    public internal(set) var maximumLatencyTicks: UInt64 = 0

    @inline(__always)
    mutating func record(blocks: UInt64, ticks: UInt64) {
        operationCount &+= 1
        blockCount &+= blocks
        latencyTicks &+= ticks
        minimumLatencyTicks = min(minimumLatencyTicks, ticks)
        maximumLatencyTicks = max(maximumLatencyTicks, ticks)
    }

    mutating func add(_ other: IOCounters) {
        operationCount &+= other.operationCount
        blockCount &+= other.blockCount
        latencyTicks &+= other.latencyTicks
        minimumLatencyTicks = min(minimumLatencyTicks, other.minimumLatencyTicks)
        maximumLatencyTicks = max(maximumLatencyTicks, other.maximumLatencyTicks)
    }
}

/// What a bdev, or one of its channels, has done.
public struct IOStatistics: Sendable, Hashable {
    public internal(set) var read = IOCounters()
    public internal(set) var write = IOCounters()
    public internal(set) var unmap = IOCounters()
    /// All other kinds.
    public internal(set) var other = IOCounters()
    /// Failed I/O by status code.
    public internal(set) var errors: [IOStatus.Code: UInt64] = [:]
    /// Submissions repeated because the device had no room.
    public internal(set) var retryCount: UInt64 = 0
    /// Ticks in a second, the unit of the latencies.
    public internal(set) var ticksPerSecond: UInt64 = 0

    mutating func add(_ statistics: IOStatistics) {
        read.add(statistics.read)
        write.add(statistics.write)
        unmap.add(statistics.unmap)
        other.add(statistics.other)
        retryCount &+= statistics.retryCount
        for (code, count) in statistics.errors { errors[code, default: 0] += count }
    }

    /// All kinds together.
    public var total: IOCounters {
        var sum = read
        sum.add(write)
        sum.add(unmap)
        sum.add(other)
        return sum
    }
}

extension IOType {
    /// Counters are kept by raw value.
    static let counterCount = IOType.allCases.count + 1

    @inline(__always)
    var counterIndex: Int { Int(rawValue) }
}
