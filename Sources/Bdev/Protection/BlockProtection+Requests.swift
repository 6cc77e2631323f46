package import Reactors

/// The same for the memory of a request, whose reference tags are the numbers of its blocks.
extension BlockProtection {
    /// Writes the protection information of a request's interleaved blocks.
    package func generate(for request: borrowing IORequest) {
        generate(
            request.segments, blockCount: Int(request.blockCount),
            tags: ProtectionTags(referenceTag: request.startBlock))
    }

    /// Checks the blocks in a request's memory, but for what the request excludes.
    ///
    /// - Parameters:
    ///   - request: a read that has its data, or a write.
    ///   - metadata: its metadata when that is separate.
    /// - Throws: what did not match.
    package func verify(
        _ request: borrowing IORequest, metadata: IOMemory? = nil
    ) throws(ProtectionFailure) {
        try excluding(request.options.excludedChecks).verify(
            request.segments, metadata: metadata, blockCount: Int(request.blockCount),
            tags: ProtectionTags(referenceTag: request.startBlock))
    }
}
