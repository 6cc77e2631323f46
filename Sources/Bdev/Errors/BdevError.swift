public import SystemPackage

/// Why a bdev operation failed: what, where, and what to do.
///
/// One word wide, so that a call that may throw costs nothing while it does not.
public struct BdevError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is. More kinds may be added.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        enum Kind: String {
            case noSuchBdev, nameInUse, invalidGeometry, invalidArgument, notPermitted, claimed, notSupported,
                outOfRange
            case misaligned, bufferTooSmall, readOnly, removed, busy, aborted, noMemory, mediaError, noSpace,
                deviceFailed
            case miscompare, closed, moduleFailed, unsafeTarget, timedOut
        }
        let kind: Kind
        public var description: String { kind.rawValue }

        /// No bdev has this name or alias.
        public static let noSuchBdev = Code(kind: .noSuchBdev)
        /// Another bdev has this name, alias or UUID.
        public static let nameInUse = Code(kind: .nameInUse)
        /// A bdev was to be registered with impossible sizes.
        public static let invalidGeometry = Code(kind: .invalidGeometry)
        /// A parameter has no meaning.
        public static let invalidArgument = Code(kind: .invalidArgument)
        /// The system does not let this process do it.
        public static let notPermitted = Code(kind: .notPermitted)
        /// Somebody else has claimed the bdev.
        public static let claimed = Code(kind: .claimed)
        /// This bdev does not do this kind of I/O.
        public static let notSupported = Code(kind: .notSupported)
        /// The blocks lie, in part or whole, beyond the end of the bdev.
        public static let outOfRange = Code(kind: .outOfRange)
        /// An offset or length in bytes is not a whole number of blocks.
        public static let misaligned = Code(kind: .misaligned)
        /// The buffer holds fewer bytes than the operation moves.
        public static let bufferTooSmall = Code(kind: .bufferTooSmall)
        /// The descriptor was opened for reading only.
        public static let readOnly = Code(kind: .readOnly)
        /// The bdev is being, or has been, removed.
        public static let removed = Code(kind: .removed)
        /// It is in use in a way that forbids this.
        public static let busy = Code(kind: .busy)
        /// Given up before it was done: by a reset, a removal or a cancellation.
        public static let aborted = Code(kind: .aborted)
        /// No memory or no request was to be had.
        public static let noMemory = Code(kind: .noMemory)
        /// The medium could not deliver or keep the data.
        public static let mediaError = Code(kind: .mediaError)
        /// No space is left behind the bdev.
        public static let noSpace = Code(kind: .noSpace)
        /// The device failed in another way.
        public static let deviceFailed = Code(kind: .deviceFailed)
        /// A comparison found a difference.
        public static let miscompare = Code(kind: .miscompare)
        /// The descriptor or channel has been closed.
        public static let closed = Code(kind: .closed)
        /// A module could not start or make a bdev.
        public static let moduleFailed = Code(kind: .moduleFailed)
        /// Opening it for writing could destroy data that something else uses.
        public static let unsafeTarget = Code(kind: .unsafeTarget)
        /// It did not happen in the time allowed.
        public static let timedOut = Code(kind: .timedOut)
    }

    private final class Details: Sendable {
        let code: Code
        let bdev: String?
        let message: String
        let advice: String?
        let status: IOStatus?

        init(_ code: Code, bdev: String?, message: String, advice: String?, status: IOStatus?) {
            self.code = code
            self.bdev = bdev
            self.message = message
            self.advice = advice
            self.status = status
        }
    }

    private let details: Details

    /// - Parameters:
    ///   - code: what kind of failure it is.
    ///   - bdev: the name of the bdev concerned.
    ///   - message: what was tried and what is wrong with it.
    ///   - advice: what to do about it.
    ///   - status: the device's own answer.
    public init(
        _ code: Code, bdev: String? = nil, _ message: String, advice: String? = nil, status: IOStatus? = nil
    ) {
        details = Details(code, bdev: bdev, message: message, advice: advice, status: status)
    }

    public var code: Code { details.code }
    /// The name of the bdev concerned.
    public var bdev: String? { details.bdev }
    /// What was tried and what is wrong with it.
    public var message: String { details.message }
    /// What to do about it.
    public var advice: String? { details.advice }
    /// The device's own answer, when there was one.
    public var status: IOStatus? { details.status }
    /// The system call's errno, when that is what failed.
    public var cause: Errno? {
        guard let status, status.code == .systemError else { return nil }
        return Errno(rawValue: status.detail)
    }

    /// One line: what, where, what to do.
    public var description: String {
        var text = bdev.map { "\($0): " } ?? ""
        text += message
        if let cause { text += ": \(cause)" }
        if let status, status.code == .nvmeError { text += ": \(status.nvmeDescription)" }
        if let advice { text += "; \(advice)" }
        return text
    }
}
