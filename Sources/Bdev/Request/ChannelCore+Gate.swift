import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, a slot is touched by its reactor's thread only,
// and each function here is given a slot whose phase makes it the layer's.

/// Requests that cannot simply go to the module: those of a bdev with limits, and all while somebody holds I/O up.
extension ChannelCore {
    // MARK: Going down

    /// Starts a prepared request that something may stand in the way of.
    @inline(never)
    func startIndirectly(_ slot: Slot) {
        unsafe slot.pointee.isStarting = true
        if gate.isFrozen {
            unsafe end(slot, .aborted)
        } else if gate.isHolding, unsafe gate.holdsUp(slot) {
            unsafe slot.pointee.phase = .queued
            unsafe gate.held.append(slot)
        } else {
            unsafe proceed(slot)
        }
        unsafe slot.pointee.isStarting = false
    }

    /// What comes after the gate.
    private func proceed(_ slot: Slot) {
        if unsafe !isPlain(slot) { return unsafe startDetour(slot) }
        if unsafe !isAdmitted(slot) { return }
        if unsafe slot.pointee.isStarting { return unsafe dispatch(slot, slot.pointee.sink) }
        unsafe submitAgain(slot)
    }

    /// Does an I/O of the layer's own for the request `owner`, past whatever holds others up, and waits for it.
    nonisolated(nonsending) func perform(
        _ type: IOType, at start: UInt64, count: UInt64, _ segments: Segments = Segments(), for owner: Slot
    ) async -> IOStatus {
        var taken = unsafe pool.take(self, forLayer: true)
        if unsafe taken == nil {
            do throws(BdevError) {
                unsafe taken = try await pool.takeInTurn(for: bdev) { () throws(BdevError) in unsafe pool.take(self) }
            } catch {
                return .aborted
            }
        }
        guard let slot = unsafe taken else { return .noMemory }
        unsafe slot.pointee.type = type
        unsafe slot.pointee.sink = .inside
        unsafe slot.pointee.startBlock = start
        unsafe slot.pointee.blockCount = count
        unsafe slot.pointee.segments = segments.list
        if let memory = segments.memory { unsafe slot.pointee.memory = memory }
        unsafe slot.pointee.segmentCount = segments.count
        unsafe slot.pointee.channel = nil
        unsafe slot.pointee.parent = owner
        unsafe slot.pointee.submitTick = clock.now()
        unsafe slot.pointee.isStarting = true
        // A device that has no room may be what the reset is for, so it waits behind nobody.
        if type == .reset { unsafe submit(slot, .inside) } else { unsafe proceed(slot) }
        unsafe slot.pointee.isStarting = false
        if unsafe slot.pointee.phase != .done { await unsafe pool.reactor.park(at: slot.pointee.spot) }
        let status = unsafe slot.pointee.status
        unsafe slot.pointee.parent = nil
        unsafe pool.giveBack(slot)
        return status
    }

    /// Submits a request that has waited, or a child that has come back and is to do something else.
    func submitAgain(_ slot: Slot) {
        if !module.noMemory.isEmpty { return unsafe enqueueBehindOthers(slot) }
        unsafe submitLate(slot)
    }

    /// Ends a request that never came to the device.
    func end(_ slot: Slot, _ status: IOStatus) {
        unsafe slot.pointee.status = status
        unsafe finish(slot, slot.pointee.sink, insideSubmit: slot.pointee.isStarting)
    }

    // MARK: Ranges

    /// Whether requests that the lock concerns are still on their way here.
    func hasRequests(concernedBy lock: RangeLock) -> Bool {
        var found = false
        unsafe forEachOutstanding { slot in
            // Parts are of a request that is looked at itself; and what a task sees through has a lock of its own.
            let isPart = unsafe slot.pointee.sink == .parent || slot.pointee.sink == .inside
            if unsafe !isPart && !slot.pointee.isCoordinated, unsafe !gate.held.contains(slot),
                unsafe lock.concerns(slot)
            {
                found = true
            }
        }
        return found
    }

    /// A range is free again, or a reset is over: whoever waited goes on, in order, or waits for another range.
    func letHeldGo() {
        gateChanged()
        // Handlers are told in the next turn: what they submit would overtake those that are still to go.
        pool.submitDepth &+= 1
        defer { pool.submitDepth &-= 1 }
        var batch = gate.held
        gate.held = SlotQueue()
        while let slot = unsafe batch.popFirst() {
            if unsafe gate.holdsUp(slot) {
                unsafe gate.held.append(slot)
            } else {
                // The wait is not the device's.
                unsafe slot.pointee.submitTick = clock.now()
                unsafe proceed(slot)
            }
        }
    }

    // MARK: Reset

    /// From now on everything is aborted, and so is what waits in the layer. What the device has finishes by itself.
    func freeze() {
        gate.isFrozen = true
        gateChanged()
        abortWaiting()
    }

    func unfreeze() {
        gate.isFrozen = false
        gateChanged()
    }
}
