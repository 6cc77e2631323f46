public import NVMeDriver
import Reactors

/// What a soft controller's namespace is.
public struct SoftNamespaceOptions: Sendable {
    public var blockCount: UInt64
    /// In bytes, without metadata: 512 to 65,536, a power of two.
    public var dataByteCount = 512
    /// For each block.
    public var metadataByteCount = 0
    /// Metadata lies behind each block's data, not apart from it.
    public var isMetadataInterleaved = false
    /// NOIOB, in blocks; 0: none.
    public var optimalBoundaryBlockCount: UInt16 = 0
    public var uuid: [UInt8]?
    public var isShared = false
    /// ANAGRPID: namespaces of one group are reached alike through a controller.
    public var asymmetricGroup: UInt32 = 1

    /// DPS bits 2:0: type of the protection information, 1 to 3; 0: there is none. It needs as many bytes of metadata
    /// as its format has.
    public var protectionType: UInt8 = 0
    /// PIF. The host must be able to deal with others than those with a guard of 16 bits, and with storage tags.
    public var protectionFormat = NVMeProtection.Format.guard16
    /// STS; nil: the fewest bits that the format has.
    public var storageTagBitCount: Int?
    /// LBSTM: which bits of storage tags are checked.
    public var storageTagMask = UInt64.max
    /// DPS bit 3: it stands at the start of the metadata, not at its end.
    public var isProtectionFirst = false
    /// nil: it has no zones.
    public var zones: SoftZoneOptions?

    /// Blocks before this one are as out of range as those behind the last: for one that is larger than memory.
    public var firstStoredBlock: UInt64 = 0
    /// What it says of its extended format (ELBAF) and of what there is of it (PIC) in place of the truth, as a
    /// controller does that is not to be trusted.
    public var claimedExtendedFormat: (entry: UInt32, capabilities: UInt8)?

    public init(blockCount: UInt64) { self.blockCount = blockCount }
}

/// A namespace, and the blocks in it.
final class SoftNamespace {
    /// CSI of the Zoned Namespace command set.
    static let zonedCommandSet: UInt8 = 2

    let id: UInt32
    let options: SoftNamespaceOptions
    private let data: MemoryRegion
    private let metadata: MemoryRegion?
    /// From one block to the next, as the host sees them.
    let blockByteCount: Int
    let protection: SoftProtection?
    var zones: SoftZones?

    init(id: UInt32, _ options: SoftNamespaceOptions) throws(ReactorError) {
        self.id = id
        self.options = options
        blockByteCount = options.dataByteCount + (options.isMetadataInterleaved ? options.metadataByteCount : 0)
        let stored = Int(options.blockCount - options.firstStoredBlock)
        data = try MemoryRegion(byteCount: stored * blockByteCount)
        let apart = options.isMetadataInterleaved ? 0 : options.metadataByteCount
        metadata = apart > 0 ? try MemoryRegion(byteCount: stored * apart) : nil
        zones = options.zones.map { SoftZones($0, blockCount: options.blockCount) }
        protection = try SoftProtection(options)
        if protection != nil { clearAll() }
    }

    var commandSet: UInt8 { zones == nil ? 0 : Self.zonedCommandSet }

    /// Whether the blocks exist.
    func holds(_ start: UInt64, _ count: UInt64) -> Bool {
        count <= options.blockCount && start <= options.blockCount - count && start >= options.firstStoredBlock
    }

    func blocks(_ start: UInt64, _ count: UInt64) -> IOMemory {
        data.memory(
            from: Int(start - options.firstStoredBlock) * blockByteCount, count: Int(count) * blockByteCount)
    }

    /// Of separate metadata; nil: there is none.
    func metadata(_ start: UInt64, _ count: UInt64) -> IOMemory? {
        metadata?.memory(
            from: Int(start - options.firstStoredBlock) * options.metadataByteCount,
            count: Int(count) * options.metadataByteCount)
    }

