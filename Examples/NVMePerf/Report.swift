import NVMeDriver
import ToolSupport

/// What one queue did. Times in microseconds, the runtime in seconds.
struct JobResult: Sendable {
    var device: String
    var core: Int
    var depth: Int
    var runtime: Double
    var completed: UInt64
    var failed: UInt64
    var firstFailure: String?
    var average: Double
    var minimum: Double
    var maximum: Double
    var latencies: Latencies?
    /// nil: the kernel's.
    var statistics: NVMeQueuePair.Statistics?

    var iops: Double { runtime > 0 ? Double(completed) / runtime : 0 }
}

/// The results for people, as SPDK's tool prints them, and for programs.
struct Report {
    let plan: Plan
    let results: [JobResult]

    private func mibps(_ iops: Double) -> Double { iops * Double(plan.ioByteCount) / 1_048_576 }

    private var total: JobResult {
        let count = results.reduce(0) { $0 + $1.completed }
        let sum = results.reduce(0) { $0 + $1.average * Double($1.completed) }
        return JobResult(
            device: "Total", core: 0, depth: plan.depth, runtime: results.map(\.runtime).max() ?? 0, completed: count,
            failed: results.reduce(0) { $0 + $1.failed }, average: count > 0 ? sum / Double(count) : 0,
            minimum: results.filter { $0.completed > 0 }.map(\.minimum).min() ?? 0,
            maximum: results.map(\.maximum).max() ?? 0)
    }

    private var totalIOPS: Double { results.reduce(0) { $0 + $1.iops } }

    // MARK: For people

    var table: String {
        let width = max(30, results.map { name($0).count }.max() ?? 0) + 1
        let rule = String(repeating: "=", count: width + 60) + "\n"
        var text = rule + String(repeating: " ", count: width + 46) + "Latency(us)\n"
        text += "Device Information".rightPadded(width) + ":"
        for (title, cell) in zip(["IOPS", "MiB/s", "Average", "min", "max"], Self.widths) {
            text += title.leftPadded(cell)
        }
        text += "\n"
        for result in results { text += row(name(result), result, result.iops, width) }
        text += rule + row("Total", total, totalIOPS, width)
        for result in results {
            for line in result.latencies?.lines(name(result), detail: plan.latencyDetail) ?? [] { text += line + "\n" }
        }
        if plan.printsStatistics { for result in results { text += statistics(result) } }
        for result in results { if let failure = result.firstFailure { text += "First failure: \(failure)\n" } }
        return text
    }

    private static let widths = [12, 11, 11, 11, 11]

    private func name(_ result: JobResult) -> String { "\(result.device) from core \(result.core)" }

    private func row(_ name: String, _ result: JobResult, _ iops: Double, _ width: Int) -> String {
        let values = [iops, mibps(iops), result.average, result.minimum, result.maximum]
        return name.rightPadded(width) + ":" + zip(values, Self.widths).map { fixed($0).leftPadded($1) }.joined() + "\n"
    }

    private func statistics(_ result: JobResult) -> String {
        guard let counts = result.statistics else { return "" }
        return """

            Queue pair of \(name(result)):
              polls: \(counts.polls), of them idle: \(counts.idlePolls)
              commands: \(counts.submitted), of them queued for room: \(counts.queued); completions: \(counts.completed)
              doorbell writes: submission \(counts.submissionDoorbells), completion \(counts.completionDoorbells)

            """
    }

    // MARK: For programs

    var json: String {
        let document: JSON = [
            "jobs": .array(results.map { .object(members($0, iops: $0.iops)) }),
            "total": .object(figures(total, iops: totalIOPS)),
            "core_count": JSON(Set(results.map(\.core)).count),
        ]
        return document.text(depth: 2) + "\n"
    }

    private typealias Member = (key: String, value: JSON)

    private func figures(_ result: JobResult, iops: Double) -> [Member] {
        [
            ("runtime", .number(fixed(result.runtime, 6))), ("iops", .number(fixed(iops))),
            ("mibps", .number(fixed(mibps(iops)))), ("io_completed", JSON(result.completed)),
            ("io_failed", JSON(result.failed)), ("avg_latency_us", .number(fixed(result.average, 3))),
            ("min_latency_us", .number(fixed(result.minimum, 3))),
            ("max_latency_us", .number(fixed(result.maximum, 3))),
        ]
    }

    private func members(_ result: JobResult, iops: Double) -> [Member] {
        var members: [Member] = [
            ("device", .string(result.device)), ("driver", result.statistics == nil ? "kernel" : "nvme"),
            ("core", JSON(result.core)), ("workload", .string(plan.workload.rawValue)),
            ("queue_depth", JSON(result.depth)), ("io_size", JSON(plan.ioByteCount)),
        ]
        members += figures(result, iops: iops)
        if let latencies = result.latencies { members.append(("percentiles_us", latencies.json)) }
        if let counts = result.statistics {
            members += [
                ("polls", JSON(counts.polls)), ("idle_polls", JSON(counts.idlePolls)),
                ("submission_doorbells", JSON(counts.submissionDoorbells)),
                ("completion_doorbells", JSON(counts.completionDoorbells)),
            ]
        }
        if let failure = result.firstFailure { members.append(("first_failure", .string(failure))) }
        return members
    }
}
