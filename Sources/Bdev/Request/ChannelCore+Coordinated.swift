import Reactors

// SAFETY (below): a coordinated slot is queued until the task that sees it through ends it, and touched on its own
// reactor only.

/// A request that a task of the layer sees through, because it is the business of all reactors.
@safe struct CoordinatedRequest: @unchecked Sendable {
    let core: ChannelCore
    let slot: Slot

    var reactor: Reactor { core.pool.reactor }
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
        Task(executorPreference: pool.reactor.taskExecutor) {
            await request.reactor.local.compareAndWrite(request)
        }
    }

    /// Compares and, if equal, writes, under a lock that keeps other writers out on all reactors.
    fileprivate nonisolated(nonsending) func compareAndWrite(_ slot: Slot) async -> IOStatus {
        let (start, count) = unsafe (slot.pointee.startBlock, slot.pointee.blockCount)
        let lock: RangeLock
        do throws(BdevError) {
            lock = try await bdev.holds.lock(start..<start + count, holdingReads: false, of: bdev)
        } catch {
            return IOStatus(.firstFusedFailed)
        }
        var status = IOStatus.aborted
        if !gate.isFrozen {
            status = await perform(.compare, at: start, count: count, unsafe Segments(of: slot))
            if status.isSuccess {
                status = await perform(.write, at: start, count: count, unsafe slot.pointee.extras.second)
            }
        }
        await bdev.holds.unlock(lock.id, of: bdev)
        return status
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
        let status = await unsafe request.core.compareAndWrite(request.slot)
        unsafe request.core.endCoordinated(request.slot, status)
    }

    func endReset(_ request: CoordinatedRequest, _ status: IOStatus) {
        unsafe request.core.endCoordinated(request.slot, status)
    }
}
