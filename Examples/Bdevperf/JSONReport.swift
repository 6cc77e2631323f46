import ToolSupport

/// The results as JSON: for each job the keys of SPDK's `perform_tests`, percentiles, and I/Os for each second on a
/// CPU.
struct JSONReport {
    static func text(_ result: RunResult) -> String {
        let document: JSON = [
            "jobs": .array(result.jobs.map(job)),
            "total": [
                "iops": .number(fixed(result.sum(\.iops))), "mibps": .number(fixed(result.sum(\.mibps))),
                "io_failed": JSON(result.jobs.reduce(0) { $0 + $1.failed }),
                "avg_latency_us": .number(fixed(result.average, 3)),
                "min_latency_us": .number(fixed(result.minimum, 3)),
                "max_latency_us": .number(fixed(result.maximum, 3)),
                "iops_per_cpu_second": rate(result.iopsPerCPUSecond),
            ],
            "core_count": JSON(result.coreCount),
        ]
        return document.text(depth: 2) + "\n"
    }

    private static func rate(_ value: Double?) -> JSON { value.map { .number(fixed($0)) } ?? .null }

    private static func job(_ job: JobResult) -> JSON {
        var members: [(key: String, value: JSON)] = [
            ("job", .string(job.name)), ("core_mask", .string(job.coreMask)), ("workload", .string(job.workload)),
            ("status", .string(job.status)), ("queue_depth", JSON(job.depth)), ("io_size", JSON(job.ioByteCount)),
            ("runtime", .number(fixed(job.runtime, 6))), ("iops", .number(fixed(job.iops))),
            ("mibps", .number(fixed(job.mibps))), ("io_failed", JSON(job.failed)), ("io_timeout", JSON(0)),
            ("avg_latency_us", .number(fixed(job.average, 3))), ("min_latency_us", .number(fixed(job.minimum, 3))),
            ("max_latency_us", .number(fixed(job.maximum, 3))), ("io_completed", JSON(job.completed)),
            ("iops_per_cpu_second", rate(job.iopsPerCPUSecond)),
        ]
        if let latencies = job.latencies { members.append(("percentiles_us", latencies.json)) }
        if let failure = job.firstFailure { members.append(("first_failure", .string(failure))) }
        return .object(members)
    }
}
