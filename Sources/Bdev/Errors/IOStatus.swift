public import SystemPackage

/// How one I/O ended, as a module reports it: one word, cheap enough for the data path.
@frozen
public struct IOStatus: Hashable, Sendable {
    /// What happened. The order is that of SPDK's status values, from success downwards.
    @frozen
    public enum Code: Int8, Sendable {
        case success = 1
        case pending = 0
        /// For no reason that has a code of its own.
        case failed = -1
        /// With an NVMe status; `detail` holds it.
        case nvmeError = -2
        /// With a SCSI status; `detail` holds it.
        case scsiError = -3
        /// The device has no room now: the layer keeps the request and tries again, in order. Never seen by a caller.
        case noMemory = -4
        /// A comparison found a difference.
        case miscompare = -5
        case firstFusedFailed = -6
        /// Given up before it was done: by a reset, a removal or a cancellation.
        case aborted = -7
        /// With an errno; `detail` holds it.
        case systemError = -8
    }

    public let code: Code
    /// What goes with `code`; 0 without any. For `systemError` the errno (positive); for `nvmeError` the NVMe status
    /// with its type in bits 8 to 10 and its code in bits 0 to 7 (`SCT << 8 | SC`), so that 0x282 is an end-to-end
    /// guard check error.
    public let detail: Int32

    @inlinable
    public init(_ code: Code, detail: Int32 = 0) {
        self.code = code
        self.detail = detail
    }

    @inlinable public static var success: IOStatus { IOStatus(.success) }
    @inlinable public static var failed: IOStatus { IOStatus(.failed) }
    @inlinable public static var noMemory: IOStatus { IOStatus(.noMemory) }
    @inlinable public static var aborted: IOStatus { IOStatus(.aborted) }

    /// This kind of I/O is not done: what a module answers to a type it did not announce.
    public static var notSupported: IOStatus { system(.notSupported) }

    /// The device is not there any more.
    public static var removed: IOStatus { system(.operationNotSupportedByDevice) }

    /// A system call's failure.
    public static func system(_ errno: Errno) -> IOStatus { IOStatus(.systemError, detail: errno.rawValue) }

    @inlinable public var isSuccess: Bool { code == .success }

    /// Of an NVMe status: what NVMe calls it, where it is one that the layer gives itself, and its numbers.
    var nvmeDescription: String {
        let name: String? =
            switch detail & 0x7FF {
            case 0x282: "end-to-end guard check error"
            case 0x283: "end-to-end application tag check error"
            case 0x284: "end-to-end reference tag check error"
            case 0x1B8: "zone boundary error"
            case 0x1B9: "zone is full"
            case 0x1BA: "zone is read only"
            case 0x1BB: "zone is offline"
            case 0x1BC: "zone invalid write"
            case 0x1BD: "too many active zones"
            case 0x1BE: "too many open zones"
            case 0x1BF: "invalid zone state transition"
            default: nil
            }
        let numbers = "NVMe status type \(detail >> 8 & 7), code 0x\(String(detail & 0xFF, radix: 16))"
        return name.map { "\($0) (\(numbers))" } ?? numbers
    }
}
