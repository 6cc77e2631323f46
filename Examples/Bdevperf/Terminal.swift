import Dispatch
import Glibc
import SystemPackage

/// Standard output and error, unbuffered, so that what was printed is there whatever happens next.
enum Terminal {
    static let isTerminal = isatty(1) == 1

    static func print(_ text: String) { _ = try? FileDescriptor.standardOutput.writeAll(text.utf8) }

    /// One line on standard error.
    static func complain(_ text: String) {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        _ = try? FileDescriptor.standardError.writeAll("bdevperf: \(line)\n".utf8)
    }

    /// Calls `body` at each Ctrl-C and each request to end, instead of ending at once.
    static func onInterrupt(_ body: @escaping @Sendable () -> Void) -> Interrupts {
        Interrupts(
            sources: [SIGINT, SIGTERM].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler(handler: body)
                source.resume()
                return source
            })
    }
}

/// Signals that are caught until they are let go again.
struct Interrupts {
    fileprivate let sources: [any DispatchSourceSignal]

    func end() {
        for source in sources { source.cancel() }
        for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) }
    }
}
