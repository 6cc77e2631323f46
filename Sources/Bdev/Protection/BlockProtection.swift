package import Reactors

/// Makes and checks the protection information of blocks of one shape, in memory.
///
/// Blocks have their metadata behind their data (*interleaved*: one piece of memory holds data, metadata, data,
/// metadata, …) or in memory of its own (*separate*: the metadata of one block behind that of the other). Every call
/// takes `blockCount` blocks and traps when the memory ends before they do. No call allocates or waits; a block costs
/// its CRC and about 20 ns. NVMe NVM Command Set Specification 1.0, section 5.2.
public struct BlockProtection: Sendable {
    public let information: ProtectionInformation
    /// Bytes of data in a block.
    public let dataByteCount: Int
    /// Bytes of metadata of a block.
    public let metadataByteCount: Int
    /// Whether the metadata stands behind the data of its block.
    public let isInterleaved: Bool
    /// What is compared; at first what `information` says.
    public private(set) var checks: ProtectionInformation.Checks

    let crc: CyclicRedundancyCheck
    /// The bits of a storage and reference tag space that are the reference tag.
    let referenceTagMask: UInt64
    /// Bytes of the metadata before the tuple, which the guard covers.
    let leadingByteCount: Int
    /// Bytes of the metadata behind the tuple.
    let trailingByteCount: Int

    /// - Parameters:
    ///   - information: what the blocks' protection looks like.
    ///   - dataByteCount: bytes of data in a block: at least 1.
    ///   - metadataByteCount: bytes of metadata of a block: at least as many as the tuple has.
    ///   - isInterleaved: whether the metadata stands behind the data of its block.
    ///
    /// Traps for impossible sizes: those of a registered bdev are not.
    public init(_ information: ProtectionInformation, dataByteCount: Int, metadataByteCount: Int, isInterleaved: Bool) {
        let format = information.format
        precondition(dataByteCount > 0, "a protected block has data")
        precondition(metadataByteCount >= format.byteCount, "the metadata is shorter than its protection information")
        precondition(
            format.storageTagBitCounts.contains(information.storageTagBitCount),
            "the storage tag has too few or too many bits for its format")
        self.information = information
        self.dataByteCount = dataByteCount
        self.metadataByteCount = metadataByteCount
        self.isInterleaved = isInterleaved
        checks = information.checks
        crc =
            switch format {
            case .guard16: .crc16T10DIF
            case .guard32: .crc32C
            case .guard64: .crc64NVMe
            }
        // Shifting all of a word away leaves 0.
        referenceTagMask = ~(UInt64.max << UInt64(format.spaceBitCount - information.storageTagBitCount))
        let rest = metadataByteCount - format.byteCount
        (leadingByteCount, trailingByteCount) = information.placement == .tail ? (rest, 0) : (0, rest)
    }

    /// The length of a block in the memory its data is in.
    public var blockByteCount: Int { isInterleaved ? dataByteCount + metadataByteCount : dataByteCount }

    /// The same, but with fewer checks: for an I/O that asks for that.
    public func excluding(_ excluded: ProtectionInformation.Checks) -> BlockProtection {
        var copy = self
        copy.checks.subtract(excluded)
        return copy
    }

    // MARK: In place

    /// Writes the protection information of blocks, all of its fields whatever is checked later. The rest of the
    /// metadata stays as it is; what of it stands before the tuple is covered by the guard.
    ///
    /// - Parameters:
    ///   - blocks: the data, with the metadata when that is interleaved.
    ///   - metadata: the metadata when it is separate.
    ///   - blockCount: how many blocks.
    ///   - tags: what goes into the tuples besides the guard.
    package func generate(
        _ blocks: Segments, metadata: IOMemory? = nil, blockCount: Int, tags: ProtectionTags
    ) {
        var cursor = BlockCursor(self, blocks, metadata)
        for block in 0..<blockCount {
            let sum = cursor.takeGuarded(self)
            cursor.store(tuple(sum, block, tags), self)
        }
    }

    /// Checks blocks against their protection information, in order, up to the first that fails.
    ///
    /// - Parameters: as for `generate`; `tags` are those expected.
    /// - Throws: what did not match.
    package func verify(
        _ blocks: Segments, metadata: IOMemory? = nil, blockCount: Int, tags: ProtectionTags
    ) throws(ProtectionFailure) {
        if checks.isEmpty { return }
        var cursor = BlockCursor(self, blocks, metadata)
        for block in 0..<blockCount {
            var sum: UInt64 = 0
            if checks.contains(.guard) { sum = cursor.takeGuarded(self) } else { cursor.skipGuarded(self) }
            let tuple = cursor.load(self)
            try check(tuple, sum, block, tags)
        }
    }

