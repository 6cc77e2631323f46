import Reactors

/// One bdev on one reactor: the path of every request between its checks and the module. Shared by all descriptors of the bdev on this
/// reactor.
///
/// Run to completion: a request goes down by calls and comes back by a call, and nothing here allocates, locks or suspends for it.
// SAFETY (all `unsafe` below): slots are never unmapped while their reactor lives, a slot is touched by its reactor's thread only, and
// each function here is given a slot whose phase makes it the layer's.
// Unchecked Sendable: it passes between the actors of one reactor, whose executor is the same, and is used on that reactor only.
@usableFromInline
@safe final class ChannelCore: @unchecked Sendable {
    let bdev: RegisteredBdev
    let module: BdevModuleChannel
    let pool: RequestPool
    let loop: ReactorLoop
    let clock: ReactorClock
    let shape: ChannelShape
    /// Changes when the bdev is resized.
    var blockCount: UInt64
    /// What is accepted now: nothing once the bdev is being removed.
    var accepted: IOTypes
    /// By `IOType.counterIndex`: what every completion writes, so without the checks of a stored property.
    private let counters: UnsafeMutablePointer<IOCounters>
    private var errors: [IOStatus.Code: UInt64] = [:]
    private var retryCount: UInt64 = 0
    var histogram: LatencyHistogram?
    /// Descriptors and others that use this channel.
    var userCount = 0

    private var retryTimer: ReactorTimer?

    init(bdev: RegisteredBdev, module: BdevModuleChannel, pool: RequestPool) {
        self.bdev = bdev
        self.module = module
        self.pool = pool
        loop = pool.loop
        clock = pool.loop.clock
        let geometry = bdev.geometry
        shape = ChannelShape(geometry, native: bdev.supportedTypes)
        blockCount = geometry.blockCount
        accepted = bdev.supportedTypes
        if accepted.contains(.write) { accepted.insert(.writeZeroes) }
        unsafe counters = .allocate(capacity: IOType.counterCount)
        unsafe counters.initialize(repeating: IOCounters(), count: IOType.counterCount)
    }

    deinit { unsafe counters.deallocate() }

    func bytes(_ blocks: UInt64) -> UInt64 { blocks &* shape.blockByteCount }

    // MARK: Going down

    /// Starts a prepared request. Returns with the request with the module, queued, or done.
    @inline(__always)
    func start(_ slot: Slot) {
        unsafe slot.pointee.submitTick = clock.now()
        if unsafe (shape.isPlain || isPlain(slot)) { unsafe dispatch(slot) } else { unsafe enterDetour(slot) }
    }

    /// Starts a prepared request without data. One of no blocks succeeds, and the device need not hear of it.
    func startWithoutData(_ slot: Slot) {
        let type = unsafe slot.pointee.type
        if unsafe slot.pointee.blockCount > 0 || (type != .unmap && type != .writeZeroes) { return unsafe start(slot) }
        unsafe slot.pointee.status = .success
        unsafe slot.pointee.phase = .done
        unsafe tell(slot, insideSubmit: true)
    }

    @inline(never)
    private func enterDetour(_ slot: Slot) {
        unsafe slot.pointee.isStarting = true
        unsafe startDetour(slot)
        unsafe slot.pointee.isStarting = false
    }

    /// Hands a request to the module, or to the end of the queue when the device has no room.
    @inline(__always)
    func dispatch(_ slot: Slot) {
        if !module.noMemory.isEmpty { return unsafe enqueueBehindOthers(slot) }
        unsafe submit(slot)
    }

    @inline(__always)
    private func submit(_ slot: Slot) {
        unsafe slot.pointee.phase = .submitting
        module.outstandingCount &+= 1
        pool.submitDepth &+= 1
        unsafe module.submit(IORequest(slot))
        pool.submitDepth &-= 1
        switch unsafe slot.pointee.phase {
        case .submitting: unsafe slot.pointee.phase = .inDevice
        case .completedInline: unsafe completeInline(slot)
        case .free, .prepared, .inDevice, .queued, .done:
            // The module kept the request, and something it did inside `submit` let others go on: nothing is left to do here.
            break
        }
    }

