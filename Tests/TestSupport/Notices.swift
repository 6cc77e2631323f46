public import Logging
import Synchronization

/// What was logged at notice and above.
public final class Notices: Sendable {
    private let lines = Mutex<[String]>([])
    public var all: [String] { lines.withLock { $0 } }

    public init() {}

    /// Puts what it is given here.
    public var logger: Logger { Logger(label: "test") { _ in NoticeHandler(notices: self) } }

    fileprivate func add(_ line: String) { lines.withLock { $0.append(line) } }
}

private struct NoticeHandler: LogHandler {
    let notices: Notices
    var logLevel = Logger.Level.notice
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { notices.add("\(event.message)") }
}
