// SAFETY (below): the upper request is its module's, which hands it over here and gets it back when the lower one is
// complete; both are slots of this reactor's pool.

/// Handing requests on, for modules whose bdevs stand on other bdevs.
extension EngineChannel {
    /// Does `request`, which is of a bdev above, on this bdev: the same kind of I/O, with the same memory.
    ///
    /// The request is completed with what becomes of it here. With `observed`, the module that forwards is told first:
    /// ``BdevModuleChannel/forwardCompleted(_:_:)``. What this bdev refuses (it is read-only, does not do this kind of
    /// I/O, is being removed, ends before the last block) completes the request with an error. Aborting the request
    /// aborts what it became. Both bdevs have blocks of one size.
    ///
    /// Cost: no allocation; one request of this bdev.
    ///
    /// - Parameters:
    ///   - type: what it is on this bdev, such as a write for an append; nil: what it is above.
    ///   - startBlock: where on this bdev; nil: at the request's own first block.
    ///   - observed: whether the forwarding module sees it come back, also when this bdev refuses it.
    public func forward(
        _ request: consuming IORequest, as type: IOType? = nil, at startBlock: UInt64? = nil, observed: Bool = false
    ) {
        let upper = unsafe request.relinquish()
        let sink = observed ? RequestState.Sink.observer : .upper
        let type = unsafe type ?? upper.pointee.type
        let start = unsafe startBlock ?? upper.pointee.startBlock
        let count = unsafe upper.pointee.blockCount
        let (end, overflow) = start.addingReportingOverflow(count)
        guard mayDo(type), !overflow, end <= core.blockCount, let slot = unsafe core.pool.take(core) else {
            return unsafe refuseForwarded(upper, sink, type, isInRange: !overflow && end <= core.blockCount)
        }
        unsafe slot.pointee.type = type
        unsafe slot.pointee.startBlock = start
        unsafe slot.pointee.blockCount = count
        unsafe slot.pointee.memory = upper.pointee.memory
        unsafe slot.pointee.segments = upper.pointee.segments
        unsafe slot.pointee.segmentCount = upper.pointee.segmentCount
        unsafe slot.pointee.channel = Unmanaged.passUnretained(self)
        unsafe slot.pointee.parent = upper
        enter()
        if unsafe upper.pointee.hasExtras { unsafe core.copyExtras(from: upper, to: slot) }
        if type == .read || type == .write { unsafe core.start(slot, sink) } else { unsafe core.startOther(slot, sink) }
    }

    @inline(never)
    private func refuseForwarded(_ upper: Slot, _ sink: RequestState.Sink, _ type: IOType, isInRange: Bool) {
        let status: IOStatus =
            if core.bdev.isRemoved {
                .removed
            } else if !mayDo(type) {
                .notSupported
            } else if !isInRange {
                .failed
            } else {
                .noMemory
            }
        unsafe upper.pointee.core._withUnsafeGuaranteedRef { unsafe $0.comeBack(upper, sink, status) }
    }
}

extension ChannelCore {
    /// A request that was handed on is its module's again, or ends when the module does not want to see it.
    @inline(__always)
    func comeBack(_ upper: Slot, _ sink: RequestState.Sink, _ status: IOStatus) {
        if sink == .upper {
            unsafe moduleCompleted(upper, status)
        } else {
            unsafe module.forwardCompleted(IORequest(upper), status)
        }
    }

    @inline(never)
    func copyExtras(from upper: Slot, to slot: Slot) {
        unsafe slot.pointee.extras = upper.pointee.extras
        unsafe slot.pointee.hasExtras = true
    }

    /// A request that does another's work is complete.
    @inline(__always)
    func tellUpper(_ slot: Slot, _ sink: RequestState.Sink) {
        let upper = unsafe slot.pointee.parent!
        let status = unsafe slot.pointee.status
        let channel = unsafe slot.pointee.channel!
        if unsafe slot.pointee.hasExtras {
            unsafe upper.pointee.extras.result = slot.pointee.extras.result
            unsafe clearExtras(slot)
        }
        unsafe pool.giveBack(slot)
        unsafe upper.pointee.core._withUnsafeGuaranteedRef { unsafe $0.comeBack(upper, sink, status) }
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }

    /// What the device answered, of a request that is over.
    @inline(never)
    func takeResult(_ slot: Slot) -> UInt64 {
        defer { unsafe clearExtras(slot) }
        return unsafe slot.pointee.extras.result
    }

    @inline(never)
    func clearExtras(_ slot: Slot) {
        unsafe slot.pointee.extras = RequestExtras()
        unsafe slot.pointee.hasExtras = false
    }
}
