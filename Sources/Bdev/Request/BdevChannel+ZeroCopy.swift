public import Reactors

// SAFETY (below): the slot is this I/O's from its start to its end, and the memory the module's, which lends it for as
// long.

/// Reading and writing in the bdev's own memory.
extension BdevChannel {
    /// Borrows memory of the bdev that stands for `count` blocks from `offset` on, so that nothing is copied. Needs a
    /// descriptor opened for writing, also to read.
    ///
    /// `populated`: whether the memory holds what is on the blocks; otherwise its contents are undefined.
    /// - Returns: the I/O, which has to be ended; the channel does not close before.
    /// - Throws: `notSupported` unless the bdev can; `BdevError`.
    public func startZeroCopy(
        at offset: BdevOffset, count: BdevLength, populated: Bool
    ) async throws(BdevError) -> ZeroCopyIO {
        let slot = unsafe try await prepare(.zeroCopy, offset, count)
        unsafe slot.pointee.extras.zeroCopyPhase = populated ? .startPopulated : .start
        unsafe await wait(for: slot)
        if unsafe !slot.pointee.status.isSuccess { _ = unsafe try conclude(slot) }
        return unsafe ZeroCopyIO(channel: self, slot: slot)
    }

    fileprivate func end(_ io: ZeroCopyIO.Borrowed, commit: Bool) async throws(BdevError) {
        let slot = unsafe io.slot
        unsafe slot.pointee.phase = .prepared
        unsafe slot.pointee.extras.zeroCopyPhase = commit ? .commit : .end
        unsafe await wait(for: slot)
        _ = unsafe try conclude(slot)
    }
}

/// Memory of a bdev on loan. Cannot be copied; dropping it without ``end(commit:)`` traps.
@safe public struct ZeroCopyIO: ~Copyable, @unchecked Sendable {
    @safe fileprivate struct Borrowed: @unchecked Sendable {
        let slot: Slot
    }

    private let channel: BdevChannel
    private let slot: Slot
    private var isEnded = false

    init(channel: BdevChannel, slot: Slot) {
        self.channel = channel
        unsafe self.slot = slot
    }

    deinit { precondition(isEnded, "a zero-copy I/O was dropped: end it, with or without commit") }

    /// Pieces of memory that stand for the blocks, one after another.
    public var segmentCount: Int { unsafe slot.pointee.segmentCount }

    /// Lends the piece at `index` for reading. Traps when there is none.
    public func withBytes<Result, Failure: Error>(
        ofSegment index: Int, _ body: (borrowing RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let memory = unsafe Segments(of: slot)[index]
        let span = unsafe RawSpan(_unsafeStart: memory.base, byteCount: memory.byteCount)
        return try body(span)
    }

    /// Lends the piece at `index` for writing. Traps when there is none.
    public mutating func withMutableBytes<Result, Failure: Error>(
        ofSegment index: Int, _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let memory = unsafe Segments(of: slot)[index]
        var span = unsafe MutableRawSpan(_unsafeStart: memory.base, byteCount: memory.byteCount)
        return try body(&span)
    }

    /// Gives the memory back.
    ///
    /// `commit`: whether the blocks hold from now on what is in it; otherwise what was written there may be
    ///   lost.
    /// - Throws: `BdevError`; the memory is given back all the same.
    public consuming func end(commit: Bool) async throws(BdevError) {
        isEnded = true
        try await channel.end(unsafe Borrowed(slot: slot), commit: commit)
    }
}

extension IORequest {
    /// Zero-copy: whether memory is to be lent or given back.
    public var zeroCopyPhase: ZeroCopyPhase { unsafe slot.pointee.extras.zeroCopyPhase }

    /// Zero-copy, on its start: the memory that stands for the blocks; as long as they are, and the module's until the
    /// I/O has ended. ``memory(_:)`` returns it when it comes back.
    public func lend(_ memory: IOMemory) {
        precondition(UInt64(memory.byteCount) == byteCount, "lent memory is as long as the blocks it stands for")
        unsafe slot.pointee.memory = memory
        unsafe slot.pointee.segmentCount = 1
    }
}
