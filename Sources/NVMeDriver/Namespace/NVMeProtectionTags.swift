/// What the protection information of a command's blocks is made with, and checked against (NVM Command Set
/// Specification 1.0, section 5.2), where the guard has 16 bits.
public struct NVMeProtectionTags: Hashable, Sendable {
    /// ILBRT and EILBRT: of the first block. It counts up from block to block in types 1 and 2; in type 1 it is the low
    /// half of the block's number.
    public var referenceTag: UInt32
    /// LBAT and ELBAT.
    public var applicationTag: UInt16 = 0
    /// LBATM and ELBATM: which bits of the application tag are checked.
    public var applicationTagMask: UInt16 = .max

    public init(referenceTag: UInt32) { self.referenceTag = referenceTag }

    /// Those that everybody uses: the block's number, and 0. Nothing where there is no protection information.
    init(of namespace: NVMeNamespace, at block: UInt64) {
        let isProtected = namespace.identity.protectionType > 0
        referenceTag = isProtected ? UInt32(truncatingIfNeeded: block) : 0
        applicationTagMask = isProtected ? .max : 0
    }
}

extension SubmissionQueueEntry {
    mutating func set(_ tags: NVMeProtectionTags) {
        cdw14 = tags.referenceTag
        cdw15 = UInt32(tags.applicationTag) | UInt32(tags.applicationTagMask) << 16
    }
}

extension NVMeQueuePair.BlockOptions {
    /// Bytes of the host's memory for each block. With PRACT, metadata that is protection information and nothing else
    /// is made and stripped by the controller.
    func hostBlockByteCount(of namespace: NVMeNamespace) -> Int {
        let strips =
            contains(.protectionAction) && namespace.identity.protectionType > 0
            && namespace.format.metadataByteCount == 8
        return strips ? namespace.format.dataByteCount : namespace.blockByteCount
    }
}
