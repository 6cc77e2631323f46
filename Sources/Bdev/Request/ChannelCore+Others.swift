import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and each function here is given one that is the
// caller's.

/// What is neither a plain read nor a plain write.
extension ChannelCore {
    /// Starts a prepared request without data, or one that only some devices do themselves.
    func startOther(_ slot: Slot, _ sink: RequestState.Sink) {
        let (type, count) = unsafe (slot.pointee.type, slot.pointee.blockCount)
        switch type {
        // A layer has its base do what is the business of all reactors.
        case .reset where base != nil: unsafe start(slot, sink)
        case .reset: unsafe startReset(slot, sink)
        case .unmap, .writeZeroes, .copy, .compare:
            // One of no blocks succeeds, and the device need not hear of it.
            if count == 0 { unsafe startAtEnd(slot, sink, .success) } else { unsafe startUndirected(slot, sink) }
        case .seekHole, .seekData:
            if shape.native.contains(type) { return unsafe start(slot, sink) }
            // Nobody knows better: everything is data, and there is no hole.
            unsafe slot.pointee.hasExtras = true
            unsafe slot.pointee.extras.result = type == .seekData ? slot.pointee.startBlock : .max
            unsafe startAtEnd(slot, sink, .success)
        case .compareAndWrite:
            // During a reset it is aborted as any other.
            if unsafe shape.native.contains(type) && isPlain(slot) || gate.isFrozen { return unsafe start(slot, sink) }
            unsafe startCompareAndWrite(slot, sink)
        default: unsafe start(slot, sink)
        }
    }

    /// As `start`, for what the device may not be able to do even when it has no limits.
    private func startUndirected(_ slot: Slot, _ sink: RequestState.Sink) {
        unsafe slot.pointee.sink = sink
        unsafe slot.pointee.submitTick = clock.now()
        // Only a limit on copies is no matter of the route, which reads and writes take too.
        if unsafe (route == .direct || route == .limited) && shape.native.contains(slot.pointee.type)
            && (slot.pointee.type != .copy || isPlain(slot))
        {
            unsafe dispatch(slot, sink)
        } else {
            unsafe startIndirectly(slot)
        }
    }

    private func startAtEnd(_ slot: Slot, _ sink: RequestState.Sink, _ status: IOStatus) {
        unsafe slot.pointee.sink = sink
        unsafe slot.pointee.status = status
        unsafe slot.pointee.phase = .done
        unsafe tell(slot, sink, insideSubmit: true)
    }
}
