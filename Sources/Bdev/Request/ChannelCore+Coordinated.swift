import Reactors

// SAFETY (below): a coordinated slot is queued until the task that sees it through ends it, and touched on its own
// reactor only.

/// A request that a task of the layer sees through, because it is the business of all reactors.
@safe struct CoordinatedRequest: @unchecked Sendable {
    let core: ChannelCore
    let slot: Slot
    /// The use of the slot that is meant.
    let generation: UInt16

    init(core: ChannelCore, slot: Slot) {
        self.core = core
        unsafe self.slot = slot
        unsafe generation = slot.pointee.generation
    }

    var reactor: Reactor { core.pool.reactor }

    func isSame(as other: CoordinatedRequest) -> Bool { unsafe slot == other.slot && generation == other.generation }
}

extension ChannelCore {
    private func coordinate(_ slot: Slot, _ sink: RequestState.Sink) -> CoordinatedRequest {
        unsafe slot.pointee.sink = sink
        unsafe slot.pointee.submitTick = clock.now()
        unsafe slot.pointee.phase = .queued
        unsafe slot.pointee.isCoordinated = true
        return unsafe CoordinatedRequest(core: self, slot: slot)
    }

    /// Starts a reset. It ends when the device has been reset, and with it every reset that came meanwhile.
    @inline(never)
    func startReset(_ slot: Slot, _ sink: RequestState.Sink) {
        let request = unsafe coordinate(slot, sink)
        let holds = bdev.holds
        Task(executorPreference: pool.reactor.taskExecutor) { await holds.reset(request) }
    }

    /// Starts a compare-and-write for a device that has none.
    @inline(never)
    func startCompareAndWrite(_ slot: Slot, _ sink: RequestState.Sink) {
        let request = unsafe coordinate(slot, sink)
        unsafe slot.pointee.extras.task = Task(executorPreference: pool.reactor.taskExecutor) {
            await request.reactor.local.compareAndWrite(request)
        }
    }

    /// Compares and, if equal, writes, under a lock that keeps other writers out on all reactors.
    fileprivate nonisolated(nonsending) func compareAndWrite(_ request: CoordinatedRequest) async -> IOStatus {
        let slot = unsafe request.slot
        let (start, count) = unsafe (slot.pointee.startBlock, slot.pointee.blockCount)
        let lock: RangeLock
        do throws(BdevError) {
            lock = try await bdev.holds.lock(start..<start + count, holdingReads: false, of: bdev, for: request)
        } catch {
            return error.code == .noMemory ? IOStatus(.firstFusedFailed) : .aborted
        }
        var status = IOStatus.aborted
        if unsafe !isGivenUp(slot) {
            status = unsafe await perform(.compare, at: start, count: count, Segments(of: slot), for: slot)
        }
        if status.isSuccess {
            status = .aborted
            if unsafe !isGivenUp(slot) {
                let new = unsafe slot.pointee.extras.second
                status = unsafe await perform(.write, at: start, count: count, new, for: slot)
            }
        }
        await bdev.holds.unlock(lock.id, of: bdev)
        return status
    }

    private func isGivenUp(_ slot: Slot) -> Bool { unsafe slot.pointee.abortedGeneration == slot.pointee.generation }

    /// Lets a compare-and-write go no further: it does not wait for its range any longer, and begins nothing. False for
    /// a reset, which cannot be given up.
    func giveUpCoordinated(_ slot: Slot) -> Bool {
        if unsafe slot.pointee.type == .reset { return false }
        unsafe slot.pointee.abortedGeneration = slot.pointee.generation
        // For when it has not come to where it waits yet.
        unsafe slot.pointee.extras.task?.cancel()
        let request = unsafe CoordinatedRequest(core: self, slot: slot), holds = bdev.holds
        Task(executorPreference: pool.reactor.taskExecutor) { await holds.giveUp(request) }
        return true
    }

    /// Visits what the layer does for a coordinated request and is not complete.
    func forEachStep(of owner: Slot, _ body: (Slot) -> Void) {
        unsafe forEachOutstanding { slot in
            if unsafe slot.pointee.sink == .inside, unsafe slot.pointee.parent == owner { unsafe body(slot) }
        }
    }

    nonisolated(nonsending) func resetDevice(_ request: CoordinatedRequest) async -> IOStatus {
        await unsafe perform(.reset, at: 0, count: 0, for: request.slot)
    }

    /// Ends a request that others did the work of, after its starter has left.
    func endCoordinated(_ slot: Slot, _ status: IOStatus) {
        unsafe slot.pointee.isCoordinated = false
        unsafe slot.pointee.status = status
        unsafe finishParent(slot)
    }
}

extension LocalReactor {
    fileprivate func compareAndWrite(_ request: CoordinatedRequest) async {
        let status = await request.core.compareAndWrite(request)
        unsafe request.core.endCoordinated(request.slot, status)
    }

    func endReset(_ request: CoordinatedRequest, _ status: IOStatus) {
        unsafe request.core.endCoordinated(request.slot, status)
    }
}
