/// How often each latency occurred, in log-linear buckets: every power of two of ticks is cut into 64 equal parts, so
/// that a value is known to within 1.6 %. Fixed size, no allocation when recording.
public final class LatencyHistogram {
    static let subBucketBits: UInt64 = 6
    private static let subBucketCount = 1 << Int(subBucketBits)
    private static let bucketCount = (64 - Int(subBucketBits) + 1) * subBucketCount

    private var counts: [UInt64]
    /// Values recorded.
    public private(set) var totalCount: UInt64 = 0

    public init() { counts = Array(repeating: 0, count: Self.bucketCount) }

    /// Records one latency, in ticks.
    public func record(_ ticks: UInt64) {
        counts[Self.index(ticks)] &+= 1
        totalCount &+= 1
    }

    static func index(_ ticks: UInt64) -> Int {
        if ticks < UInt64(subBucketCount) { return Int(ticks) }
        let exponent = 63 - UInt64(ticks.leadingZeroBitCount)
        let shift = exponent - subBucketBits
        let within = (ticks >> shift) & UInt64(subBucketCount - 1)
        return (Int(shift) + 1) << Int(subBucketBits) + Int(within)
    }

    /// The largest value that falls into a bucket.
    static func upperBound(_ index: Int) -> UInt64 {
        if index < subBucketCount { return UInt64(index) }
        let shift = UInt64(index >> Int(subBucketBits)) - 1
        let within = UInt64(index & (subBucketCount - 1))
        let start = (UInt64(subBucketCount) + within) << shift
        return start + ((1 << shift) - 1)
    }

    /// The latency, in ticks, that `fraction` (0 to 1) of the recorded values do not exceed; 0 when there are none.
    public func percentile(_ fraction: Double) -> UInt64 {
        let wanted = max(1, UInt64((Double(totalCount) * min(max(fraction, 0), 1)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, count) in counts.enumerated() {
            seen += count
            if seen >= wanted && count > 0 { return Self.upperBound(index) }
        }
        return 0
    }

    /// Adds what another has recorded.
    public func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
        totalCount &+= other.totalCount
    }

    /// The buckets that are not empty: the largest value of each, in ticks, and how many.
    public var buckets: [(upperBound: UInt64, count: UInt64)] {
        counts.indices.lazy.filter { self.counts[$0] > 0 }.map { (Self.upperBound($0), self.counts[$0]) }
    }
}
