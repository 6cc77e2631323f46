/// The sizes and limits of a bdev.
public struct BdevGeometry: Sendable, Hashable {
    /// Bytes in a block: the least that can be read or written, interleaved metadata included. More than 0; a power of
    /// two is cheapest.
    public var blockByteCount: Int
    /// Blocks on the bdev. At least 1.
    public var blockCount: UInt64
    /// Bytes that the medium itself writes at once: advice. 0: as many as a block has data.
    public var physicalBlockByteCount = 0
    /// What the address of a buffer must be a multiple of, in bytes: a power of two. Requests whose memory is not are
    /// copied through a buffer that is.
    public var memoryAlignment = 1
    /// The least a write should be, in blocks. At least 1.
    public var writeUnitBlockCount: UInt64 = 1
    /// Whether the layer cuts writes at the write unit, and fails those that do not begin and end at one; otherwise the
    /// unit is advice.
    public var splitsAtWriteUnit = false
    /// Blocks between boundaries that an I/O should not cross; 0 for none.
    public var optimalBoundaryBlockCount: UInt64 = 0
    /// Whether the layer splits at `optimalBoundaryBlockCount`; otherwise the boundary is advice.
    public var splitsAtOptimalBoundary = false
    /// The most segments of one I/O; 0 for no limit. Set together with `segmentByteCountLimit` or not at all.
    public var segmentCountLimit = 0
    /// The longest segment, in bytes; 0 for no limit.
    public var segmentByteCountLimit = 0
    /// The most blocks of one read or write; 0 for no limit.
    public var transferBlockCountLimit: UInt64 = 0
    /// The most blocks of one unmap; 0 for no limit.
    public var unmapBlockCountLimit: UInt64 = 0
    /// The most blocks of one write-zeroes; 0 for no limit.
    public var writeZeroesBlockCountLimit: UInt64 = 0
    /// The most blocks of one copy; 0 for no limit.
    public var copyBlockCountLimit: UInt64 = 0
    /// The most blocks of one compare-and-write; 0: as many as the write unit, which is filled in when the bdev is
    /// registered.
    public var compareAndWriteBlockCountLimit: UInt64 = 0
    /// What lengths and places suit it best.
    public var preferences = IOPreferences()
    /// Whether completed writes may be lost until a flush.
    public var hasWriteCache = false
    /// Bytes of metadata that each block has besides its data; 0 for none.
    public var metadataByteCount = 0
    /// Whether the metadata stands behind the data of its block and is part of it; otherwise it moves through memory of
    /// its own.
    public var isMetadataInterleaved = false
    /// What the metadata says about its block, so that damage and misplacement are found; nil: nothing.
    public var protection: ProtectionInformation?
    /// How the bdev is cut into zones; nil: it has none.
    public var zones: ZoneGeometry?
    /// The NUMA node the device is nearest to; nil: none in particular.
    public var node: Int?

    public init(blockByteCount: Int, blockCount: UInt64) {
        self.blockByteCount = blockByteCount
        self.blockCount = blockCount
    }

    /// The capacity in bytes, interleaved metadata included.
    public var byteCount: UInt64 { blockCount * UInt64(blockByteCount) }

    /// Bytes of data in a block: without its interleaved metadata.
    public var dataByteCountPerBlock: Int {
        isMetadataInterleaved ? blockByteCount - metadataByteCount : blockByteCount
    }

    /// Makes and checks the protection information of the blocks; nil when they have none. Traps when the sizes of a
    /// bdev that is not registered are impossible.
    public var blockProtection: BlockProtection? {
        protection.map {
            BlockProtection(
                $0, dataByteCount: dataByteCountPerBlock, metadataByteCount: metadataByteCount,
                isInterleaved: isMetadataInterleaved)
        }
    }

    /// What was left at 0 and has a meaning only otherwise. Limits on what is moved at once need none: what is copied,
    /// zeroed or moved through a buffer for a device is cut to what the layer has for it, part by part.
    mutating func fillInDefaults() {
        if writeUnitBlockCount == 0 { writeUnitBlockCount = 1 }
        if compareAndWriteBlockCountLimit == 0 { compareAndWriteBlockCountLimit = writeUnitBlockCount }
        if physicalBlockByteCount == 0 { physicalBlockByteCount = dataByteCountPerBlock }
    }

    func validate(name: String) throws(BdevError) {
        func refuse(_ what: String) -> BdevError {
            BdevError(.invalidGeometry, bdev: name, "cannot register a bdev with \(what)")
        }
        if blockByteCount <= 0 { throw refuse("a block size of \(blockByteCount) bytes") }
        try validateBlockCount { what in refuse(what) }
        if physicalBlockByteCount < 0 { throw refuse("a physical block size of \(physicalBlockByteCount) bytes") }
        if memoryAlignment <= 0 || memoryAlignment & (memoryAlignment - 1) != 0 {
            throw refuse("a memory alignment of \(memoryAlignment), which is no power of two")
        }
        if writeUnitBlockCount == 0 { throw refuse("a write unit of 0 blocks") }
        if splitsAtOptimalBoundary && optimalBoundaryBlockCount == 0 {
            throw refuse("splitting at a boundary of 0 blocks")
        }
        if (segmentCountLimit == 0) != (segmentByteCountLimit == 0) {
            throw refuse("a limit on the number of segments but none on their length, or the reverse")
        }
        if segmentCountLimit < 0 || segmentByteCountLimit < 0 { throw refuse("a negative segment limit") }
        if segmentByteCountLimit > 0 && segmentByteCountLimit < blockByteCount {
            throw refuse("segments of at most \(segmentByteCountLimit) bytes, less than a block")
        }
        try validateMetadata(name: name)
    }

    /// What depends on how many blocks there are. `refuse` makes the error.
    func validateBlockCount(_ refuse: (String) -> BdevError) throws(BdevError) {
        if blockCount == 0 { throw refuse("no blocks") }
        if blockCount.multipliedReportingOverflow(by: UInt64(blockByteCount)).overflow {
            throw refuse("\(blockCount) blocks of \(blockByteCount) bytes: more than 2^64 bytes")
        }
        if let zones, zones.blockCount == 0 || blockCount % zones.blockCount != 0 {
            throw refuse("\(blockCount) blocks in zones of \(zones.blockCount)")
        }
    }

    private func validateMetadata(name: String) throws(BdevError) {
        func refuse(_ what: String, _ advice: String) -> BdevError {
            BdevError(.invalidGeometry, bdev: name, "cannot register a bdev with \(what)", advice: advice)
        }
        if metadataByteCount < 0 {
            throw refuse("\(metadataByteCount) bytes of metadata", "say 0 when its blocks have none")
        }
        if isMetadataInterleaved && metadataByteCount >= blockByteCount {
            throw refuse(
                "blocks of \(blockByteCount) bytes that hold \(metadataByteCount) bytes of metadata",
                "let the block size be that of the data and the metadata together")
        }
        guard let protection else { return }
        let needed = protection.format.byteCount
        if metadataByteCount < needed {
            throw refuse(
                "protection information of \(needed) bytes in \(metadataByteCount) bytes of metadata",
                "give its blocks at least \(needed) bytes of metadata, or no protection")
        }
        let (bits, allowed) = (protection.storageTagBitCount, protection.format.storageTagBitCounts)
        if !allowed.contains(bits) {
            throw refuse(
                "a storage tag of \(bits) bits",
                "use \(allowed.lowerBound) to \(allowed.upperBound) bits for its format")
        }
    }
}
