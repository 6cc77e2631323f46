/// One of the formats that a namespace can have (NVM Command Set Specification 1.0, figure 98).
public struct LBAFormat: Hashable, Sendable {
    /// In bytes, metadata not included: 512 to 65,536 where it is one that can be used, 0 where the format is not.
    public let dataByteCount: Int
    /// MS: bytes of metadata for each block.
    public let metadataByteCount: Int
    /// RP: 0 best to 3 degraded.
    public let relativePerformance: Int

    init(rawValue: UInt32) {
        let shift = Int(rawValue >> 16 & 0xFF)
        dataByteCount = 9...16 ~= shift ? 1 << shift : 0
        metadataByteCount = Int(rawValue & 0xFFFF)
        relativePerformance = Int(rawValue >> 24 & 3)
    }
}

/// What a namespace of the NVM command set, or one that builds on it, says of itself (NVM Command Set Specification
/// 1.0, figure 97).
public struct IdentifyNamespace: Hashable, Sendable {
    /// The 4,096 bytes as the controller gave them.
    public let data: [UInt8]

    public init(data: [UInt8]) { self.data = data }

    private var reader: DataReader { DataReader(bytes: data) }

    /// NSZE, NCAP and NUSE, in blocks.
    public var blockCount: UInt64 { reader.quad(0) }
    public var capacityBlockCount: UInt64 { reader.quad(8) }
    public var usedBlockCount: UInt64 { reader.quad(16) }
    /// NSFEAT.
    public var features: UInt8 { reader.byte(24) }
    /// NSFEAT bit 0.
    public var isThinProvisioned: Bool { features & 1 != 0 }
    /// NSFEAT bit 4: NPWG, NPWA, NPDG, NPDA and NOWS mean something.
    public var hasPreferredSizes: Bool { features & 0x10 != 0 }
    /// NLBAF + 1 + NULBAF: formats it can have, those that have attributes of their own behind the others.
    public var formatCount: Int { min(Int(reader.byte(25)) + 1 + Int(reader.byte(82)), 64) }
    /// FLBAS: the format in use.
    public var formatIndex: Int { Int(reader.byte(26) & 0xF | reader.byte(26) >> 1 & 0x30) }
    /// FLBAS bit 4: metadata lies behind each block's data.
    public var isMetadataInterleaved: Bool { reader.byte(26) & 0x10 != 0 }
    /// MC.
    public var metadataCapabilities: UInt8 { reader.byte(27) }
    /// DPC.
    public var protectionCapabilities: UInt8 { reader.byte(28) }
    /// DPS bits 2:0: 0 none, or the type of protection information.
    public var protectionType: Int { Int(reader.byte(29) & 7) }
    /// DPS bit 3: it stands at the start of the metadata.
    public var isProtectionFirst: Bool { reader.byte(29) & 8 != 0 }
    /// NMIC bit 0: several controllers may have it.
    public var isShared: Bool { reader.byte(30) & 1 != 0 }
    /// RESCAP.
    public var reservationCapabilities: UInt8 { reader.byte(31) }
    /// DLFEAT bits 2:0: what deallocated blocks read as: 0 unknown, 1 zeros, 2 ones.
    public var deallocatedValue: Int { Int(reader.byte(33) & 7) }
    /// DLFEAT bit 3: Write Zeroes may deallocate.
    public var deallocatesByWritingZeroes: Bool { reader.byte(33) & 8 != 0 }
    /// NAWUN + 1 and the like, where NSFEAT bit 1 says so; nil: the controller's hold.
    public var atomicWriteBlockCount: Int? { features & 2 != 0 ? Int(reader.word(34)) + 1 : nil }
    public var atomicCompareAndWriteBlockCount: Int? { features & 2 != 0 ? Int(reader.word(38)) + 1 : nil }
    /// NABSN + 1: blocks from one boundary to the next that no atomic write goes over; nil: there are none.
    public var atomicBoundaryBlockCount: Int? {
        features & 2 != 0 && reader.word(40) > 0 ? Int(reader.word(40)) + 1 : nil
    }
    /// NOIOB, in blocks; 0: none.
    public var optimalBoundaryBlockCount: Int { Int(reader.word(46)) }
    /// NPWG + 1, NPWA + 1, NPDG + 1, NPDA + 1, NOWS + 1, in blocks.
    public var preferredWriteGranularity: Int { Int(reader.word(64)) + 1 }
    public var preferredWriteAlignment: Int { Int(reader.word(66)) + 1 }
    public var preferredDeallocateGranularity: Int { Int(reader.word(68)) + 1 }
    public var preferredDeallocateAlignment: Int { Int(reader.word(70)) + 1 }
    public var optimalWriteSize: Int { Int(reader.word(72)) + 1 }
    /// MSSRL, MCL and MSRC + 1: blocks of one range, of all ranges, and ranges of a Copy.
    public var copyRangeBlockLimit: Int { Int(reader.word(74)) }
    public var copyBlockLimit: Int { Int(reader.double(76)) }
    public var copyRangeLimit: Int { Int(reader.byte(80)) + 1 }
    /// ANAGRPID.
    public var asymmetricGroup: UInt32 { reader.double(92) }
    /// NSATTR bit 0.
    public var isWriteProtected: Bool { reader.byte(99) & 1 != 0 }
    /// NGUID; nil: it has none.
    public var globalID: [UInt8]? {
        let id = reader.array(104..<120)
        return id.contains { $0 != 0 } ? id : nil
    }
    /// EUI64; nil: it has none.
    public var extendedID: [UInt8]? {
        let id = reader.array(120..<128)
        return id.contains { $0 != 0 } ? id : nil
    }
    /// The formats it can have, in the order of their indexes.
    public var formats: [LBAFormat] { (0..<formatCount).map { LBAFormat(rawValue: reader.double(128 + 4 * $0)) } }
}
