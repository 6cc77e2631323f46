/// Cuts a range of blocks where a controller wants it cut: at its transfer limit, and at its boundaries.
struct BlockParts {
    private var start: UInt64
    private var left: Int
    private let limit: Int
    private let boundary: UInt64
    /// Blocks from one zone to the next; 0: there are none.
    private let zoneBlockCount: UInt64
    /// The bits of the low 64 of a command's tags that count up from block to block.
    let tagMask: UInt64
    /// Bytes of data for each block, and of separate metadata.
    let blockByteCount: Int
    let metadataByteCount: Int

    /// `movesData`: the transfer limit and the boundary hold; otherwise only the 65,536 blocks of one command do.
    /// `blockByteCount`: of data that moves for each block.
    init(
        _ namespace: NVMeNamespace, from start: UInt64, count: Int, movesData: Bool, blockByteCount: Int? = nil
    ) {
        self.start = start
        left = count
        limit = movesData ? namespace.transferBlockCountLimit : 65_536
        boundary = movesData ? namespace.boundaryBlockCount : 0
        zoneBlockCount = namespace.zones?.zoneBlockCount ?? 0
        tagMask = namespace.protection?.countingTagMask ?? 0
        self.blockByteCount = blockByteCount ?? namespace.blockByteCount
        metadataByteCount = namespace.separateMetadataByteCount
    }

    mutating func next() -> (start: UInt64, count: Int)? {
        if left == 0 { return nil }
        var count = min(left, limit)
        if boundary > 0 { count = min(count, Int(boundary - start % boundary)) }
        if zoneBlockCount > 0 { count = Int(min(UInt64(count), zoneBlockCount - start % zoneBlockCount)) }
        defer {
            start += UInt64(count)
            left -= count
        }
        return (start, count)
    }
}
