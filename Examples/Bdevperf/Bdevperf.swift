import Reactors
import ToolSupport

@main
struct Bdevperf {
    /// 0: done. 1: an I/O failed. 2: the command line, the configuration or the machine does not allow the run.
    static func main() async {
        await Tool.run(Options.self) { options in
            if options.demo { return try await Demo(options: options).run() }
            if options.executor { return try await measureExecutor(options) }
            return try await Command(options: options).run()
        }
    }

    private static func measureExecutor(_ options: Options) async throws -> Int32 {
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = !options.sharesCores
        let cores = options.cores == nil ? CoreList.all : try options.coreList()
        Tool.print(try await ExecutorBenchmark(cores: cores, options: reactorOptions).run())
        return 0
    }
}