    @inline(__always)
    private func completeInline(_ slot: Slot) {
        if unsafe slot.pointee.status.code == .noMemory { return unsafe refused(slot) }
        unsafe finish(slot, insideSubmit: true)
    }

    // MARK: Coming back

    /// From the module, through `IORequest.complete`.
    @usableFromInline
    func moduleCompleted(_ slot: Slot, _ status: IOStatus) {
        assert(loop.isCurrent, "module \(bdev.moduleName) completed a request of '\(bdev.name)' on another thread than its reactor's")
        assert(status.code != .pending, "module \(bdev.moduleName) completed a request of '\(bdev.name)' as pending")
        module.outstandingCount &-= 1
        unsafe slot.pointee.status = status
        if unsafe slot.pointee.phase == .submitting {
            unsafe slot.pointee.phase = .completedInline
            return
        }
        if status.code == .noMemory { return unsafe refused(slot) }
        unsafe finish(slot, insideSubmit: false)
    }

    @usableFromInline
    func requestWasDropped(_ slot: Slot) {
        let type = unsafe slot.pointee.type
        preconditionFailure(
            "module \(bdev.moduleName) dropped a \(type) request of '\(bdev.name)' without completing it")
    }

    /// The request's status is final. A handler is told now, or in the next turn when a submit is on the stack: it may be its own.
    @inline(__always)
    func finish(_ slot: Slot, insideSubmit: Bool) {
        unsafe account(slot)
        unsafe slot.pointee.phase = .done
        unsafe tell(slot, insideSubmit: insideSubmit)
        if !module.noMemory.isEmpty, module.outstandingCount <= module.noMemory.threshold { retryRefused() }
    }

    @inline(__always)
    private func tell(_ slot: Slot, insideSubmit: Bool) {
        switch unsafe slot.pointee.sink {
        case .task:
            // Inside its own submit the task is not parked yet, and looks for itself.
            if !insideSubmit { unsafe loop.unpark(slot.pointee.spot) }
        case .handler:
            if insideSubmit || pool.submitDepth > 0 { unsafe pool.deferCompletion(slot) } else { unsafe tellHandler(slot) }
        case .batch:
            unsafe tellBatch(slot)
        case .parent:
            unsafe tellParent(slot)
        }
    }

    /// As `finish`, for a request done by its children, which have been counted instead of it.
    func finishParent(_ slot: Slot) {
        unsafe slot.pointee.phase = .done
        unsafe tell(slot, insideSubmit: slot.pointee.isStarting)
    }

    @inline(__always)
    private func account(_ slot: Slot) {
        if unsafe slot.pointee.status.code != .success { return unsafe accountError(slot) }
        let ticks = unsafe clock.now() &- slot.pointee.submitTick
        unsafe counters[slot.pointee.type.counterIndex].record(blocks: slot.pointee.blockCount, ticks: ticks)
        if let histogram { histogram.record(ticks) }
    }

    @inline(never)
    private func accountError(_ slot: Slot) { unsafe errors[slot.pointee.status.code, default: 0] += 1 }

    var statistics: IOStatistics {
        var result = IOStatistics()
        result.read = unsafe counters[IOType.read.counterIndex]
        result.write = unsafe counters[IOType.write.counterIndex]
        result.unmap = unsafe counters[IOType.unmap.counterIndex]
        result.other = unsafe counters[IOType.flush.counterIndex]
        result.errors = errors
        result.retryCount = retryCount
        result.ticksPerSecond = clock.ticksPerSecond
        return result
    }

    /// Frees the slot and calls the handler, which may submit again at once.
    @inline(__always)
    func tellHandler(_ slot: Slot) {
        let handler = unsafe slot.pointee.handler!
        let channel = unsafe slot.pointee.channel!
        unsafe handler._withUnsafeGuaranteedRef { handler in
            let completion = unsafe IOCompletion(
                tag: slot.pointee.tag, status: slot.pointee.status, type: slot.pointee.type,
                buffer: slot.pointee.buffer.take())
            unsafe pool.giveBack(slot)
            handler.ioCompleted(completion)
            handler.leave()
        }
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }

    // MARK: No room

