/// How often each latency occurred, in log-linear buckets: every power of two of ticks is cut into 64 equal parts, so
/// that a value is known to within 1.6 %. Fixed size, no allocation when recording. The buckets are those of SPDK's
/// histograms with a granularity of 6.
public final class LatencyHistogram {
    private var counts: InlineArray<3776, UInt64>

    public init() { counts = InlineArray(repeating: 0) }

    /// Records one latency, in ticks.
    @inline(__always)
    public func record(_ ticks: UInt64) { counts[LatencyBuckets.index(ticks)] &+= 1 }

    /// Values recorded.
    public var totalCount: UInt64 { all.reduce(0, &+) }

    /// The latency, in ticks, that `fraction` (0 to 1) of the recorded values do not exceed; 0 when there are none.
    public func percentile(_ fraction: Double) -> UInt64 { LatencyBuckets.percentile(fraction, of: all) ?? 0 }

    /// Adds what another has recorded.
    public func add(_ other: LatencyHistogram) {
        for index in 0..<LatencyBuckets.count { counts[index] &+= other.counts[index] }
    }

    /// The buckets that are not empty: the largest value of each, in ticks, and how many.
    public var buckets: [(upperBound: UInt64, count: UInt64)] {
        (0..<LatencyBuckets.count).filter { counts[$0] > 0 }.map { (LatencyBuckets.upperBound($0), counts[$0]) }
    }

    /// Of each bucket.
    var all: [UInt64] { (0..<LatencyBuckets.count).map { counts[$0] } }
}

/// Which latencies share a bucket.
enum LatencyBuckets {
    /// Each power of two has two to the power of this many buckets.
    static let granularity: UInt64 = 6
    private static let countPerRange = 1 << Int(granularity)
    static let count = (64 - Int(granularity) + 1) * countPerRange

    @inline(__always)
    static func index(_ ticks: UInt64) -> Int {
        // Below 64 each value has a bucket of its own, which is what the first power of two from 64 on has too.
        let shift = 57 &- (ticks | 64).leadingZeroBitCount
        return shift &<< Int(granularity) &+ Int(truncatingIfNeeded: ticks &>> UInt64(truncatingIfNeeded: shift))
    }

    /// The smallest value that falls into a bucket.
    static func lowerBound(_ index: Int) -> UInt64 {
        if index < countPerRange { return UInt64(index) }
        let shift = UInt64(index >> Int(granularity)) - 1
        return UInt64(countPerRange + index % countPerRange) << shift
    }

    /// The largest.
    static func upperBound(_ index: Int) -> UInt64 {
        if index < countPerRange { return UInt64(index) }
        let shift = UInt64(index >> Int(granularity)) - 1
        return lowerBound(index) + ((1 << shift) - 1)
    }

    /// The largest value of the bucket with the value that `fraction` of all do not exceed; nil when there are none.
    static func percentile(_ fraction: Double, of counts: [UInt64]) -> UInt64? {
        let total = counts.reduce(0, &+)
        let wanted = max(1, UInt64((Double(total) * min(max(fraction, 0), 1)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, count) in counts.enumerated() {
            seen += count
            if seen >= wanted && count > 0 { return upperBound(index) }
        }
        return nil
    }
}
