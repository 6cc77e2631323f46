import Bdev
import Reactors
import ToolSupport

/// What one job did.
struct JobResult: Sendable {
    var name: String
    var core: Int
    var workload: String
    var depth: Int
    var ioByteCount: Int
    /// In seconds.
    var runtime: Double
    /// Completed with success.
    var completed: UInt64
    var failed: UInt64
    var firstFailure: String?
    /// In microseconds; 0 when nothing completed.
    var average: Double
    var minimum: Double
    var maximum: Double
    var latencies: Latencies?
    /// I/Os for each second that the job's reactor was on a CPU; set when that is known.
    var iopsPerCPUSecond: Double?

    init(_ job: Job, statistics: IOStatistics, runtime: Double, failures: Job.Failures, histogram: LatencyHistogram?) {
        let total = statistics.total
        let microseconds = 1e6 / Double(max(1, statistics.ticksPerSecond))
        name = job.descriptor.name
        core = job.reactor.core
        workload = job.plan.workload.rawValue
        depth = job.plan.depth
        ioByteCount = job.plan.ioByteCount
        self.runtime = runtime
        completed = total.operationCount
        failed = failures.count
        firstFailure = failures.first
        let hasAny = total.operationCount > 0
        average = hasAny ? Double(total.latencyTicks) / Double(total.operationCount) * microseconds : 0
        minimum = hasAny ? Double(total.minimumLatencyTicks) * microseconds : 0
        maximum = hasAny ? Double(total.maximumLatencyTicks) * microseconds : 0
        let longest = maximum
        latencies = histogram.map { histogram in
            Latencies(
                buckets: histogram.buckets.map { (Double($0.upperBound) * microseconds, $0.count) }, maximum: longest)
        }
    }

    var iops: Double { runtime > 0 ? Double(completed) / runtime : 0 }
    var mibps: Double { iops * Double(ioByteCount) / 1_048_576 }
    var failuresPerSecond: Double { runtime > 0 ? Double(failed) / runtime : 0 }
    var coreMask: String {
        // In hexadecimal, however many cores there are.
        let digits = String(1 << (core % 4), radix: 16) + String(repeating: "0", count: core / 4)
        return "0x\(digits)"
    }
    var status: String { failed > 0 ? "failed" : "finished" }
}

/// The jobs of a run.
struct RunResult: Sendable {
    var jobs: [JobResult] = []
    var coreCount = 0
    /// I/Os of all jobs for each second that their reactors were on a CPU.
    var iopsPerCPUSecond: Double?
    var wasInterrupted = false

    var hasFailed: Bool { jobs.contains { $0.failed > 0 } }
    var completed: UInt64 { jobs.reduce(0) { $0 + $1.completed } }
    var average: Double {
        completed == 0 ? 0 : jobs.reduce(0) { $0 + $1.average * Double($1.completed) } / Double(completed)
    }
    var minimum: Double { jobs.filter { $0.completed > 0 }.map(\.minimum).min() ?? 0 }
    var maximum: Double { jobs.map(\.maximum).max() ?? 0 }
    func sum(_ value: (JobResult) -> Double) -> Double { jobs.reduce(0) { $0 + value($1) } }
}
