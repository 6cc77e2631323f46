import Reactors

extension BlockProtection {
    /// Copies data into interleaved blocks and makes their metadata: the protection information, and zero around it. A
    /// guard is that of the copy, so that data which changes meanwhile does not leave a block with a wrong one.
    ///
    /// - Parameters:
    ///   - data: `blockCount` times the data of a block.
    ///   - blocks: where the blocks go; must not overlap `data`.
    ///   - blockCount: how many blocks.
    ///   - tags: what goes into the tuples besides the guard.
    package func insert(from data: Segments, into blocks: Segments, blockCount: Int, tags: ProtectionTags) {
        precondition(isInterleaved, "protection information is inserted into interleaved blocks only")
        var (source, target) = (SegmentCursor(data), SegmentCursor(blocks))
        for block in 0..<blockCount {
            var start = target
            target.copy(dataByteCount, from: &source)
            target.zero(leadingByteCount)
            let state = start.checksum(dataByteCount + leadingByteCount, crc, crc.initialState)
            target.store(tuple(crc.value(of: state), block, tags))
            target.zero(trailingByteCount)
        }
    }

    /// Checks interleaved blocks against their protection information and copies their data out, in order, up to the
    /// first that fails. The guard compared is that of the copy as far as it goes.
    ///
    /// - Parameters:
    ///   - blocks: the blocks.
    ///   - data: room for `blockCount` times the data of a block; must not overlap `blocks`.
    ///   - blockCount: how many blocks.
    ///   - tags: those expected.
    /// - Throws: what did not match. The data of the blocks up to and including that one has been copied then.
    package func strip(
        from blocks: Segments, into data: Segments, blockCount: Int, tags: ProtectionTags
    ) throws(ProtectionFailure) {
        precondition(isInterleaved, "protection information is stripped from interleaved blocks only")
        var (source, target) = (SegmentCursor(blocks), SegmentCursor(data))
        for block in 0..<blockCount {
            var start = target
            target.copy(dataByteCount, from: &source)
            var sum: UInt64 = 0
            if checks.contains(.guard) {
                let state = start.checksum(dataByteCount, crc, crc.initialState)
                sum = crc.value(of: source.checksum(leadingByteCount, crc, state))
            } else {
                source.skip(leadingByteCount)
            }
            try check(source.loadTuple(information.format), sum, block, tags)
            source.skip(trailingByteCount)
        }
    }
}
