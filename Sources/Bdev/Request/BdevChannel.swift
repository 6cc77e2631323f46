public import Reactors

// SAFETY (below): the slot is this call's from `prepare` until it is given back below.

/// The async face of one bdev on one reactor, for one descriptor.
///
/// An actor on its reactor. Code isolated to it (see ``BdevDescriptor/withChannel(on:_:)``) suspends at most once for
/// an I/O and comes back on the reactor; an I/O that completes at once does not suspend. The same methods called from
/// an ordinary task work too and cost two crossings between threads each, several microseconds.
///
/// Every operation throws before anything is queued when it is not permitted, not supported, out of range or
/// misaligned, and after the device has let go of the memory when it fails. Cancelling the task asks the device to give
/// the I/O up and then waits for it all the same; it is noticed within 10 ms, and an I/O that is done by then simply
/// succeeds.
@safe public actor BdevChannel {
    nonisolated let parts: Parts
    @usableFromInline nonisolated let lot: ParkingLot
    @usableFromInline nonisolated let loop: ReactorConfined<ReactorLoop>
    public nonisolated let reactor: Reactor
    nonisolated let descriptor: BdevDescriptor

    /// What the path of an I/O touches. Unchecked Sendable: used on the reactor only, which the path checks by its
    /// thread instead of by a hop.
    struct Parts: @unchecked Sendable {
        let face: EngineChannel
        let core: ChannelCore
        let pool: RequestPool

        /// Gives the slot of a complete request back. Its failure, if it failed.
        @inline(__always)
        func finish(_ slot: Slot) -> BdevError? {
            if unsafe !slot.pointee.status.isSuccess { return unsafe fail(slot) }
            unsafe pool.giveBack(slot)
            face.leave()
            return nil
        }

        /// Has `body` prepare a request, in turn when every one is in use.
        nonisolated(nonsending) func prepareInTurn(
            _ body: (EngineChannel) throws(BdevError) -> Slot
        ) async throws(BdevError) -> Slot {
            if !pool.isExhausted { return unsafe try body(face) }
            return unsafe try await pool.takeInTurn(for: core.bdev) { () throws(BdevError) in unsafe try body(face) }
        }

        @inline(never)
        func fail(_ slot: Slot) -> BdevError {
            let error = unsafe core.error(slot)
            unsafe face.abandon(slot)
            return error
        }
    }

    /// The synchronous face.
    public var engine: EngineChannel { parts.face }

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }

    init(core: ChannelCore, descriptor: BdevDescriptor) {
        self.descriptor = descriptor
        reactor = core.pool.reactor
        lot = reactor.lot
        parts = Parts(
            face: EngineChannel(core: core, isWritable: descriptor.mode == .readWrite), core: core, pool: core.pool)
        loop = ReactorConfined(core.loop)
    }

    func perform<Result: Sendable>(
        _ body: (isolated BdevChannel) async throws -> Result
    ) async throws -> Result { try await body(self) }

    /// Follows its descriptor, which may have become writable.
    func adoptMode() { if descriptor.mode == .readWrite { parts.face.permitWrites() } }

    // MARK: Memory

    /// A buffer of `byteCount` bytes from the reactor's memory. Its contents are undefined.
    ///
    /// - Throws: `noMemory` when none is to be had now: wait for one with ``buffer(byteCount:)``, or use fewer.
    public func allocateBuffer(byteCount: Int) throws(BdevError) -> IOBuffer {
        guard let buffer = loop.value.allocateBuffer(byteCount: byteCount) else {
            throw BdevError(
                .noMemory, bdev: parts.core.bdev.name, "no buffer of \(byteCount) bytes is free on \(reactor.name)",
                advice: "give buffers back, await buffer(byteCount:), or raise the pool's byteCountLimit")
        }
        return buffer
    }

    /// A buffer of `byteCount` bytes from the reactor's memory, waiting in turn until one is free. Its contents are
    /// undefined. Cancellation does not end the wait.
    public nonisolated(nonsending) func buffer(byteCount: Int) async -> IOBuffer {
        await reactor.local.buffer(byteCount: byteCount)
    }

    // MARK: Operations without data

    /// Tells the device that the blocks are not needed. What they read as afterwards is the device's choice.
    ///
    /// - Throws: `BdevError`; `notSupported` unless the bdev can. A count of 0 succeeds and does nothing.
    public func unmap(at offset: BdevOffset, count: BdevLength) async throws(BdevError) {
        try await perform(.unmap, offset, count)
    }

    /// Makes the blocks read as zeros. Done with writes where the bdev cannot do it itself.
    ///
    /// - Throws: `BdevError`. A count of 0 succeeds and does nothing.
    public func writeZeroes(at offset: BdevOffset, count: BdevLength) async throws(BdevError) {
        try await perform(.writeZeroes, offset, count)
    }

    /// Makes every write that was complete before this call durable.
    ///
    /// - Throws: `BdevError`; `notSupported` unless the bdev can.
    public func flush() async throws(BdevError) { try await perform(.flush, .block(0), .blocks(parts.core.blockCount)) }

    /// Ends all work in flight and brings the device back to a fresh state.
    ///
    /// - Throws: `BdevError`; `notSupported` unless the bdev can. Allowed on a read-only descriptor.
    public func reset() async throws(BdevError) { try await perform(.reset, .block(0), .blocks(0)) }

    private func perform(_ type: IOType, _ offset: BdevOffset, _ count: BdevLength) async throws(BdevError) {
        unsafe try await finishOther(prepare(type, offset, count))
    }

    // MARK: Batches

    /// Submits every I/O of `batch` and returns when all are complete.
    ///
    /// Cost: at most one suspension for the whole batch, no allocation; more when all of the reactor's requests are in
    /// use: the rest of the batch waits for one in turn then, and ends as aborted when the task is cancelled meanwhile.
    ///
    /// - Throws: the first failure; the others, and all successes, are in the batch's statuses.
    public func perform(_ batch: inout IOBatch) async throws(BdevError) {
        if batch.count == 0 { return }
        unsafe batch.control.pointee.remaining = batch.count
        var (next, refusal) = batch.submit(from: 0, to: parts.face)
        if next < batch.count { await submitInTurn(&batch, from: &next, &refusal) }
        if unsafe batch.control.pointee.remaining > 0 {
            let spot = loop.value.makeSpot()
            unsafe batch.control.pointee.spot = spot
            parts.pool.willPark()
            await reactor.park(at: spot)
            unsafe batch.control.pointee.spot = nil
            loop.value.release(spot)
        } else if !loop.value.spendSynchronousCompletions(batch.count) {
            await reactor.yieldTurn()
        }
        if let refusal { throw refusal }
        if let (index, status) = batch.firstFailure() {
            throw parts.core.error(status, "I/O \(index) of a batch of \(batch.count) failed")
        }
    }

    /// Submits the rest of a batch as requests come back, until there is none or the task is cancelled.
    @inline(never)
    private func submitInTurn(_ batch: inout IOBatch, from next: inout Int, _ refusal: inout BdevError?) async {
        while next < batch.count {
            do {
                let (reached, refused) = try await parts.pool.takeInTurn(for: parts.core.bdev) {
                    () throws(BdevError) in batch.submit(from: next, to: parts.face)
                }
                next = reached
                if refusal == nil { refusal = refused }
            } catch {
                batch.giveUp(from: next)
                if refusal == nil { refusal = error }
                return
            }
        }
    }

    // MARK: Closing

    /// Refuses what comes from now on, waits for what is in flight, and lets go of the device's channel. Calling it
    /// again does nothing.
    public func close() async {
        if parts.face.isClosed { return }
        parts.pool.closeWatch.begin(parts.face)
        if await parts.face.close() {
            await reactor.local.releaseChannel(parts.core)
            descriptor.forget(self)
        }
        parts.pool.closeWatch.end(parts.face)
    }

    /// What this bdev has done on this reactor, through all descriptors, since the channel was first opened.
    public var statistics: IOStatistics { parts.core.statistics }

    /// Starts, or with nil ends, recording every latency on this reactor, through all descriptors.
    public func recordLatencies(in histogram: sending LatencyHistogram?) { parts.core.histogram = histogram }

    /// Where latencies are being recorded; nil: they are not.
    public var latencyHistogram: LatencyHistogram? { parts.core.histogram }
}

extension LocalReactor {
    /// The synchronous face of a channel of this reactor: what ``BdevChannel/engine`` is, for code that is isolated to
    /// the reactor itself, such as a module that makes a channel of its own. Traps on another reactor.
    public func engine(of channel: BdevChannel) -> EngineChannel {
        precondition(channel.reactor === reactor, "a channel's synchronous face is used on its own reactor")
        return channel.parts.face
    }

    func openChannel(_ descriptor: BdevDescriptor) async throws(BdevError) -> BdevChannel {
        if descriptor.hidesMetadata { return try await openHidingChannel(descriptor) }
        return BdevChannel(core: try await acquireChannel(descriptor.bdev), descriptor: descriptor)
    }
}
