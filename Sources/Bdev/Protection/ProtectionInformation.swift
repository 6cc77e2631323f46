/// How the blocks of a bdev are protected from end to end: what the *protection information* in their metadata looks
/// like and which parts of it are checked.
///
/// NVMe NVM Command Set Specification 1.0, sections 5.2 and 5.3; the form with a 16-bit guard is the T10 DIF of SCSI.
public struct ProtectionInformation: Sendable, Hashable {
    /// What the reference tag means.
    @frozen
    public enum ProtectionType: UInt8, Sendable, CaseIterable {
        /// The low bits of the block's number; counts up from block to block.
        case type1 = 1
        /// A number of the user's choice for the first block of an I/O; counts up from block to block.
        case type2 = 2
        /// The user's own, the same in each block; never checked.
        case type3 = 3
    }

    /// The tuple in the metadata. All of its numbers are big-endian.
    @frozen
    public enum Format: UInt8, Sendable, CaseIterable {
        /// 8 bytes: a guard of 16 bits (CRC-16/T10-DIF), the application tag, 32 bits for storage and reference tag.
        case guard16 = 0
        /// 16 bytes: a guard of 32 bits (CRC-32C), the application tag, 80 bits for storage and reference tag.
        case guard32 = 1
        /// 16 bytes: a guard of 64 bits (CRC-64/NVME), the application tag, 48 bits for storage and reference tag.
        case guard64 = 2

        /// The length of the tuple.
        public var byteCount: Int { self == .guard16 ? 8 : 16 }

        /// How many bits a storage tag may have; the reference tag has the rest.
        public var storageTagBitCounts: ClosedRange<Int> {
            switch self {
            case .guard16: 0...32
            case .guard32: 16...64
            case .guard64: 0...48
            }
        }

        /// Bits of the storage tag and the reference tag together.
        var spaceBitCount: Int {
            switch self {
            case .guard16: 32
            case .guard32: 80
            case .guard64: 48
            }
        }
    }

    /// Where in the metadata of a block the tuple stands.
    @frozen
    public enum Placement: UInt8, Sendable, CaseIterable {
        /// First. The guard covers the data and none of the metadata.
        case head
        /// Last. The guard covers the data and the metadata before the tuple.
        case tail
    }

    /// What is compared when a block is verified.
    @frozen
    public struct Checks: OptionSet, Sendable, Hashable {
        public let rawValue: UInt8
        @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

        public static let `guard` = Checks(rawValue: 1)
        public static let applicationTag = Checks(rawValue: 2)
        public static let referenceTag = Checks(rawValue: 4)
        public static let all: Checks = [.guard, .applicationTag, .referenceTag]
    }

    public let type: ProtectionType
    public let format: Format
    public let placement: Placement
    /// What is compared when a block is verified; without the reference tag for type 3.
    public let checks: Checks
    /// Bits of the storage tag, which stands before the reference tag and takes bits from it. Storage tags are written
    /// as 0 and never checked.
    public let storageTagBitCount: Int

    /// - Parameters:
    ///   - type: what the reference tag means.
    ///   - format: the tuple in the metadata. NVMe wants at least 4,096 bytes of data for guards of 32 and 64 bits;
    ///     nothing here does.
    ///   - placement: where in the metadata of a block the tuple stands.
    ///   - checks: what is compared when a block is verified. For type 3 the reference tag is left out.
    ///   - storageTagBitCount: see the format's `storageTagBitCounts`; nil: the fewest.
    public init(
        _ type: ProtectionType, format: Format = .guard16, placement: Placement = .tail, checks: Checks = .all,
        storageTagBitCount: Int? = nil
    ) {
        self.type = type
        self.format = format
        self.placement = placement
        self.checks = type == .type3 ? checks.subtracting(.referenceTag) : checks
        self.storageTagBitCount = storageTagBitCount ?? format.storageTagBitCounts.lowerBound
    }
}

/// The tags of the blocks of one I/O.
public struct ProtectionTags: Sendable, Hashable {
    /// The reference tag of the first block, of which a tuple holds as many low bits as it has room for. For type 1 it
    /// is the number of the first block. Types 1 and 2 count it up from block to block, around to 0.
    public var referenceTag: UInt64
    /// The application tag of every block. 0xFFFF switches all checks of a block off; for type 3 only together with a
    /// reference tag of all ones.
    public var applicationTag: UInt16
    /// The bits of the application tag that are compared.
    public var applicationTagMask: UInt16

    public init(referenceTag: UInt64, applicationTag: UInt16 = 0, applicationTagMask: UInt16 = 0xFFFF) {
        self.referenceTag = referenceTag
        self.applicationTag = applicationTag
        self.applicationTagMask = applicationTagMask
    }
}
