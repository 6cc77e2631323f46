import Reactors
import ToolSupport

/// The figures of a run while it goes on: `-S`.
struct LiveLine {
    private let plan: Plan
    private let jobs: [Job]
    private var samples: [(time: ContinuousClock.Instant, count: UInt64)] = []

    init(_ plan: Plan, _ jobs: [Job]) {
        self.plan = plan
        self.jobs = jobs
    }

    /// - Returns: nil at the first call and once the jobs have ended.
    mutating func next() async -> String? {
        var count: UInt64 = 0
        for job in jobs {
            guard let done = await job.progress() else { return nil }
            count += done
        }
        let now = ContinuousClock.now
        samples.append((now, count))
        if samples.count > plan.liveAverageCount + 1 { samples.removeFirst() }
        guard let oldest = samples.first, samples.count > 1 else { return nil }
        let seconds = (now - oldest.time).seconds
        let iops = Double(count - oldest.count) / seconds
        let mibps = iops * Double(plan.ioByteCount) / 1_048_576
        return "\(fixed(iops).leftPadded(14)) IOPS, \(fixed(mibps).leftPadded(10)) MiB/s"
    }
}
