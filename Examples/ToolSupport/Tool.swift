package import ArgumentParser
import Dispatch
import Glibc
import SystemPackage

/// What the tools have in common: how they are started, complain and end.
package enum Tool {
    private static let name = FilePath(CommandLine.arguments.first ?? "tool").lastComponent?.string ?? "tool"

    /// Parses the command line, runs `body` and ends the process with its answer.
    ///
    /// 0: done. What else `body` answers is its own. 2: the command line or the machine does not allow it, which one
    /// line on standard error says.
    package static func run<Options: ParsableCommand>(
        _: Options.Type, _ body: (Options) async throws -> Int32
    ) async -> Never {
        do {
            exit(try await body(try Options.parse()))
        } catch {
            if !(error is UsageError), Options.exitCode(for: error).isSuccess {
                print(Options.fullMessage(for: error) + "\n")
                exit(0)
            }
            complain(isParsing(error) ? "\(Options.message(for: error)); see \(name) --help" : "\(error)")
        }
        exit(2)
    }

    /// Whether the error is the argument parser's own, whose description is not for people.
    private static func isParsing(_ error: any Error) -> Bool {
        String(reflecting: type(of: error)).hasPrefix("ArgumentParser.")
    }

    /// Whether standard output is one, so that a line can be written over.
    package static let printsToTerminal = isatty(1) == 1

    /// Standard output, unbuffered, so that what was printed is there whatever happens next.
    package static func print(_ text: String) { _ = try? FileDescriptor.standardOutput.writeAll(text.utf8) }

    /// One line on standard error.
    package static func complain(_ text: String) {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        _ = try? FileDescriptor.standardError.writeAll("\(name): \(line)\n".utf8)
    }

    /// Runs `body`; `stop` is called at each Ctrl-C and each request to end meanwhile, which do not end the process.
    package static func heedingInterrupts<Result>(
        _ stop: @escaping @Sendable () -> Void, _ body: () async throws -> Result
    ) async rethrows -> Result {
        let sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler(handler: stop)
            source.resume()
            return source
        }
        defer {
            for source in sources { source.cancel() }
            for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) }
        }
        return try await body()
    }
}

/// A mistake on the command line: what, where and what to do, in one line. Exit status 2.
package struct UsageError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
