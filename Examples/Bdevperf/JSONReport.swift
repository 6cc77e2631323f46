/// The results as JSON: for each job the keys of SPDK's `perform_tests`, percentiles, and I/Os for each second on a
/// CPU.
struct JSONReport {
    static func text(_ result: RunResult) -> String {
        let jobs = result.jobs.map { "    " + object(job($0)) }.joined(separator: ",\n")
        let total = object([
            ("iops", fixed(result.sum(\.iops))), ("mibps", fixed(result.sum(\.mibps))),
            ("io_failed", String(result.jobs.reduce(0) { $0 + $1.failed })),
            ("avg_latency_us", fixed(result.average, 3)),
            ("min_latency_us", fixed(result.minimum, 3)), ("max_latency_us", fixed(result.maximum, 3)),
            ("iops_per_cpu_second", result.iopsPerCPUSecond.map { fixed($0) } ?? "null"),
        ])
        return """
            {
              "jobs": [
            \(jobs)
              ],
              "total": \(total),
              "core_count": \(result.coreCount)
            }

            """
    }

    private static func job(_ job: JobResult) -> [(String, String)] {
        var members = [
            ("job", quoted(job.name)), ("core_mask", quoted(job.coreMask)), ("workload", quoted(job.workload)),
            ("status", quoted(job.status)), ("queue_depth", String(job.depth)), ("io_size", String(job.ioByteCount)),
            ("runtime", fixed(job.runtime, 6)), ("iops", fixed(job.iops)), ("mibps", fixed(job.mibps)),
            ("io_failed", String(job.failed)), ("io_timeout", "0"), ("avg_latency_us", fixed(job.average, 3)),
            ("min_latency_us", fixed(job.minimum, 3)), ("max_latency_us", fixed(job.maximum, 3)),
            ("io_completed", String(job.completed)),
            ("iops_per_cpu_second", job.iopsPerCPUSecond.map { fixed($0) } ?? "null"),
        ]
        if let latencies = job.latencies {
            let values = latencies.percentiles(upTo: job.maximum).map {
                (fixed($0.fraction * 100, 5), fixed($0.value, 3))
            }
            members.append(("percentiles_us", object(values)))
        }
        if let failure = job.firstFailure { members.append(("first_failure", quoted(failure))) }
        return members
    }

    private static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\(quoted($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
