/// What the protection information in the metadata of a namespace's blocks looks like (NVM Command Set Specification
/// 1.0, section 5.2 and figure 101).
public struct NVMeProtection: Hashable, Sendable {
    /// PIF: the tuple of a block, whose numbers are big-endian. What it holds besides the guard and the application
    /// tag, its *space*, is divided into a storage tag and, below it, the reference tag.
    public enum Format: UInt8, Hashable, Sendable, CaseIterable {
        /// 8 bytes: a guard of 16 bits, the application tag, a space of 32 bits.
        case guard16 = 0
        /// 16 bytes: a guard of 32 bits, the application tag, a space of 80 bits.
        case guard32 = 1
        /// 16 bytes: a guard of 64 bits, the application tag, a space of 48 bits.
        case guard64 = 2

        /// Of the tuple.
        public var byteCount: Int { self == .guard16 ? 8 : 16 }

        /// Bits of the storage tag and the reference tag together.
        public var spaceBitCount: Int {
            switch self {
            case .guard16: 32
            case .guard32: 80
            case .guard64: 48
            }
        }

        /// How many bits a storage tag may have. It leaves at most 64 for the reference tag.
        public var storageTagBitCounts: ClosedRange<Int> {
            switch self {
            case .guard16: 0...32
            case .guard32: 16...64
            case .guard64: 0...48
            }
        }
    }

    /// DPS bits 2:0, 1 to 3: what the reference tag means.
    public let type: Int
    public let format: Format
    /// STS.
    public let storageTagBitCount: Int
    /// DPS bit 3: the tuple stands at the start of the metadata, not at its end.
    public let isFirst: Bool

    /// Nil for what cannot be: a type but 1 to 3, a storage tag that the format has no room for.
    ///
    /// `storageTagBitCount`: nil: the fewest that there are in `format`.
    public init?(type: Int, format: Format = .guard16, storageTagBitCount: Int? = nil, isFirst: Bool = false) {
        let count = storageTagBitCount ?? format.storageTagBitCounts.lowerBound
        if !(1...3 ~= type) || !format.storageTagBitCounts.contains(count) { return nil }
        self.type = type
        self.format = format
        self.storageTagBitCount = count
        self.isFirst = isFirst
    }

    /// What a namespace says of it, which is not trusted. Nil for what cannot be.
    ///
    /// `extended`: its identity in the NVM command set (Identify with CNS 5, figure 100); nil where the controller has
    /// no extended formats: the guard has 16 bits then, and there is no storage tag.
    init?(_ identity: IdentifyNamespace, metadataByteCount: Int, extended: DataReader?) {
        var format = Format.guard16, count = 0
        if let extended {
            let entry = extended.double(12 + 4 * identity.formatIndex)
            // 3: a qualifier says it, where PIC bit 3 says that there are qualifiers.
            let plain = entry >> 7 & 3, isQualified = plain == 3 && extended.byte(8) & 8 != 0
            guard let known = Format(rawValue: UInt8(isQualified ? entry >> 9 & 0xF : plain)) else { return nil }
            format = known
            count = Int(entry & 0x7F)
        }
        if format.byteCount > metadataByteCount { return nil }
        self.init(
            type: identity.protectionType, format: format, storageTagBitCount: count,
            isFirst: identity.isProtectionFirst)
    }

    public var guardBitCount: Int {
        switch format {
        case .guard16: 16
        case .guard32: 32
        case .guard64: 64
        }
    }

    /// 0 to 64; where it is 0 there are no reference tags.
    public var referenceTagBitCount: Int { format.spaceBitCount - storageTagBitCount }

    /// The bits that a reference tag can have. Shifting all of a word away leaves 0.
    package var referenceTagMask: UInt64 { ~(.max << UInt64(referenceTagBitCount)) }
    package var storageTagMask: UInt64 { ~(.max << UInt64(storageTagBitCount)) }
    /// The same for those that count up from block to block.
    var countingTagMask: UInt64 { type == 3 ? 0 : referenceTagMask }
}
