public import Reactors

// SAFETY (below): the slot is this call's until it is given back below; buffers are borrowed until then.

/// What few devices do themselves and the layer does for the others. Each is one I/O; all throw before anything is
/// queued when the arguments or the bdev forbid it, as reading and writing do.
extension BdevChannel {
    /// Compares the blocks from `offset` on with all of `buffer`. Done by reading where the bdev cannot do it itself.
    ///
    /// - Throws: `miscompare` when there is a difference; `BdevError`.
    public func compare(_ buffer: borrowing IOBuffer, at offset: BdevOffset) async throws(BdevError) {
        unsafe try await finishOther(prepare(.compare, buffer.memory, offset))
    }

    /// Compares the blocks from `offset` on with all of `buffers`, one after another: one I/O with as many segments.
    ///
    /// - Throws: as for ``compare(_:at:)-(IOBuffer,_)``.
    public func compare(_ buffers: borrowing IOBufferList, at offset: BdevOffset) async throws(BdevError) {
        unsafe try await finishOther(
            parts.prepareInTurn { face throws(BdevError) in unsafe try buffers.prepare(.compare, offset, face) })
    }

    /// Compares the blocks from `offset` on with all of `expected` and, when they are the same, writes `new` there; no
    /// other write comes in between, on any reactor. Where the bdev cannot do it itself, other writers to these blocks
    /// wait meanwhile; readers may see a mixture.
    ///
    /// - Throws: `miscompare` when there is a difference: nothing was written then; `invalidArgument` when the buffers
    ///   differ in length or are longer than the bdev's limit; `BdevError`.
    public func compareAndWrite(
        _ expected: borrowing IOBuffer, _ new: borrowing IOBuffer, at offset: BdevOffset
    ) async throws(BdevError) {
        _ = try parts.face.blocks(of: offset, for: .compareAndWrite, count: .bytes(UInt64(expected.byteCount)))
        let limit = parts.core.bdev.geometry.compareAndWriteBlockCountLimit * UInt64(parts.face.blockByteCount)
        if expected.byteCount != new.byteCount || UInt64(expected.byteCount) > limit {
            throw BdevError(
                .invalidArgument, bdev: parts.face.name,
                "cannot compare \(expected.byteCount) bytes and write \(new.byteCount)",
                advice: "use two buffers of one length, at most \(limit) bytes")
        }
        let slot = unsafe try await prepare(.compareAndWrite, expected.memory, offset)
        unsafe slot.pointee.extras.second = Segments(new.memory)
        unsafe slot.pointee.hasExtras = true
        unsafe try await finishOther(slot)
    }

    /// Copies `count` from `source` to `target` on the bdev itself; through memory where the bdev cannot. Ranges that
    /// overlap end up undefined where they do. Not atomic. A count of 0, or a copy to itself, succeeds and does
    /// nothing.
    ///
    /// - Throws: `outOfRange` for either range; `BdevError`.
    public func copy(from source: BdevOffset, to target: BdevOffset, count: BdevLength) async throws(BdevError) {
        let first = try parts.face.blocks(of: source, for: .copy, count: count)
        let slot = unsafe try await prepare(.copy, target, count)
        if unsafe slot.pointee.startBlock == first { return unsafe parts.face.abandon(slot) }
        unsafe slot.pointee.extras.sourceBlock = first
        unsafe slot.pointee.hasExtras = true
        unsafe try await finishOther(slot)
    }

    /// The first block from `offset` on that holds data; nil when there is none. `offset` itself where the bdev does
    /// not know.
    ///
    /// - Throws: `BdevError`.
    public func nextData(from offset: BdevOffset) async throws(BdevError) -> UInt64? {
        try await seek(.seekData, offset)
    }

    /// The first block from `offset` on that holds no data; nil when there is none, or when the bdev does not know.
    ///
    /// - Throws: `BdevError`.
    public func nextHole(from offset: BdevOffset) async throws(BdevError) -> UInt64? {
        try await seek(.seekHole, offset)
    }

    private func seek(_ type: IOType, _ offset: BdevOffset) async throws(BdevError) -> UInt64? {
        let slot = unsafe try await prepare(type, offset, .blocks(1))
        unsafe slot.pointee.hasExtras = true
        let found = unsafe try await finishOther(slot)
        return found == .max ? nil : found
    }

    /// Makes the blocks unreadable until they are written again: for testing what stands above.
    ///
    /// - Throws: `notSupported` unless the bdev can; `BdevError`.
    public func writeUncorrectable(at offset: BdevOffset, count: BdevLength) async throws(BdevError) {
        unsafe try await finishOther(prepare(.writeUncorrectable, offset, count))
    }

    /// A request that is prepared, in turn when every one is in use.
    func prepare(_ type: IOType, _ memory: IOMemory, _ offset: BdevOffset) async throws(BdevError) -> Slot {
        unsafe try await parts.prepareInTurn { face throws(BdevError) in unsafe try face.prepare(type, memory, offset) }
    }

    func prepare(_ type: IOType, _ offset: BdevOffset, _ count: BdevLength) async throws(BdevError) -> Slot {
        unsafe try await parts.prepareInTurn { face throws(BdevError) in unsafe try face.prepare(type, offset, count) }
    }

    /// Starts a prepared request, waits for it, and returns the device's answer.
    @discardableResult
    func finishOther(_ slot: Slot) async throws(BdevError) -> UInt64 {
        unsafe await wait(for: slot)
        return unsafe try conclude(slot)
    }

    /// Starts a prepared request and returns when it is complete. The slot is the caller's then.
    func wait(for slot: Slot) async {
        // The slot of a request with extras is kept for its answer; so that there is one path here, every one is.
        unsafe slot.pointee.hasExtras = true
        unsafe parts.core.startOther(slot, .task)
        if unsafe slot.pointee.phase != .done {
            parts.pool.willPark()
            unsafe loop.value.expectParking(at: slot.pointee.spot)
            _ = await lot.park(on: loop)
        } else if !loop.value.spendSynchronousCompletions(1) {
            await reactor.yieldTurn()
        }
    }

    /// Gives the slot of a complete request back. The device's answer.
    func conclude(_ slot: Slot) throws(BdevError) -> UInt64 {
        let answer = unsafe slot.pointee.extras.result
        let failure = unsafe slot.pointee.status.isSuccess ? nil : parts.core.error(slot)
        unsafe parts.core.clearExtras(slot)
        unsafe parts.face.abandon(slot)
        if let failure { throw failure }
        return answer
    }
}