    /// One block, wherever its metadata lies.
    func block(_ number: UInt64) -> SoftBlock {
        let all = blocks(number, 1), count = options.dataByteCount
        let metadata = metadata(number, 1) ?? all.slice(from: count, count: all.byteCount - count)
        return SoftBlock(data: all.slice(from: 0, count: count), metadata: metadata)
    }

    /// The blocks read as zeros from now on, with protection information that nobody checks.
    func clear(_ start: UInt64, _ count: UInt64) {
        blocks(start, count).zero()
        metadata(start, count)?.zero()
        guard let protection else { return }
        for number in start..<start + count { protection.disable(block(number)) }
    }

    func clearAll() { clear(options.firstStoredBlock, options.blockCount - options.firstStoredBlock) }

    /// The host must have said that it knows such formats.
    var isExtended: Bool {
        options.claimedExtendedFormat != nil
            || protection.map { $0.shape.format != .guard16 || $0.shape.storageTagBitCount > 0 } ?? false
    }

    /// The formats that it can have: the one that it has, and blocks of 512 and of 4,096 bytes without metadata.
    static func formats(_ options: SoftNamespaceOptions) -> [(dataByteCount: Int, metadataByteCount: Int)] {
        [(options.dataByteCount, options.metadataByteCount), (512, 0), (4096, 0)]
    }

    /// The answer to Identify, CNS 0.
    func identity() -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        data.put(options.blockCount, at: 0)
        data.put(options.blockCount, at: 8)
        data.put(options.blockCount, at: 16)
        data.put(UInt8(options.isMetadataInterleaved ? 0x10 : 0), at: 26)
        data.put(UInt8(options.metadataByteCount > 0 ? 3 : 0), at: 27)
        data.put(UInt8(options.metadataByteCount >= options.protectionFormat.byteCount ? 0x1F : 0), at: 28)
        data.put(options.protectionType | (options.isProtectionFirst ? 8 : 0), at: 29)
        data.put(UInt8(options.isShared ? 1 : 0), at: 30)
        data.put(options.asymmetricGroup, at: 92)
        // Deallocated blocks read as zeros.
        data.put(UInt8(1), at: 33)
        data.put(options.optimalBoundaryBlockCount, at: 46)
        for (index, format) in Self.formats(options).enumerated() {
            let shift = UInt32(format.dataByteCount.trailingZeroBitCount)
            data.put(UInt32(format.metadataByteCount) | shift << 16, at: 128 + 4 * index)
        }
        data.put(UInt8(Self.formats(options).count - 1), at: 25)
        return data
    }

    /// The answer to Identify, CNS 5 of the NVM command set.
    func extendedIdentity() -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        data.put(options.storageTagMask, at: 0)
        // PIC: storage tags beside a guard of 16 bits too; reads check them.
        data.put(options.claimedExtendedFormat?.capabilities ?? 5, at: 8)
        let shape = protection?.shape, own = UInt32(shape?.format.rawValue ?? 0) << 7
        data.put(options.claimedExtendedFormat?.entry ?? own | UInt32(shape?.storageTagBitCount ?? 0), at: 12)
        return data
    }
}

/// A block, in the controller's memory.
struct SoftBlock {
    let data: IOMemory
    let metadata: IOMemory
}

/// A data structure on its way to the host.
struct DataWriter {
    private(set) var bytes: [UInt8]

    init(byteCount: Int) { bytes = Array(repeating: 0, count: byteCount) }

    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<MemoryLayout<Value>.size {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
        }
    }

    /// Padded with blanks.
    mutating func put(_ text: String, at offset: Int, count: Int) {
        let text = Array(text.utf8.prefix(count))
        for index in 0..<count { bytes[offset + index] = index < text.count ? text[index] : 0x20 }
    }

    mutating func put(_ values: [UInt8], at offset: Int) {
        for (index, value) in values.enumerated() { bytes[offset + index] = value }
    }
}
