/// How a command ended: the status field of a completion (NVM Express Base Specification 2.0, section 3.3.3.2), without
/// its phase bit.
@frozen
public struct NVMeStatus: Hashable, Sendable, CustomStringConvertible {
    /// Bits 7:0 the code, 10:8 its type, 12:11 the retry delay, 13 more information in a log page, 14 do not retry.
    public let rawValue: UInt16

    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue & 0x7FFF }

    @inlinable
    public init(type: UInt8, code: UInt8, doNotRetry: Bool = false) {
        rawValue = UInt16(code) | UInt16(type & 7) << 8 | (doNotRetry ? 0x4000 : 0)
    }

    @inlinable public static var success: NVMeStatus { NVMeStatus(rawValue: 0) }

    /// SCT: 0 generic, 1 specific to the command, 2 medium and data integrity, 3 path, 7 the vendor's own.
    @inlinable public var type: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) & 7 }
    /// SC.
    @inlinable public var code: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
    /// DNR: the same command would fail again.
    @inlinable public var doesNotRetry: Bool { rawValue & 0x4000 != 0 }
    /// M: the error information log page says more.
    @inlinable public var hasMoreInformation: Bool { rawValue & 0x2000 != 0 }
    /// CRD: 0, or which of the three delays that the controller's identity names to wait before trying again.
    @inlinable public var retryDelay: Int { Int(rawValue >> 11 & 3) }
    @inlinable public var isSuccess: Bool { rawValue & 0x7FF == 0 }

    /// Whether it is this type and code, whatever the other bits say.
    @inlinable
    public func matches(_ other: NVMeStatus) -> Bool { (rawValue ^ other.rawValue) & 0x7FF == 0 }

    /// The specification's name of it, and what the other bits say.
    public var description: String {
        var text = Self.names[rawValue & 0x7FF] ?? "status code type \(type), status code \(Self.hex(code))"
        if doesNotRetry { text += " (do not retry)" }
        return text
    }

    private static func hex(_ value: UInt8) -> String {
        let digits = String(value, radix: 16)
        return "0x" + (digits.count < 2 ? "0" : "") + digits
    }
}

extension NVMeStatus {
    // What the driver itself looks for, or answers with.
    public static let invalidOpcode = NVMeStatus(type: 0, code: 0x01)
    public static let invalidField = NVMeStatus(type: 0, code: 0x02)
    public static let dataTransferError = NVMeStatus(type: 0, code: 0x04)
    public static let internalError = NVMeStatus(type: 0, code: 0x06)
    public static let abortRequested = NVMeStatus(type: 0, code: 0x07)
    public static let abortedBySubmissionQueueDeletion = NVMeStatus(type: 0, code: 0x08)
    public static let abortedByFailedFused = NVMeStatus(type: 0, code: 0x09)
    public static let abortedByMissingFused = NVMeStatus(type: 0, code: 0x0A)
    public static let invalidNamespace = NVMeStatus(type: 0, code: 0x0B)
    public static let commandSequenceError = NVMeStatus(type: 0, code: 0x0C)
    public static let lbaOutOfRange = NVMeStatus(type: 0, code: 0x80)
    public static let capacityExceeded = NVMeStatus(type: 0, code: 0x81)
    public static let namespaceNotReady = NVMeStatus(type: 0, code: 0x82)
    public static let reservationConflict = NVMeStatus(type: 0, code: 0x83)
    public static let formatInProgress = NVMeStatus(type: 0, code: 0x84)
    public static let writeFault = NVMeStatus(type: 2, code: 0x80)
    public static let unrecoveredReadError = NVMeStatus(type: 2, code: 0x81)
    public static let guardCheckError = NVMeStatus(type: 2, code: 0x82)
    public static let applicationTagCheckError = NVMeStatus(type: 2, code: 0x83)
    public static let referenceTagCheckError = NVMeStatus(type: 2, code: 0x84)
    public static let storageTagCheckError = NVMeStatus(type: 2, code: 0x88)
    public static let compareFailure = NVMeStatus(type: 2, code: 0x85)
    public static let invalidProtectionInformation = NVMeStatus(type: 1, code: 0x81)
    public static let unwrittenBlock = NVMeStatus(type: 2, code: 0x87)
    public static let internalPathError = NVMeStatus(type: 3, code: 0x00)
    public static let commandAbortedByHost = NVMeStatus(type: 3, code: 0x71)
    public static let asymmetricAccessPersistentLoss = NVMeStatus(type: 3, code: 0x01)
    public static let asymmetricAccessInaccessible = NVMeStatus(type: 3, code: 0x02)
    public static let asymmetricAccessTransition = NVMeStatus(type: 3, code: 0x03)

    /// The path to the namespace failed, not the namespace.
    public var isPathError: Bool { type == 3 }
}
