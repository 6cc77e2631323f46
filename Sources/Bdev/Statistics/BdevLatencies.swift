/// The latencies of one direction of a bdev, counted in buckets of 1.6 %.
public struct LatencyDistribution: Sendable, Hashable {
    /// One bucket that is not empty.
    public struct Bucket: Sendable, Hashable {
        /// The shortest latency that falls into it.
        public let lowerBound: Duration
        /// The longest.
        public let upperBound: Duration
        public let count: UInt64

        public init(lowerBound: Duration, upperBound: Duration, count: UInt64) {
            self.lowerBound = lowerBound
            self.upperBound = upperBound
            self.count = count
        }
    }

    /// Each power of two of ticks has two to the power of this many buckets.
    public static var granularity: Int { Int(LatencyBuckets.granularity) }

    /// Of each bucket, from the shortest latencies on.
    public private(set) var counts: [UInt64]
    /// Ticks in a second, the unit of the buckets.
    let ticksPerSecond: UInt64

    init(counts: [UInt64]? = nil, ticksPerSecond: UInt64) {
        self.counts = counts ?? Array(repeating: 0, count: LatencyBuckets.count)
        self.ticksPerSecond = ticksPerSecond
    }

    /// How many were recorded.
    public var count: UInt64 { counts.reduce(0, &+) }

    /// The latency that `fraction` (0 to 1) of those recorded do not exceed, at most 1.6 % too long; nil when there are
    /// none.
    public func percentile(_ fraction: Double) -> Duration? {
        LatencyBuckets.percentile(fraction, of: counts).map { Duration(ticks: $0, perSecond: ticksPerSecond) }
    }

    /// ``percentile(_:)`` for 50, 90, 99, 99.9 and 99.99 percent; empty when nothing was recorded.
    public var percentiles: [(percent: Double, latency: Duration)] {
        [50, 90, 99, 99.9, 99.99].compactMap { percent in percentile(percent / 100).map { (percent, $0) } }
    }

    /// Those that are not empty, from the shortest on.
    public var buckets: [Bucket] {
        counts.indices.filter { counts[$0] > 0 }.map { index in
            Bucket(
                lowerBound: Duration(ticks: LatencyBuckets.lowerBound(index), perSecond: ticksPerSecond),
                upperBound: Duration(ticks: LatencyBuckets.upperBound(index), perSecond: ticksPerSecond),
                count: counts[index])
        }
    }

    mutating func add(_ other: LatencyDistribution) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
    }
}

/// The latencies of a bdev on all reactors, since recording them began.
public struct BdevLatencies: Sendable {
    /// The kinds of I/O that are recorded.
    public let types: IOTypes
    public internal(set) var read: LatencyDistribution
    public internal(set) var write: LatencyDistribution
    /// All other kinds.
    public internal(set) var other: LatencyDistribution
    /// Ticks in a second, the unit of the buckets.
    public let ticksPerSecond: UInt64

    init(types: IOTypes, ticksPerSecond: UInt64) {
        self.types = types
        self.ticksPerSecond = ticksPerSecond
        let none = LatencyDistribution(ticksPerSecond: ticksPerSecond)
        (read, write, other) = (none, none, none)
    }

    /// All directions together.
    public var total: LatencyDistribution {
        var sum = read
        sum.add(write)
        sum.add(other)
        return sum
    }

    mutating func add(_ part: BdevLatencies) {
        read.add(part.read)
        write.add(part.write)
        other.add(part.other)
    }
}

extension IOTypes {
    /// Every kind there is.
    public static let all = IOTypes(IOType.allCases.map(IOTypes.init))
}
