public import Reactors

// SAFETY (below): the slot is this call's until it is given back; buffers are borrowed until then.

/// Reading and writing with more than the data: options, and the metadata of bdevs that keep it apart.
extension BdevChannel {
    /// Reads into all of `buffer` from `offset`.
    ///
    /// - Throws: as ``read(at:into:)-(_,IOBuffer)``; `timedOut` after the deadline.
    public func read(
        at offset: BdevOffset, into buffer: inout IOBuffer, options: IOOptions
    ) async throws(BdevError) {
        try await transfer(.read, buffer.memory, nil, offset, options)
    }

    /// Writes all of `buffer` at `offset`.
    ///
    /// - Throws: as ``write(from:at:)-(IOBuffer,_)``; `timedOut` after the deadline.
    public func write(
        from buffer: borrowing IOBuffer, at offset: BdevOffset, options: IOOptions
    ) async throws(BdevError) {
        try await transfer(.write, buffer.memory, nil, offset, options)
    }

    /// Reads blocks into `buffer` and their metadata into `metadata`.
    ///
    /// - Throws: `invalidArgument` unless the bdev keeps its metadata apart from the data and the buffer is as long as
    ///   that of all blocks; what ``read(at:into:options:)`` throws.
    public func read(
        at offset: BdevOffset, into buffer: inout IOBuffer, metadata: inout IOBuffer, options: IOOptions = IOOptions()
    ) async throws(BdevError) {
        try await transfer(.read, buffer.memory, metadata.memory, offset, options)
    }

    /// Writes `buffer` and, as the blocks' metadata, `metadata`.
    ///
    /// - Throws: as ``read(at:into:metadata:options:)``.
    public func write(
        from buffer: borrowing IOBuffer, metadata: borrowing IOBuffer, at offset: BdevOffset,
        options: IOOptions = IOOptions()
    ) async throws(BdevError) {
        try await transfer(.write, buffer.memory, metadata.memory, offset, options)
    }

    /// Reads `count` from `offset` on into a buffer of the reactor's memory, waiting for one in turn when none is free
    /// (SPDK: a read without a buffer).
    ///
    /// - Returns: the buffer, which is the caller's.
    /// - Throws: as ``read(at:into:)-(_,IOBuffer)``, before a buffer is taken when the arguments forbid it; `aborted`
    ///   when the task is cancelled while it waits for a buffer, which is noticed within 10 ms.
    public func read(at offset: BdevOffset, count: BdevLength) async throws(BdevError) -> IOBuffer {
        let byteCount = try parts.face.byteCount(.read, at: offset, count)
        if byteCount > loop.value.bufferByteCountLimit {
            throw BdevError(
                .noMemory, bdev: parts.face.name, "there can be no buffer of \(byteCount) bytes on \(reactor.name)",
                advice: "raise the pool's byteCountLimit, or read in parts")
        }
        // What looks for cancelled tasks looks for this one too.
        parts.pool.willPark()
        guard var buffer = await reactor.local.bufferUnlessCancelled(byteCount: byteCount) else {
            throw BdevError(.aborted, bdev: parts.face.name, "the task was cancelled while it waited for a buffer")
        }
        try await read(at: offset, into: &buffer)
        return buffer
    }

    private func transfer(
        _ type: IOType, _ memory: IOMemory, _ metadata: IOMemory?, _ offset: BdevOffset, _ options: IOOptions
    ) async throws(BdevError) {
        if let metadata { try checkMetadata(memory, metadata) }
        let slot = unsafe try await prepare(type, memory, offset)
        if let metadata { unsafe slot.pointee.extras.metadata = Segments(metadata) }
        unsafe slot.pointee.extras.options = options
        if let deadline = options.deadline {
            unsafe slot.pointee.extras.deadline = parts.core.clock.ticks(deadline)
            parts.pool.watchDeadlines()
        }
        unsafe try await finishOther(slot)
    }

    private func checkMetadata(_ memory: IOMemory, _ metadata: IOMemory) throws(BdevError) {
        let geometry = parts.core.bdev.geometry
        if geometry.metadataByteCount == 0 || geometry.isMetadataInterleaved {
            throw BdevError(
                .invalidArgument, bdev: parts.face.name, "the bdev keeps no metadata apart from its blocks",
                advice: geometry.isMetadataInterleaved ? "it is part of the blocks" : nil)
        }
        let wanted = memory.byteCount / geometry.blockByteCount * geometry.metadataByteCount
        if metadata.byteCount != wanted {
            throw BdevError(
                .invalidArgument, bdev: parts.face.name,
                "\(metadata.byteCount) bytes of metadata do not fit \(memory.byteCount) bytes of blocks",
                advice: "use \(wanted) bytes")
        }
    }
}
