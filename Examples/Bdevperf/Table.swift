import ToolSupport

/// The results as SPDK's bdevperf prints them.
struct Table {
    private static let nameWidth = 28

    static func text(_ result: RunResult, detail: Int) -> String {
        var lines = header()
        for job in result.jobs {
            lines.append(
                " Job: \(job.name) (Core Mask \(job.coreMask), workload: \(job.workload), depth: \(job.depth), "
                    + "IO size: \(job.ioByteCount))"
            )
            lines.append(row("\t \(job.name)", job))
        }
        lines.append(" " + String(repeating: "=", count: 108))
        lines.append(total(result))
        if let perCPU = result.iopsPerCPUSecond { lines.append(" IOPS for each second on a CPU: \(fixed(perCPU, 0))") }
        for job in result.jobs { lines += latencies(job, detail) }
        for job in result.jobs { if let failure = job.firstFailure { lines.append(" First failure: \(failure)") } }
        return lines.joined(separator: "\n") + "\n"
    }

    static func header() -> [String] {
        let names = ["runtime(s)", "IOPS", "MiB/s", "Fail/s", "TO/s", "Average", "min", "max"]
        return [
            "Latency(us)".leftPadded(107),
            " " + "Device Information".rightPadded(nameWidth) + ": "
                + zip(names, widths).map { $0.leftPadded($1) }.joined(separator: " "),
        ]
    }

    private static let widths = [10, 13, 10, 10, 8, 10, 10, 10]

    static func row(_ name: String, _ job: JobResult) -> String {
        let values = [
            job.runtime, job.iops, job.mibps, job.failuresPerSecond, 0, job.average, job.minimum, job.maximum,
        ]
        // A tab counts as eight.
        let width = nameWidth + 1 - (name.hasPrefix("\t") ? 7 : 0)
        return name.rightPadded(width) + ": " + cells(values.map { fixed($0) })
    }

    private static func total(_ result: RunResult) -> String {
        let values = [
            "", fixed(result.sum(\.iops)), fixed(result.sum(\.mibps)), fixed(result.sum(\.failuresPerSecond)), fixed(0),
            fixed(result.average), fixed(result.minimum), fixed(result.maximum),
        ]
        return " " + "Total".rightPadded(nameWidth) + ": " + cells(values)
    }

    private static func cells(_ values: [String]) -> String {
        zip(values, widths).map { $0.leftPadded($1) }.joined(separator: " ")
    }

    private static func latencies(_ job: JobResult, _ detail: Int) -> [String] {
        let lines = job.latencies?.lines("\(job.name) from core \(job.core)", detail: detail) ?? []
        return lines.map { $0.isEmpty ? $0 : " \($0)" }
    }
}
