/// The metadata of blocks that a module makes itself: of a RAM disk, of a null bdev.
public struct BlockMetadata: Sendable, Hashable {
    /// Bytes of each block: 8, 16, 32, 64 or 128.
    public var byteCount: Int
    /// Whether it stands behind the data of its block and makes the block so much longer; otherwise it is moved through
    /// memory of its own.
    public var isInterleaved: Bool
    /// What the metadata says about its block; nil: nothing, it is the user's own.
    ///
    /// Guards of 32 and 64 bits need 16 bytes of metadata and data of whole 4,096 bytes.
    public var protection: ProtectionInformation?

    public init(byteCount: Int, isInterleaved: Bool = true, protection: ProtectionInformation? = nil) {
        self.byteCount = byteCount
        self.isInterleaved = isInterleaved
        self.protection = protection
    }

    /// The lengths that metadata can have.
    package static let byteCounts = [8, 16, 32, 64, 128]
}

/// What suits a bdev best, in blocks: advice, which the layer does not act upon. 0 where nothing is known.
public struct IOPreferences: Sendable, Hashable {
    /// Writes are best a multiple of this long.
    public var writeGranularity: UInt32 = 0
    /// Writes best begin at a multiple of this.
    public var writeAlignment: UInt32 = 0
    /// Writes are best this long.
    public var optimalWriteSize: UInt32 = 0
    /// Unmaps are best a multiple of this long.
    public var unmapGranularity: UInt32 = 0
    /// Unmaps best begin at a multiple of this.
    public var unmapAlignment: UInt32 = 0

    public init() {}
}

extension BdevGeometry {
    /// That of a bdev whose module makes its blocks itself, with any sizes that are possible for one.
    ///
    /// - Parameters:
    ///   - kind: what is made, for the message, such as "a RAM disk".
    ///   - name: of the bdev, for the message.
    ///   - dataByteCount: bytes of data in a block: a multiple of 512.
    ///   - blockCount: at least 1.
    ///   - metadata: nil: none.
    ///   - physicalBlockByteCount: a multiple of 512; 0: as many as the data of a block.
    /// - Throws: `invalidGeometry`.
    package init(
        of kind: String, name: String?, dataByteCount: Int, blockCount: UInt64, metadata: BlockMetadata?,
        physicalBlockByteCount: Int
    ) throws(BdevError) {
        func refuse(_ what: String, _ advice: String) -> BdevError {
            BdevError(.invalidGeometry, bdev: name, "cannot make \(kind) \(what)", advice: advice)
        }
        if dataByteCount <= 0 || dataByteCount % 512 != 0 {
            throw refuse("with blocks of \(dataByteCount) bytes", "use a multiple of 512")
        }
        if blockCount == 0 { throw refuse("of no blocks", "use at least one") }
        if physicalBlockByteCount < 0 || physicalBlockByteCount % 512 != 0 {
            throw refuse("with physical blocks of \(physicalBlockByteCount) bytes", "use a multiple of 512")
        }
        self.init(blockByteCount: dataByteCount, blockCount: blockCount)
        self.physicalBlockByteCount = physicalBlockByteCount
        guard let metadata else { return }
        if !BlockMetadata.byteCounts.contains(metadata.byteCount) {
            throw refuse("with \(metadata.byteCount) bytes of metadata", "use 8, 16, 32, 64 or 128")
        }
        if let information = metadata.protection {
            let format = information.format, bits = format.storageTagBitCounts
            if metadata.byteCount < format.byteCount {
                throw refuse(
                    "with protection information of \(format.byteCount) bytes in \(metadata.byteCount) of metadata",
                    "use at least \(format.byteCount)")
            }
            if format != .guard16 && dataByteCount % 4096 != 0 {
                throw refuse(
                    "with blocks of \(dataByteCount) bytes and guards of 32 or 64 bits", "use a multiple of 4096")
            }
            if !bits.contains(information.storageTagBitCount) {
                throw refuse(
                    "with a storage tag of \(information.storageTagBitCount) bits",
                    "use \(bits.lowerBound) to \(bits.upperBound) for its format")
            }
        }
        metadataByteCount = metadata.byteCount
        isMetadataInterleaved = metadata.isInterleaved
        protection = metadata.protection
        if metadata.isInterleaved { blockByteCount += metadata.byteCount }
    }
}
