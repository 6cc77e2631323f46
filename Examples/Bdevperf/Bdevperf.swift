import ArgumentParser
import BdevConfiguration
import Glibc
import Reactors

@main
struct Bdevperf {
    static func main() async { exit(await run(Array(CommandLine.arguments.dropFirst()))) }

    /// 0: done. 1: an I/O failed. 2: the command line, the configuration or the machine does not allow the run.
    private static func run(_ arguments: [String]) async -> Int32 {
        do {
            let options = try Options.parse(arguments)
            if options.demo { return try await Demo(options: options).run() }
            if options.executor { return try await Self.measureExecutor(options) }
            return try await Command(options: options).run()
        } catch let error as UsageError {
            Terminal.complain(error.description)
        } catch {
            if Options.exitCode(for: error).isSuccess {
                Terminal.print(Options.fullMessage(for: error) + "\n")
                return 0
            }
            Terminal.complain(isParsing(error) ? "\(Options.message(for: error)); see bdevperf --help" : "\(error)")
        }
        return 2
    }

    private static func measureExecutor(_ options: Options) async throws -> Int32 {
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = !options.sharesCores
        let cores = options.cores == nil ? CoreList.all : try options.coreList()
        Terminal.print(try await ExecutorBenchmark(cores: cores, options: reactorOptions).run())
        return 0
    }

    /// Whether the error is the argument parser's own, whose description is not for people.
    private static func isParsing(_ error: any Error) -> Bool {
        String(reflecting: type(of: error)).hasPrefix("ArgumentParser.")
    }
}
