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

    public init(blockCount: UInt64) { self.blockCount = blockCount }
}

/// A namespace, and the blocks in it.
final class SoftNamespace {
    let id: UInt32
    let options: SoftNamespaceOptions
    private let data: MemoryRegion
    private let metadata: MemoryRegion?
    /// From one block to the next, as the host sees them.
    let blockByteCount: Int

    init(id: UInt32, _ options: SoftNamespaceOptions) throws(ReactorError) {
        self.id = id
        self.options = options
        blockByteCount = options.dataByteCount + (options.isMetadataInterleaved ? options.metadataByteCount : 0)
        data = try MemoryRegion(byteCount: Int(options.blockCount) * blockByteCount)
        let apart = options.isMetadataInterleaved ? 0 : options.metadataByteCount
        metadata = apart > 0 ? try MemoryRegion(byteCount: Int(options.blockCount) * apart) : nil
    }

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