    /// Gives blocks new reference tags, as when they go to another place on a bdev. Blocks whose checks are switched
    /// off keep theirs, and so do all blocks of type 3.
    ///
    /// - Parameters:
    ///   - blocks: as for `generate`.
    ///   - metadata: as for `generate`.
    ///   - blockCount: how many blocks.
    ///   - old: the first block's present reference tag.
    ///   - new: the one it is to have.
    /// - Throws: a reference tag that is not what `old` says, when reference tags are checked. All tags are as they
    ///   were then.
    package func remap(
        _ blocks: Segments, metadata: IOMemory? = nil, blockCount: Int, from old: UInt64, to new: UInt64
    ) throws(ProtectionFailure) {
        if information.type == .type3 { return }
        // First all are checked, then all are changed.
        try excluding(.all.subtracting(.referenceTag))
            .verify(blocks, metadata: metadata, blockCount: blockCount, tags: ProtectionTags(referenceTag: old))
        var cursor = BlockCursor(self, blocks, metadata)
        for block in 0..<blockCount {
            cursor.skipGuarded(self)
            var place = cursor
            var tuple = cursor.load(self)
            if isExempt(tuple) { continue }
            tuple.setReferenceTag(new &+ UInt64(block), mask: referenceTagMask)
            place.store(tuple, self)
        }
    }

    // MARK: One block

    func tuple(_ guard: UInt64, _ block: Int, _ tags: ProtectionTags) -> ProtectionTuple {
        ProtectionTuple(
            information.format, guard: `guard`, applicationTag: tags.applicationTag,
            referenceTag: referenceTag(block, tags))
    }

    private func referenceTag(_ block: Int, _ tags: ProtectionTags) -> UInt64 {
        (information.type == .type3 ? tags.referenceTag : tags.referenceTag &+ UInt64(block)) & referenceTagMask
    }

    /// Whether a tuple switches the checks of its block off.
    private func isExempt(_ tuple: ProtectionTuple) -> Bool {
        tuple.applicationTag == 0xFFFF
            && (information.type != .type3 || tuple.referenceTag(mask: referenceTagMask) == referenceTagMask)
    }

    /// Compares what is to be compared. `guard` is that of the block's bytes.
    func check(
        _ tuple: ProtectionTuple, _ guard: UInt64, _ block: Int, _ tags: ProtectionTags
    ) throws(ProtectionFailure) {
        if isExempt(tuple) { return }
        if checks.contains(.guard) && tuple.guard != `guard` {
            throw ProtectionFailure(check: .guard, block: block, expected: `guard`, found: tuple.guard)
        }
        if checks.contains(.applicationTag) {
            let (expected, found) = (
                tags.applicationTag & tags.applicationTagMask, tuple.applicationTag & tags.applicationTagMask
            )
            if expected != found {
                throw ProtectionFailure(
                    check: .applicationTag, block: block, expected: UInt64(expected), found: UInt64(found))
            }
        }
        if checks.contains(.referenceTag) {
            let (expected, found) = (referenceTag(block, tags), tuple.referenceTag(mask: referenceTagMask))
            if expected != found {
                throw ProtectionFailure(check: .referenceTag, block: block, expected: expected, found: found)
            }
        }
    }
}

/// A place in blocks and their metadata: before what a guard covers, or before a tuple.
private struct BlockCursor {
    private var data: SegmentCursor
    private var metadata: SegmentCursor
    private let isInterleaved: Bool

    init(_ shape: BlockProtection, _ blocks: Segments, _ metadata: IOMemory?) {
        precondition(
            (metadata == nil) == shape.isInterleaved,
            "separate metadata is given for blocks that have it, and for no others")
        data = SegmentCursor(blocks)
        // Nothing is taken from it when the metadata is interleaved.
        self.metadata = metadata.map { SegmentCursor(Segments($0)) } ?? data
        isInterleaved = shape.isInterleaved
    }

    /// The guard of a block.
    mutating func takeGuarded(_ shape: BlockProtection) -> UInt64 {
        let crc = shape.crc
        if isInterleaved {
            return crc.value(of: data.checksum(shape.dataByteCount + shape.leadingByteCount, crc, crc.initialState))
        }
        let state = data.checksum(shape.dataByteCount, crc, crc.initialState)
        return crc.value(of: metadata.checksum(shape.leadingByteCount, crc, state))
    }

    mutating func skipGuarded(_ shape: BlockProtection) {
        if isInterleaved { return data.skip(shape.dataByteCount + shape.leadingByteCount) }
        metadata.skip(shape.leadingByteCount)
    }

    /// Takes the tuple and the rest of the block.
    mutating func load(_ shape: BlockProtection) -> ProtectionTuple {
        if isInterleaved {
            defer { data.skip(shape.trailingByteCount) }
            return data.loadTuple(shape.information.format)
        }
        defer { metadata.skip(shape.trailingByteCount) }
        return metadata.loadTuple(shape.information.format)
    }

    /// Writes the tuple and takes the rest of the block.
    mutating func store(_ tuple: ProtectionTuple, _ shape: BlockProtection) {
        if isInterleaved {
            data.store(tuple)
            data.skip(shape.trailingByteCount)
        } else {
            metadata.store(tuple)
            metadata.skip(shape.trailingByteCount)
        }
    }
}
