import NVMeDriver
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

    /// DPS bits 2:0: type of the protection information, 1 to 3, whose guard has 16 bits; 0: there is none. It needs 8
    /// bytes of metadata.
    public var protectionType: UInt8 = 0
    /// DPS bit 3: it stands at the start of the metadata, not at its end.
    public var isProtectionFirst = false
    /// nil: it has no zones.
    public var zones: SoftZoneOptions?

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
        data = try MemoryRegion(byteCount: Int(options.blockCount) * blockByteCount)
        let apart = options.isMetadataInterleaved ? 0 : options.metadataByteCount
        metadata = apart > 0 ? try MemoryRegion(byteCount: Int(options.blockCount) * apart) : nil
        zones = options.zones.map { SoftZones($0, blockCount: options.blockCount) }
        protection = try SoftProtection(options)
        if protection != nil { clear(0, options.blockCount) }
    }

    var commandSet: UInt8 { zones == nil ? 0 : Self.zonedCommandSet }

    /// Whether the blocks exist.
    func holds(_ start: UInt64, _ count: UInt64) -> Bool {
        count <= options.blockCount && start <= options.blockCount - count
    }

    func blocks(_ start: UInt64, _ count: UInt64) -> IOMemory {
        data.memory(from: Int(start) * blockByteCount, count: Int(count) * blockByteCount)
    }

    /// Of separate metadata; nil: there is none.
    func metadata(_ start: UInt64, _ count: UInt64) -> IOMemory? {
        metadata?.memory(
            from: Int(start) * options.metadataByteCount, count: Int(count) * options.metadataByteCount)
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
        data.put(UInt8(options.metadataByteCount >= SoftProtection.byteCount ? 0x1F : 0), at: 28)
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
