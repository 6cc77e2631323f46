public import SystemPackage

/// Why a file or a block device cannot be used.
public struct FileError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is. More kinds may be added.
    public struct Code: Hashable, Sendable {
        private enum Kind {
            case notFound, notPermitted, wrongKind, wrongSize, locked, inUse, carriesData, noSpace, system
        }
        private let kind: Kind
        private init(_ kind: Kind) { self.kind = kind }

        /// There is no such file.
        public static let notFound = Code(.notFound)
        /// The process may not open it so.
        public static let notPermitted = Code(.notPermitted)
        /// It is neither a regular file nor a block device.
        public static let wrongKind = Code(.wrongKind)
        /// It is empty, or a device smaller than asked for.
        public static let wrongSize = Code(.wrongSize)
        /// Another process has locked it.
        public static let locked = Code(.locked)
        /// The device is mounted, or part of another device.
        public static let inUse = Code(.inUse)
        /// The device carries a file system, a partition table or the like.
        public static let carriesData = Code(.carriesData)
        /// It cannot be made as large as asked for.
        public static let noSpace = Code(.noSpace)
        /// The system refused for another reason: see `cause`.
        public static let system = Code(.system)
    }

    public let code: Code
    public let path: String
    /// What went wrong.
    public let message: String
    /// What to do about it.
    public let advice: String
    /// The system's own answer, when there was one.
    public let cause: Errno?

    package init(_ code: Code, _ path: String, _ message: String, cause: Errno? = nil, advice: String) {
        self.code = code
        self.path = path
        self.message = message
        self.advice = advice
        self.cause = cause
    }

    /// One line: where, what, what to do.
    public var description: String {
        let reason = cause.map { ": \($0)" } ?? ""
        return "\(path): \(message)\(reason); \(advice)"
    }
}

extension FileError {
    /// What an errno of open(2) means.
    static func opening(_ path: String, _ cause: Errno, isReadOnly: Bool) -> FileError {
        func error(_ code: Code, _ message: String, _ advice: String) -> FileError {
            FileError(code, path, message, cause: cause, advice: advice)
        }
        switch cause {
        case .noSuchFileOrDirectory:
            return error(.notFound, "cannot be opened", "check the path, or give a size to have the file made")
        case .permissionDenied, .notPermitted:
            return error(
                .notPermitted, "cannot be opened for \(isReadOnly ? "reading" : "writing")",
                isReadOnly ? "run as a user who may read it" : "run as a user who may write it, or open it read-only")
        case .readOnlyFileSystem:
            return error(.notPermitted, "cannot be opened for writing", "open it read-only")
        case .isDirectory:
            return error(.wrongKind, "cannot be opened", "give a regular file or a block device")
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
            return error(.system, "cannot be opened", "raise the limit on open files (ulimit -n)")
        default:
            return error(.system, "cannot be opened", "check the path and the device")
        }
    }
}
