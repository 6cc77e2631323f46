public import Reactors

// SAFETY (below): the slot is this call's from `prepare` until it is given back below.

// Inlined into the caller, as far as the wait: the compiler has an async function hop back to its caller's actor at its
// end, and the caller again behind the call. So one of the two is left, and an I/O that waits needs no frame. In an
// extension, because what stands in an actor itself is not inlined.

/// Reading and writing, and the path of one I/O.
extension BdevChannel {
    /// Reads into all of `buffer` from `offset`.
    ///
    /// - Throws: `BdevError`. The buffer is the caller's again in every case; after an error its contents are
    ///   undefined.
    @inlinable
    @inline(__always)
    public nonisolated(nonsending) func read(at offset: BdevOffset, into buffer: inout IOBuffer) async throws(BdevError)
    {
        switch try begin(.read, buffer, offset) {
        case .done: return
        case .doneForThisTurn: await giveWay()
        case .waiting(let io): if await lot.park(on: loop) { throw fail(io) }
        case .later: try await transfer(.read, buffer, offset)
        }
    }

    /// Writes all of `buffer` at `offset`.
    ///
    /// - Throws: `BdevError`. After an error the blocks may hold the old data, the new, or a mixture by block.
    @inlinable
    @inline(__always)
    public nonisolated(nonsending) func write(from buffer: borrowing IOBuffer, at offset: BdevOffset)
        async throws(BdevError)
    {
        switch try begin(.write, buffer, offset) {
        case .done: return
        case .doneForThisTurn: await giveWay()
        case .waiting(let io): if await lot.park(on: loop) { throw fail(io) }
        case .later: try await transfer(.write, buffer, offset)
        }
    }

    /// Reads into all of `buffers`, one after another, from `offset`: one I/O with as many segments.
    ///
    /// - Throws: as for ``read(at:into:)-(_,IOBuffer)``.
    @inlinable
    @inline(__always)
    public nonisolated(nonsending) func read(at offset: BdevOffset, into buffers: inout IOBufferList)
        async throws(BdevError)
    {
        switch try begin(.read, buffers, offset) {
        case .done: return
        case .doneForThisTurn: await giveWay()
        case .waiting(let io): if await lot.park(on: loop) { throw fail(io) }
        case .later: try await transfer(.read, buffers, offset)
        }
    }

    /// Writes all of `buffers`, one after another, at `offset`: one I/O with as many segments.
    ///
    /// - Throws: as for ``write(from:at:)-(IOBuffer,_)``.
    @inlinable
    @inline(__always)
    public nonisolated(nonsending) func write(from buffers: borrowing IOBufferList, at offset: BdevOffset)
        async throws(BdevError)
    {
        switch try begin(.write, buffers, offset) {
        case .done: return
        case .doneForThisTurn: await giveWay()
        case .waiting(let io): if await lot.park(on: loop) { throw fail(io) }
        case .later: try await transfer(.write, buffers, offset)
        }
    }

    // MARK: The path of one I/O

    /// What has become of a transfer that was to begin.
    @usableFromInline
    enum Beginning {
        case done
        /// The task has had its share of the turn, too.
        case doneForThisTurn
        /// The running task parks next.
        case waiting(StartedIO)
        /// Nothing: the caller is elsewhere, or there is something to wait for first.
        case later
    }

    /// The request of an I/O that its task waits for.
    @usableFromInline
    @safe struct StartedIO: @unchecked Sendable {
        let slot: Slot
    }

    /// Begins a transfer, if the caller is on the reactor and nothing keeps it from beginning at once.
    @usableFromInline
    nonisolated func begin(_ type: IOType, _ buffer: borrowing IOBuffer, _ offset: BdevOffset) throws(BdevError)
        -> Beginning
    {
        if !mayBegin { return .later }
        return unsafe try begin(parts.face.prepare(type, buffer.memory, offset))
    }

    @usableFromInline
    nonisolated func begin(_ type: IOType, _ buffers: borrowing IOBufferList, _ offset: BdevOffset) throws(BdevError)
        -> Beginning
    {
        if !mayBegin { return .later }
        return unsafe try begin(buffers.prepare(type, offset, parts.face))
    }

    @inline(__always)
    private nonisolated var mayBegin: Bool { parts.pool.identity.isCurrent && !parts.pool.isExhausted }

    @inline(__always)
    private nonisolated func begin(_ slot: Slot) throws(BdevError) -> Beginning {
        unsafe parts.core.start(slot, .task)
        if unsafe slot.pointee.phase == .done {
            if let failure = unsafe parts.finish(slot) { throw failure }
            return loop.value.spendSynchronousCompletions(1) ? .done : .doneForThisTurn
        }
        parts.pool.willPark()
        unsafe loop.value.expectParking(at: slot.pointee.spot)
        return .waiting(unsafe StartedIO(slot: slot))
    }

    /// A transfer that could not begin at once.
    @usableFromInline
    nonisolated(nonsending) func transfer(_ type: IOType, _ buffer: borrowing IOBuffer, _ offset: BdevOffset)
        async throws(BdevError)
    {
        if !reactor.isCurrent { return try await transferHere(type, buffer, offset) }
        let memory = buffer.memory
        unsafe try await run(
            parts.prepareInTurn { face throws(BdevError) in unsafe try face.prepare(type, memory, offset) })
    }

    @usableFromInline
    nonisolated(nonsending) func transfer(_ type: IOType, _ buffers: borrowing IOBufferList, _ offset: BdevOffset)
        async throws(BdevError)
    {
        if !reactor.isCurrent { return try await transferHere(type, buffers, offset) }
        unsafe try await run(
            parts.prepareInTurn { face throws(BdevError) in unsafe try buffers.prepare(type, offset, face) })
    }

    private func transferHere(_ type: IOType, _ buffer: borrowing IOBuffer, _ offset: BdevOffset)
        async throws(BdevError)
    { try await transfer(type, buffer, offset) }

    private func transferHere(_ type: IOType, _ buffers: borrowing IOBufferList, _ offset: BdevOffset)
        async throws(BdevError)
    { try await transfer(type, buffers, offset) }

    /// Starts a prepared request and waits for it.
    nonisolated(nonsending) func run(_ slot: Slot) async throws(BdevError) {
        switch unsafe try begin(slot) {
        case .waiting(let io): if await lot.park(on: loop) { throw fail(io) }
        case .doneForThisTurn: await giveWay()
        case .done, .later: break
        }
    }

    @usableFromInline
    nonisolated(nonsending) func giveWay() async { await reactor.yieldTurn() }

    /// The error of a request that a task waited for. On the reactor.
    @usableFromInline
    nonisolated func fail(_ io: StartedIO) -> BdevError { unsafe parts.fail(io.slot) }
}
