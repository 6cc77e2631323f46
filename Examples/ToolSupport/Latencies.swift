/// Latencies that were counted in buckets, in microseconds.
package struct Latencies: Sendable {
    private let buckets: [(upTo: Double, count: UInt64)]
    private let maximum: Double
    private let total: Double

    /// As SPDK's tools print them.
    private static let fractions = [
        0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999, 0.999999,
    ]

    /// - Parameters:
    ///   - buckets: the end of each, and how many lie in it; in rising order.
    ///   - maximum: the largest there was: buckets are wider than that.
    package init(buckets: [(upTo: Double, count: UInt64)], maximum: Double) {
        self.buckets = buckets
        self.maximum = maximum
        total = Double(buckets.reduce(0) { $0 + $1.count })
    }

    /// What so many of them did not exceed, rising.
    package var percentiles: [(fraction: Double, value: Double)] {
        var seen: UInt64 = 0, position = 0
        return Self.fractions.map { fraction in
            while position < buckets.count, Double(seen) < (total * fraction).rounded(.up) {
                seen += buckets[position].count
                position += 1
            }
            return (fraction, position == 0 ? 0 : min(maximum, buckets[position - 1].upTo))
        }
    }

    /// For people, as SPDK's tools print it.
    ///
    /// `detail`: 0 for nothing, 1 for percentiles, 2 for every bucket too.
    package func lines(_ name: String, detail: Int) -> [String] {
        if detail < 1 { return [] }
        var lines = ["", "Summary latency data for \(name):", String(repeating: "=", count: 80)]
        for (fraction, value) in percentiles {
            lines.append("\(fixed(fraction * 100, 5).leftPadded(9))% : \(fixed(value, 3).leftPadded(9))us")
        }
        if detail < 2 { return lines }
        lines += ["", "Latency histogram for \(name):", "      us up to     Cumulative    IO count"]
        var seen: UInt64 = 0
        for (upTo, count) in buckets {
            seen += count
            let share = fixed(Double(seen) / total * 100, 4)
            lines.append("\(fixed(upTo, 3).leftPadded(14)): \(share.leftPadded(12))%  (\("\(count)".leftPadded(9)))")
        }
        return lines
    }

    package var json: JSON {
        .object(percentiles.map { (key: fixed($0.fraction * 100, 5), value: .number(fixed($0.value, 3))) })
    }
}
