/// What the protection information of a command's blocks is made with, and checked against (NVM Command Set
/// Specification 1.0, section 5.2). It means nothing where blocks have none.
public struct NVMeProtectionTags: Hashable, Sendable {
    /// ILBRT and EILBRT: of the first block. It counts up from block to block in types 1 and 2, and after the last that
    /// it has bits for (``NVMeProtection/referenceTagBitCount``) comes 0; in type 1 it is the low bits of the block's
    /// number. A command with one of more bits is refused.
    public var referenceTag: UInt64
    /// LBAT and ELBAT.
    public var applicationTag: UInt16 = 0
    /// LBATM and ELBATM: which bits of the application tag are checked.
    public var applicationTagMask: UInt16 = .max
    /// LBST and ELBST: of all blocks. A command with one of more bits than ``NVMeProtection/storageTagBitCount`` is
    /// refused.
    public var storageTag: UInt64 = 0

    public init(referenceTag: UInt64) { self.referenceTag = referenceTag }

    /// Those that everybody uses: the block's number, and 0.
    init(of protection: NVMeProtection, at block: UInt64) { referenceTag = block & protection.referenceTagMask }
}

extension SubmissionQueueEntry {
    /// The standard tags of what begins at `block`, unless `tags` are others. Nothing where there is no protection
    /// information.
    ///
    /// - Throws: `invalidArgument` for tags that have more bits than the format has for them.
    mutating func set(
        _ tags: NVMeProtectionTags?, of protection: NVMeProtection?, at block: UInt64
    ) throws(NVMeError) {
        guard let protection else { return }
        let tags = tags ?? NVMeProtectionTags(of: protection, at: block)
        if tags.referenceTag & ~protection.referenceTagMask != 0 || tags.storageTag & ~protection.storageTagMask != 0 {
            throw NVMeError(
                .invalidArgument,
                "reference tag \(tags.referenceTag) or storage tag \(tags.storageTag) is too long: they have "
                    + "\(protection.referenceTagBitCount) and \(protection.storageTagBitCount) bits")
        }
        // Words 2, 3 and 14 are one number, the highest first: the storage tag, and below it the reference tag.
        let count = UInt64(protection.referenceTagBitCount)
        set(lowTagBits: tags.storageTag << count | tags.referenceTag)
        cdw2 = UInt32(truncatingIfNeeded: tags.storageTag >> (64 - count))
        cdw15 = UInt32(tags.applicationTag) | UInt32(tags.applicationTagMask) << 16
    }

    private mutating func set(lowTagBits bits: UInt64) {
        cdw14 = UInt32(truncatingIfNeeded: bits)
        cdw3 = UInt32(truncatingIfNeeded: bits >> 32)
    }

    /// Of a part of `whole`: its reference tag, counted up for the `blockCount` blocks before it. No bit is carried
    /// into the storage tag. `mask`: the bits that count.
    mutating func countTag(of whole: SubmissionQueueEntry, by blockCount: UInt64, mask: UInt64) {
        let bits = UInt64(whole.cdw14) | UInt64(whole.cdw3) << 32
        set(lowTagBits: bits & ~mask | (bits &+ blockCount) & mask)
    }

    /// The standard reference tag of what begins at ``startBlock``; the storage tag is 0. `mask`: the tag's bits.
    package mutating func setStandardTag(mask: UInt64) { set(lowTagBits: startBlock & mask) }
}

extension NVMeQueuePair.BlockOptions {
    /// With PRACT, metadata that is protection information and nothing else is made and stripped by the controller.
    private func omitsMetadata(of namespace: NVMeNamespace) -> Bool {
        contains(.protectionAction) && namespace.canOmitMetadata
    }

    /// Bytes of the host's memory for each block.
    func hostBlockByteCount(of namespace: NVMeNamespace) -> Int {
        omitsMetadata(of: namespace) ? namespace.format.dataByteCount : namespace.blockByteCount
    }

    /// Bytes of the host's memory for each block's metadata, where that lies apart.
    func separateMetadataByteCount(of namespace: NVMeNamespace) -> Int {
        omitsMetadata(of: namespace) ? 0 : namespace.separateMetadataByteCount
    }
}