    /// The device refused the request: it waits at the head of the queue, before all that came after it.
    @inline(never)
    private func refused(_ slot: Slot) {
        precondition(
            unsafe slot.pointee.type != .reset,
            "module \(bdev.moduleName) has no room for a reset of '\(bdev.name)': a reset cannot wait")
        unsafe slot.pointee.phase = .queued
        retryCount &+= 1
        unsafe module.noMemory.requests.prepend(slot)
        let outstanding = module.outstandingCount
        module.noMemory.threshold = max(outstanding / 2, outstanding - 8)
        if outstanding == 0 { scheduleRetry() }
    }

    @inline(never)
    private func enqueueBehindOthers(_ slot: Slot) {
        unsafe slot.pointee.phase = .queued
        unsafe module.noMemory.requests.append(slot)
    }

    /// Submits what was refused, in order, until the device refuses again.
    @inline(never)
    private func retryRefused() {
        while let slot = unsafe module.noMemory.requests.popFirst() {
            unsafe slot.pointee.phase = .submitting
            module.outstandingCount &+= 1
            let core = unsafe slot.pointee.core.takeUnretainedValue()
            pool.submitDepth &+= 1
            unsafe module.submit(IORequest(slot))
            pool.submitDepth &-= 1
            switch unsafe slot.pointee.phase {
            case .submitting: unsafe slot.pointee.phase = .inDevice
            case .completedInline:
                if unsafe slot.pointee.status.code == .noMemory { return unsafe core.refused(slot) }
                unsafe core.finish(slot, insideSubmit: false)
            case .free, .prepared, .inDevice, .queued, .done: break
            }
        }
    }

    /// With nothing outstanding no completion will come to try again on.
    private func scheduleRetry() {
        if retryTimer != nil { return }
        retryTimer = loop.schedule(after: .milliseconds(10)) { [unowned self] in
            retryTimer = nil
            if !module.noMemory.isEmpty { retryRefused() }
        }
    }

    // MARK: What is outstanding

    /// Visits every request of this channel that is not complete, in no particular order.
    private func forEachOutstanding(_ body: (Slot) -> Void) {
        unsafe pool.forEachSlot { slot in
            switch unsafe slot.pointee.phase {
            case .inDevice, .queued:
                if unsafe slot.pointee.core.toOpaque() == Unmanaged.passUnretained(self).toOpaque() { unsafe body(slot) }
            case .free, .prepared, .submitting, .completedInline, .done: break
            }
        }
    }

    /// Visits the parts of a request that are not complete.
    func forEachChild(of parent: Slot, _ body: (Slot) -> Void) {
        unsafe forEachOutstanding { slot in
            if unsafe slot.pointee.sink == .parent, unsafe slot.pointee.parent == parent { unsafe body(slot) }
        }
    }

    /// Gives up what waits in the layer: for room in the device, for memory.
    func abortWaiting() {
        unsafe forEachOutstanding { slot in
            if unsafe slot.pointee.detour != nil { unsafe abortDetour(slot) }
        }
        var waiting = module.noMemory.requests
        module.noMemory.requests = SlotQueue()
        while let slot = unsafe waiting.popFirst() {
            if unsafe slot.pointee.core.toOpaque() == Unmanaged.passUnretained(self).toOpaque() {
                unsafe slot.pointee.status = .aborted
                unsafe finish(slot, insideSubmit: false)
            } else {
                unsafe module.noMemory.requests.append(slot)
            }
        }
    }

    /// Asks for the requests of cancelled tasks to be given up.
    func abortCancelled() {
        unsafe forEachOutstanding { slot in
            guard unsafe !slot.pointee.abortRequested, unsafe loop.isCancelled(at: slot.pointee.spot)
            else { return }
            unsafe slot.pointee.abortRequested = true
            unsafe abort(slot)
        }
    }

    func abort(_ slot: Slot) {
        if unsafe slot.pointee.detour != nil { return unsafe abortDetour(slot) }
        switch unsafe slot.pointee.phase {
        case .queued:
            if unsafe module.noMemory.requests.remove(slot) {
                unsafe slot.pointee.status = .aborted
                unsafe finish(slot, insideSubmit: false)
            }
        case .inDevice:
            unsafe module.abort(RequestToken(index: slot.pointee.index, generation: slot.pointee.generation))
        case .free, .prepared, .submitting, .completedInline, .done: break
        }
    }
}
