import ToolSupport

@main
struct NVMePerf {
    /// 0: done. 1: an I/O failed. 2: the command line or the machine does not allow the run.
    static func main() async {
        await Tool.run(Options.self) { options in
            let plan = try options.plan()
            let stop = StopFlag()
            let results = try await Tool.heedingInterrupts(stop.set) {
                try await Run(plan: plan, stop: stop).perform()
            }
            let report = Report(plan: plan, results: results)
            Tool.print(plan.printsJSON ? report.json : report.table)
            if let failure = results.lazy.compactMap(\.firstFailure).first {
                Tool.complain("\(results.reduce(0) { $0 + $1.failed }) I/Os failed, the first: \(failure)")
                return 1
            }
            return 0
        }
    }
}
