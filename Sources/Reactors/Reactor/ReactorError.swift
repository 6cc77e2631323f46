public import SystemPackage

/// Why reactors could not be started or used.
public struct ReactorError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is. More kinds may be added.
    public struct Code: Hashable, Sendable {
        private enum Kind {
            case invalidCoreList, coreUnavailable, coreInUse, resourceExhausted, stopped, topologyUnreadable
        }
        private let kind: Kind
        private init(_ kind: Kind) { self.kind = kind }

        /// The text or list of cores has no meaning.
        public static let invalidCoreList = Code(.invalidCoreList)
        /// A core does not exist, is offline, or the process may not run on it.
        public static let coreUnavailable = Code(.coreUnavailable)
        /// Another process has a reactor on the core.
        public static let coreInUse = Code(.coreInUse)
        /// The system refused a thread, a descriptor or memory.
        public static let resourceExhausted = Code(.resourceExhausted)
        /// The reactor has been shut down.
        public static let stopped = Code(.stopped)
        /// The files that describe the machine are missing or make no sense.
        public static let topologyUnreadable = Code(.topologyUnreadable)
    }

    public let code: Code
    /// What went wrong, and where.
    public let message: String
    /// What to do about it.
    public let advice: String
    /// The system's own answer, when there was one.
    public let cause: Errno?

    package init(_ code: Code, _ message: String, cause: Errno? = nil, advice: String) {
        self.code = code
        self.message = message
        self.advice = advice
        self.cause = cause
    }

    /// One line: what, where, what to do.
    public var description: String {
        let reason = cause.map { ": \($0)" } ?? ""
        return "\(message)\(reason); \(advice)"
    }
}
