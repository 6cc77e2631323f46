public import Reactors
import SystemPackage

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
    /// Where it goes to another place, so do the source of a copy, the block that a seek or a zone append answers with,
    /// and the zones of a report; what a seek finds behind the upper bdev's end counts as nothing.
    ///
    /// Cost: no allocation; one request of this bdev.
    ///
    /// - Parameters:
    ///   - request: a request of the bdev above; its module has it no more.
    ///   - type: what it is on this bdev, such as a write for an append; nil: what it is above.
    ///   - startBlock: where on this bdev; nil: at the request's own first block.
    ///   - observed: whether the forwarding module sees it come back, also when this bdev refuses it.
    public func forward(
        _ request: consuming IORequest, as type: IOType? = nil, at startBlock: UInt64? = nil, observed: Bool = false
    ) {
        let upper = unsafe request.relinquish()
        let sink = observed ? RequestState.Sink.observer : .upper
        let type = unsafe type ?? upper.pointee.type
        guard let slot = unsafe prepareForwarded(upper, sink, type, startBlock) else { return }
        unsafe startForwarded(slot, sink, type)
    }

    /// What a request has that ``forward(_:at:observed:replacing:with:)`` can replace.
    public enum ForwardedPart: Sendable, Hashable {
        case data
        /// Of a bdev that keeps it apart.
        case metadata
    }

    /// As ``forward(_:as:at:observed:)``, with `copy` in place of the request's own data or metadata, which stay as
    /// they are: for a write that has to reach the bdev in another form. The copy is given back when the request comes
    /// back.
    public func forward(
        _ request: consuming IORequest, at startBlock: UInt64? = nil, observed: Bool = false,
        replacing part: ForwardedPart, with copy: consuming IOBuffer
    ) {
        let upper = unsafe request.relinquish()
        let sink = observed ? RequestState.Sink.observer : .upper
        let type = unsafe upper.pointee.type
        guard let slot = unsafe prepareForwarded(upper, sink, type, startBlock) else { return }
        if part == .data {
            unsafe slot.pointee.memory = copy.memory
            unsafe slot.pointee.segments = nil
            unsafe slot.pointee.segmentCount = 1
        } else {
            unsafe slot.pointee.extras.metadata = Segments(copy.memory)
        }
        // What has extras is looked at when it comes back, and its buffer with them.
        unsafe slot.pointee.hasExtras = true
        unsafe slot.pointee.buffer = consume copy
        unsafe startForwarded(slot, sink, type)
    }

    /// A request that stands for `upper` here; nil: that has been refused.
    @inline(__always)
    private func prepareForwarded(
        _ upper: Slot, _ sink: RequestState.Sink, _ type: IOType, _ startBlock: UInt64?
    ) -> Slot? {
        let start = unsafe startBlock ?? upper.pointee.startBlock
        let count = unsafe upper.pointee.blockCount
        let (end, overflow) = start.addingReportingOverflow(count)
        let fits =
            unsafe !overflow && end <= core.blockCount && (!upper.pointee.hasExtras || extrasFit(upper, type, start))
        guard mayDo(type), fits, let slot = unsafe core.pool.take(core, forLayer: true) else {
            unsafe refuseForwarded(upper, sink, type, fits: fits)
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
    private func startForwarded(_ slot: Slot, _ sink: RequestState.Sink, _ type: IOType) {
        if type == .read || type == .write { unsafe core.start(slot, sink) } else { unsafe core.startOther(slot, sink) }
    }

    /// Whether what else a request of the upper bdev is about is within this one's limits.
    @inline(never)
    private func extrasFit(_ upper: Slot, _ type: IOType, _ start: UInt64) -> Bool {
        let count = unsafe upper.pointee.blockCount
        switch type {
        case .copy:
            let source = unsafe upper.pointee.extras.sourceBlock &+ start &- upper.pointee.startBlock
            let (end, overflow) = source.addingReportingOverflow(count)
            return !overflow && end <= core.blockCount
        case .compareAndWrite: return count <= core.bdev.geometry.compareAndWriteBlockCountLimit
        default: return true
        }
    }

    @inline(never)
    private func refuseForwarded(_ upper: Slot, _ sink: RequestState.Sink, _ type: IOType, fits: Bool) {
        let status: IOStatus =
            if core.bdev.isRemoved {
                .removed
            } else if !isWritable && type.needsWritableDescriptor {
                .system(.readOnlyFileSystem)
            } else if !mayDo(type) {
                .notSupported
            } else if !fits {
                .failed
            } else {
                .noMemory
            }
        if status == .noMemory && type == .reset {
            return unsafe forwardWhenThereIsRoom(
                ForwardedReset(face: self, upper: upper, observed: sink == .observer))
        }
        unsafe upper.pointee.core._withUnsafeGuaranteedRef { unsafe $0.comeBack(upper, sink, status) }
    }

    /// Every request is in use, and a reset cannot be told to come again.
    private func forwardWhenThereIsRoom(_ reset: ForwardedReset) {
        // The channel stays open for it.
        enter()
        Task(executorPreference: core.pool.reactor.taskExecutor) {
            await reset.face.core.pool.reactor.local.forward(reset)
        }
    }
}

/// A reset of a bdev above that waits for a request. Unchecked Sendable: it passes between the actors of one reactor.
@safe private struct ForwardedReset: @unchecked Sendable {
    let face: EngineChannel
    let upper: Slot
    let observed: Bool
}

extension LocalReactor {
    fileprivate func forward(_ reset: ForwardedReset) async {
        let pool = reset.face.core.pool
        // Nobody cancels this task.
        try? await pool.takeInTurn(for: reset.face.core.bdev) { () throws(BdevError) in
            reset.face.forward(unsafe IORequest(reset.upper), observed: reset.observed)
            reset.face.leave()
        }
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
        if unsafe slot.pointee.type == .copy {
            unsafe slot.pointee.extras.sourceBlock &+= slot.pointee.startBlock &- upper.pointee.startBlock
        }
    }

    /// The answer to a request that did another's work, as the other's bdev counts.
    @inline(never)
    private func answer(_ slot: Slot, for upper: Slot) -> UInt64 {
        let result = unsafe slot.pointee.extras.result
        let moved = unsafe result &- (slot.pointee.startBlock &- upper.pointee.startBlock)
        switch unsafe slot.pointee.type {
        case .zoneAppend: return moved
        case .seekHole, .seekData:
            let end = unsafe upper.pointee.core._withUnsafeGuaranteedRef { $0.blockCount }
            return result == .max || moved >= end ? .max : moved
        default: return result
        }
    }

    /// What came with a request that is complete goes to the one above.
    @inline(never)
    private func returnExtras(from slot: Slot, to upper: Slot) {
        unsafe slot.pointee.buffer = nil
        defer { unsafe clearExtras(slot) }
        let answers: Bool
        switch unsafe slot.pointee.type {
        case .seekHole, .seekData, .zoneAppend: answers = true
        case .zeroCopy:
            answers = true
            // Lent by the device at the start, and its own again at the end.
            unsafe upper.pointee.memory = slot.pointee.memory
            unsafe upper.pointee.segments = slot.pointee.segments
            unsafe upper.pointee.segmentCount = slot.pointee.segmentCount
        default: answers = unsafe upper.pointee.hasExtras
        }
        // A request above that had none has some now only if there is an answer for it.
        if !answers { return }
        if unsafe slot.pointee.type == .zoneInfo { unsafe moveZones(slot, upper) }
        unsafe upper.pointee.extras.result = answer(slot, for: upper)
        unsafe upper.pointee.hasExtras = true
    }

    /// The zones that were reported, as the upper request's bdev counts.
    private func moveZones(_ slot: Slot, _ upper: Slot) {
        let distance = unsafe slot.pointee.startBlock &- upper.pointee.startBlock
        guard distance != 0, let zones = unsafe slot.pointee.extras.zones else { return }
        for index in unsafe 0..<Int(slot.pointee.extras.result) {
            unsafe zones[index].start &-= distance
            unsafe zones[index].writePointer &-= distance
        }
    }

    /// A request that does another's work is complete.
    @inline(__always)
    func tellUpper(_ slot: Slot, _ sink: RequestState.Sink) {
        let upper = unsafe slot.pointee.parent!
        let status = unsafe slot.pointee.status
        let channel = unsafe slot.pointee.channel!
        if unsafe slot.pointee.hasExtras { unsafe returnExtras(from: slot, to: upper) }
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
