/// The same over spans: as many blocks as they hold. Traps when a span does not hold a whole number of them, or when
/// the spans do not hold equally many.
extension BlockProtection {
    /// Writes the protection information of interleaved blocks, all of its fields whatever is checked later. The rest
    /// of the metadata stays as it is.
    public func generate(_ blocks: inout MutableRawSpan, tags: ProtectionTags) {
        let count = blockCount(blocks.byteCount, of: blockByteCount)
        Segments.with(&blocks) { generate($0, blockCount: count, tags: tags) }
    }

    /// Writes the protection information of blocks into their separate metadata, as `generate(_:tags:)` does.
    public func generate(_ data: borrowing RawSpan, metadata: inout MutableRawSpan, tags: ProtectionTags) {
        let count = matchingBlockCount(data.byteCount, metadata.byteCount)
        Segments.with(reading: data) { data in
            Segments.with(&metadata) { generate(data, metadata: $0[0], blockCount: count, tags: tags) }
        }
    }

    /// Checks interleaved blocks against their protection information, in order, up to the first that fails.
    ///
    /// - Throws: what did not match.
    public func verify(_ blocks: borrowing RawSpan, tags: ProtectionTags) throws(ProtectionFailure) {
        let count = blockCount(blocks.byteCount, of: blockByteCount)
        try Segments.with(reading: blocks) { blocks throws(ProtectionFailure) in
            try verify(blocks, blockCount: count, tags: tags)
        }
    }

    /// Checks blocks against their separate metadata, as `verify(_:tags:)` does.
    public func verify(
        _ data: borrowing RawSpan, metadata: borrowing RawSpan, tags: ProtectionTags
    ) throws(ProtectionFailure) {
        let count = matchingBlockCount(data.byteCount, metadata.byteCount)
        try Segments.with(reading: data) { data throws(ProtectionFailure) in
            try Segments.with(reading: metadata) { metadata throws(ProtectionFailure) in
                try verify(data, metadata: metadata[0], blockCount: count, tags: tags)
            }
        }
    }

    private func blockCount(_ byteCount: Int, of size: Int) -> Int {
        precondition(byteCount % size == 0, "the span ends within a block")
        return byteCount / size
    }

    private func matchingBlockCount(_ dataByteCount: Int, _ metadataByteCount: Int) -> Int {
        let count = blockCount(dataByteCount, of: self.dataByteCount)
        precondition(
            count == blockCount(metadataByteCount, of: self.metadataByteCount),
            "data and metadata are of different numbers of blocks")
        return count
    }
}
