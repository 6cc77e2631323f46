public import Reactors

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
    ///   - startBlock: where on this bdev; nil: at the request's own first block.
    ///   - observed: whether the forwarding module sees it come back.
    public func forward(_ request: consuming IORequest, at startBlock: UInt64? = nil, observed: Bool = false) {
        let upper = unsafe request.relinquish()
        guard let slot = unsafe prepareForwarded(upper, startBlock) else { return }
        unsafe startForwarded(slot, observed)
    }

    /// What else a request has two of, its data or its metadata.
    public enum ForwardedPart: Sendable, Hashable {
        case data
        case metadata
    }

    /// As ``forward(_:at:observed:)``, with `copy` in place of the request's own data or metadata, which stay as they
    /// are. For a write that has to reach the bdev in another form. The copy is given back when the request has come
    /// back.
    public func forward(
        _ request: consuming IORequest, at startBlock: UInt64? = nil, observed: Bool = false,
        replacing part: ForwardedPart = .data, with copy: consuming IOBuffer
    ) {
        let upper = unsafe request.relinquish()
        guard let slot = unsafe prepareForwarded(upper, startBlock) else { return }
        if part == .data {
            unsafe slot.pointee.memory = copy.memory
            unsafe slot.pointee.segments = nil
            unsafe slot.pointee.segmentCount = 1
        } else {
            unsafe slot.pointee.extras.metadata = Segments(copy.memory)
        }
        // What is done with extras is done with the buffer.
        unsafe slot.pointee.hasExtras = true
        unsafe slot.pointee.buffer = consume copy
        unsafe startForwarded(slot, observed)
    }

    /// A slot that stands for `upper` here; nil: it has been refused.
    @inline(__always)
    private func prepareForwarded(_ upper: Slot, _ startBlock: UInt64?) -> Slot? {
        let type = unsafe upper.pointee.type
        let start = unsafe startBlock ?? upper.pointee.startBlock
        let count = unsafe upper.pointee.blockCount
        let (end, overflow) = start.addingReportingOverflow(count)
        guard mayDo(type), !overflow, end <= core.blockCount, let slot = unsafe core.pool.take(core) else {
            unsafe refuseForwarded(upper, isInRange: !overflow && end <= core.blockCount)
            return nil
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
        return unsafe slot
    }

    @inline(__always)
    private func startForwarded(_ slot: Slot, _ observed: Bool) {
        let sink = observed ? RequestState.Sink.observer : .upper
        let type = unsafe slot.pointee.type
        if type == .read || type == .write { unsafe core.start(slot, sink) } else { unsafe core.startOther(slot, sink) }
    }

    @inline(never)
    private func refuseForwarded(_ upper: Slot, isInRange: Bool) {
        let status: IOStatus =
            if core.bdev.isRemoved {
                .removed
            } else if unsafe !mayDo(upper.pointee.type) {
                .notSupported
            } else if unsafe !isInRange || upper.pointee.type == .reset {
                // A reset cannot wait for a request to do it with.
                .failed
            } else {
                .noMemory
            }
        unsafe upper.pointee.core._withUnsafeGuaranteedRef { unsafe $0.moduleCompleted(upper, status) }
    }
}

extension ChannelCore {
    @inline(never)
    func copyExtras(from upper: Slot, to slot: Slot) {
        unsafe slot.pointee.extras = upper.pointee.extras
        // The source lies on the same part of the bdev as the target.
        unsafe slot.pointee.extras.sourceBlock &+= slot.pointee.startBlock &- upper.pointee.startBlock
        unsafe slot.pointee.hasExtras = true
    }

    /// What the device answered goes to the request above, in its own numbers.
    @inline(never)
    func returnExtras(from slot: Slot, to upper: Slot) {
        unsafe slot.pointee.buffer = nil
        defer { unsafe clearExtras(slot) }
        var result = unsafe slot.pointee.extras.result
        switch unsafe slot.pointee.type {
        case .seekHole, .seekData, .zoneAppend:
            // What lies behind the end of the bdev above is not there for it.
            let first = unsafe slot.pointee.startBlock &- upper.pointee.startBlock
            let count = unsafe upper.pointee.core._withUnsafeGuaranteedRef { $0.blockCount }
            result = result >= first && result - first < count ? result - first : .max
        case .zeroCopy:
            unsafe upper.pointee.memory = slot.pointee.memory
            unsafe upper.pointee.segments = slot.pointee.segments
            unsafe upper.pointee.segmentCount = slot.pointee.segmentCount
        default: if unsafe !upper.pointee.hasExtras { return }
        }
        unsafe upper.pointee.extras.result = result
        unsafe upper.pointee.hasExtras = true
    }

    /// A request that does another's work is complete.
    @inline(__always)
    func tellUpper(_ slot: Slot, _ sink: RequestState.Sink) {
        let upper = unsafe slot.pointee.parent!
        let status = unsafe slot.pointee.status
        let channel = unsafe slot.pointee.channel!
        if unsafe slot.pointee.hasExtras { unsafe returnExtras(from: slot, to: upper) }
        unsafe pool.giveBack(slot)
        unsafe upper.pointee.core._withUnsafeGuaranteedRef { core in
            if sink == .upper {
                unsafe core.moduleCompleted(upper, status)
            } else {
                unsafe core.module.forwardCompleted(IORequest(upper), status)
            }
        }
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
