import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, a slot is touched by its reactor's thread only,
// and each function here is given a slot whose phase makes it the layer's.

/// Requests that wait: for room in the device, or to be given up.
extension ChannelCore {
    // MARK: No room

    /// The device refused the request: it waits at the head of the queue, before all that came after it.
    @inline(never)
    func refused(_ slot: Slot) {
        if unsafe slot.pointee.type == .reset { bdev.contractBroken("there is no room for a reset, which cannot wait") }
        // It came to the device before the reset, and does not go there again.
        if gate.isFrozen { return unsafe end(slot, .aborted) }
        unsafe slot.pointee.phase = .queued
        retryCount &+= 1
        unsafe module.noMemory.requests.prepend(slot)
        let outstanding = module.outstandingCount
        module.noMemory.threshold = max(outstanding / 2, outstanding - 8)
        if outstanding == 0 { scheduleRetry() }
    }

    @inline(never)
    func enqueueBehindOthers(_ slot: Slot) {
        unsafe slot.pointee.phase = .queued
        unsafe module.noMemory.requests.append(slot)
    }

    /// Submits what was refused, in order, until the device refuses again.
    @inline(never)
    func retryRefused() { Self.retryRefused(module, pool) }

    /// The queue is the module's, and may hold requests of other bdevs: each goes through its own core.
    private static func retryRefused(_ module: BdevModuleChannel, _ pool: RequestPool) {
        // What completes at once in here would come back to here for each request, deeper and deeper.
        if module.noMemory.isRetrying { return }
        module.noMemory.isRetrying = true
        defer { module.noMemory.isRetrying = false }
        while let slot = unsafe module.noMemory.requests.popFirst() {
            let core = unsafe slot.pointee.core.takeUnretainedValue()
            // Refused again: the others wait with it.
            if unsafe !core.submitLate(slot) { return }
        }
    }

    /// Hands a request to the module whose starter has left. False: the device had no room for it.
    @discardableResult
    func submitLate(_ slot: Slot) -> Bool {
        unsafe slot.pointee.phase = .submitting
        module.outstandingCount &+= 1
        pool.submitDepth &+= 1
        unsafe module.submit(IORequest(slot))
        pool.submitDepth &-= 1
        if unsafe slot.pointee.phase == .submitting {
            unsafe slot.pointee.phase = .inDevice
        } else if unsafe slot.pointee.phase == .completedInline {
            if unsafe slot.pointee.status.code == .noMemory {
                unsafe refused(slot)
                return false
            }
            unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
        }
        return true
    }

    /// With nothing outstanding no completion will come to try again on. The timer is the module's too: this bdev may
    /// be gone before it is due, and others may wait for it.
    private func scheduleRetry() {
        if module.noMemory.isRetryDue { return }
        module.noMemory.isRetryDue = true
        _ = loop.schedule(after: .milliseconds(10)) { [module, pool] in
            module.noMemory.isRetryDue = false
            if !module.noMemory.isEmpty { Self.retryRefused(module, pool) }
        }
    }

    // MARK: What is outstanding

    /// Visits every request of this channel that is not complete, in no particular order.
    func forEachOutstanding(_ body: (Slot) -> Void) {
        unsafe pool.forEachSlot { slot in
            switch unsafe slot.pointee.phase {
            case .inDevice, .queued:
                if unsafe slot.pointee.core.toOpaque() == Unmanaged.passUnretained(self).toOpaque() {
                    unsafe body(slot)
                }
            case .free, .prepared, .submitting, .completedInline, .done: break
            }
        }
    }

    /// Whether the device has any.
    var hasRequestsInDevice: Bool {
        var found = false
        unsafe forEachOutstanding { slot in if unsafe slot.pointee.phase == .inDevice { found = true } }
        return found
    }

    /// Visits the parts of a request that are not complete.
    func forEachChild(of parent: Slot, _ body: (Slot) -> Void) {
        unsafe forEachOutstanding { slot in
            if unsafe slot.pointee.sink == .parent, unsafe slot.pointee.parent == parent { unsafe body(slot) }
        }
    }

    /// Gives up what waits in the layer: for room in the device, for memory, for a range, for its turn.
    func abortWaiting() {
        unsafe forEachOutstanding { slot in
            // A request that is done by its parts ends with them: those the device has finish by themselves.
            if unsafe pool.starvation.contains(slot) { unsafe abortDetour(slot) }
            if unsafe slot.pointee.isCoordinated { _ = unsafe giveUpCoordinated(slot) }
        }
        while let slot = unsafe gate.held.popFirst() ?? limited.requests.popFirst() {
            unsafe slot.pointee.status = .aborted
            unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
        }
        var waiting = module.noMemory.requests
        module.noMemory.requests = SlotQueue()
        while let slot = unsafe waiting.popFirst() {
            if unsafe slot.pointee.core.toOpaque() == Unmanaged.passUnretained(self).toOpaque() {
                unsafe slot.pointee.status = .aborted
                unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
            } else {
                unsafe module.noMemory.requests.append(slot)
            }
        }
    }

    /// Asks for the request of a cancelled task to be given up, once.
    func abortIfCancelled(_ slot: Slot) {
        guard unsafe slot.pointee.abortedGeneration != slot.pointee.generation, let spot = unsafe waiter(slot),
            loop.isCancelled(at: spot)
        else { return }
        unsafe slot.pointee.abortedGeneration = slot.pointee.generation
        unsafe abort(slot)
    }

    /// Where the task waits that the request is for. A batch's task waits at the batch's spot.
    private func waiter(_ slot: Slot) -> ParkingSpot? {
        switch unsafe slot.pointee.sink {
        case .task: return unsafe slot.pointee.spot
        case .batch: return unsafe slot.pointee.batch!.pointee.spot
        case .handler, .parent, .upper, .observer, .inside: return nil
        }
    }

    /// Takes a request out of whatever it waits in.
    private func isTakenOut(_ slot: Slot) -> Bool {
        unsafe module.noMemory.requests.remove(slot) || gate.held.remove(slot) || limited.requests.remove(slot)
    }

    /// Gives up what a request has become in a bdev below.
    private func abortForwarded(_ slot: Slot) {
        let generation = unsafe slot.pointee.generation
        unsafe pool.forEachSlot { lower in
            // With the first that ends the request may, and the slot be another's.
            if unsafe slot.pointee.generation != generation { return }
            switch unsafe lower.pointee.phase {
            case .inDevice, .queued:
                let isForwarded = unsafe lower.pointee.sink == .upper || lower.pointee.sink == .observer
                if unsafe isForwarded && lower.pointee.parent == slot {
                    unsafe lower.pointee.core._withUnsafeGuaranteedRef { unsafe $0.abort(lower) }
                }
            case .free, .prepared, .submitting, .completedInline, .done: break
            }
        }
    }

    func abort(_ slot: Slot) {
        if unsafe slot.pointee.detour != nil { return unsafe abortDetour(slot) }
        if unsafe slot.pointee.isCoordinated {
            if unsafe !giveUpCoordinated(slot) { return }
            return unsafe forEachStep(of: slot) { step in unsafe abort(step) }
        }
        switch unsafe slot.pointee.phase {
        case .queued:
            if unsafe isTakenOut(slot) {
                unsafe slot.pointee.status = .aborted
                unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
            }
        case .inDevice:
            unsafe abortForwarded(slot)
            if unsafe slot.pointee.phase != .inDevice { return }
            unsafe module.abort(RequestToken(slot))
        case .free, .prepared, .submitting, .completedInline, .done: break
        }
    }
}
