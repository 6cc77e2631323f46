public import Bdev

/// Why a configuration was refused: where in the document, what, and what to do.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    /// What kind of mistake it is. More kinds may be added.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case unreadable, syntax, shape, unknownMethod, unknownKey, missingKey, wrongType, outOfRange, notSupported,
                failed
        }
        private let kind: Kind
        private init(_ kind: Kind) { self.kind = kind }
        public var description: String { kind.rawValue }

        /// The file cannot be read.
        public static let unreadable = Code(.unreadable)
        /// It is not JSON.
        public static let syntax = Code(.syntax)
        /// It is JSON, but no configuration.
        public static let shape = Code(.shape)
        /// There is no method of this name.
        public static let unknownMethod = Code(.unknownMethod)
        /// The method has no parameter of this name.
        public static let unknownKey = Code(.unknownKey)
        /// A parameter that the method needs is not there.
        public static let missingKey = Code(.missingKey)
        /// A parameter is of another type.
        public static let wrongType = Code(.wrongType)
        /// A parameter has a value that it cannot have.
        public static let outOfRange = Code(.outOfRange)
        /// The parameter means something that is not offered.
        public static let notSupported = Code(.notSupported)
        /// The method was called and failed; see ``ConfigurationError/cause``.
        public static let failed = Code(.failed)
    }

    public let code: Code
    /// The place in the document, as in `subsystems[0].config[2].params.block_size`; empty for the document as a whole.
    public let path: String
    /// What is wrong there.
    public let message: String
    /// What to do about it.
    public let advice: String?
    /// The engine's own error, when a method failed.
    public let cause: BdevError?
    /// The file that the document came from.
    public internal(set) var file: String?

    public init(_ code: Code, path: String, _ message: String, advice: String? = nil, cause: BdevError? = nil) {
        self.code = code
        self.path = path
        self.message = message
        self.advice = advice
        self.cause = cause
    }

    /// One line: where, what, what to do.
    public var description: String {
        var parts: [String] = []
        if let file { parts.append(file) }
        if !path.isEmpty { parts.append(path) }
        parts.append(advice.map { "\(message); \($0)" } ?? message)
        return parts.joined(separator: ": ")
    }
}
