import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, a slot is touched by its reactor's
// thread only, and each function here is given a slot whose phase makes it the layer's. Unchecked Sendable: it passes
// between the actors of one reactor, whose executor is the same, and is used on that reactor only.

/// One bdev on one reactor: the path of every request between its checks and the module. Shared by all descriptors of
/// the bdev on this reactor.
///
/// Run to completion: a request goes down by calls and comes back by a call, and nothing here allocates, locks or
/// suspends for it.
@usableFromInline
@safe final class ChannelCore: @unchecked Sendable {
    let bdev: RegisteredBdev
    let module: BdevModuleChannel
    let pool: RequestPool
    let loop: ReactorLoop
    let clock: ReactorClock
    let shape: ChannelShape
    /// Who holds I/O up here.
    let gate: IOGate
    private let limitedStorage: UnsafeMutablePointer<LimitedQueue>
    private(set) var route: Route

    /// How a request goes to the module.
    enum Route {
        /// As it is: none has to be split, and nobody holds them up.
        case direct
        /// As it is, when the bdev's limits allow.
        case limited
        /// Something else may stand in its way.
        case indirect
    }
    /// Changes when the bdev is resized.
    var blockCount: UInt64
    /// What is accepted now: nothing once the bdev is being removed.
    var accepted: IOTypes
    /// By `IOType.counterIndex`: what every completion writes, so without the checks of a stored property.
    let counters: UnsafeMutablePointer<ChannelCounters>
    var errors: [IOStatus.Code: UInt64] = [:]
    var retryCount: UInt64 = 0
    // SAFETY: `recorderOwner` keeps it.
    private(set) var recorder: Unmanaged<LatencyRecorder>?
    private(set) var recorderOwner: LatencyRecorder?
    /// Descriptors and others that use this channel.
    var userCount = 0

    init(bdev: RegisteredBdev, module: BdevModuleChannel, pool: RequestPool, gate: IOGate) {
        self.bdev = bdev
        self.module = module
        self.pool = pool
        loop = pool.loop
        clock = pool.loop.clock
        let geometry = bdev.geometry
        shape = ChannelShape(geometry, native: bdev.supportedTypes)
        self.gate = gate
        unsafe limitedStorage = .allocate(capacity: 1)
        unsafe limitedStorage.initialize(to: LimitedQueue(bdev.limiter))
        route = unsafe Self.route(shape, gate, isLimited: limitedStorage.pointee.limiter != nil)
        // It may have been resized, or begun to go away, since it was registered.
        blockCount = bdev.blockCount
        accepted = bdev.isRemoved ? [] : bdev.supportedTypes.withEmulated
        unsafe counters = .allocate(capacity: IOType.counterCount)
        unsafe counters.initialize(repeating: ChannelCounters(), count: IOType.counterCount)
        unsafe recorder = nil
        recordLatencies(of: bdev.ledger.recordedTypes)
    }

    deinit {
        unsafe counters.deallocate()
        unsafe limitedStorage.deinitialize(count: 1)
        unsafe limitedStorage.deallocate()
    }

    /// What waits for its turn under the bdev's limits. Behind a pointer, for the same reason as the counters.
    @inline(__always)
    var limited: LimitedQueue {
        _read { yield unsafe limitedStorage.pointee }
        _modify { yield unsafe &limitedStorage.pointee }
    }

    func bytes(_ blocks: UInt64) -> UInt64 { blocks &* shape.blockByteCount }

    // MARK: Going down

    /// Starts a prepared request. Returns with the request with the module, queued, or done.
    @inline(__always)
    func start(_ slot: Slot, _ sink: RequestState.Sink) {
        unsafe slot.pointee.sink = sink
        unsafe slot.pointee.submitTick = clock.now()
        if unsafe route == .direct || mayGo(slot) { unsafe dispatch(slot, sink) }
    }

    /// Starts a prepared request without data, or one that only some devices do themselves.
    func startOther(_ slot: Slot, _ sink: RequestState.Sink) {
        let (type, count) = unsafe (slot.pointee.type, slot.pointee.blockCount)
        switch type {
        case .reset: unsafe startReset(slot, sink)
        case .unmap, .writeZeroes, .copy, .compare:
            // One of no blocks succeeds, and the device need not hear of it.
            if count == 0 { unsafe startAtEnd(slot, sink, .success) } else { unsafe startUndirected(slot, sink) }
        case .seekHole, .seekData:
            if shape.native.contains(type) { return unsafe start(slot, sink) }
            // Nobody knows better: everything is data, and there is no hole.
            unsafe slot.pointee.extras.result = type == .seekData ? slot.pointee.startBlock : .max
            unsafe startAtEnd(slot, sink, .success)
        case .compareAndWrite:
            if shape.native.contains(type) { unsafe start(slot, sink) } else { unsafe startCompareAndWrite(slot, sink) }
        default: unsafe start(slot, sink)
        }
    }

    /// As `start`, for what the device may not be able to do even when it has no limits.
    private func startUndirected(_ slot: Slot, _ sink: RequestState.Sink) {
        unsafe slot.pointee.sink = sink
        unsafe slot.pointee.submitTick = clock.now()
        if unsafe route != .indirect && shape.native.contains(slot.pointee.type) {
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

    /// Whether a request may go to the module now. Otherwise it is on its way there, or has ended.
    @inline(never)
    private func mayGo(_ slot: Slot) -> Bool {
        if route == .limited { return unsafe isAdmitted(slot) }
        unsafe startIndirectly(slot)
        return false
    }

    /// Somebody begins or ends to hold I/O up, or there are other limits.
    func gateChanged() { route = unsafe Self.route(shape, gate, isLimited: limited.limiter != nil) }

    private static func route(_ shape: ChannelShape, _ gate: IOGate, isLimited: Bool) -> Route {
        if !shape.isPlain || gate.isHolding { return .indirect }
        return isLimited ? .limited : .direct
    }

    /// Hands a request to the module, or to the end of the queue when the device has no room.
    @inline(__always)
    func dispatch(_ slot: Slot, _ sink: RequestState.Sink) {
        if !module.noMemory.isEmpty { return unsafe enqueueBehindOthers(slot) }
        unsafe submit(slot, sink)
    }

    /// `sink` is the slot's own, known where this is inlined.
    @inline(__always)
    private func submit(_ slot: Slot, _ sink: RequestState.Sink) {
        unsafe slot.pointee.phase = .submitting
        module.outstandingCount &+= 1
        pool.submitDepth &+= 1
        unsafe module.submit(IORequest(slot))
        pool.submitDepth &-= 1
        // In any other phase the module kept the request, and something it did inside `submit` let others go on:
        // nothing is left to do here.
        if unsafe slot.pointee.phase == .submitting {
            unsafe slot.pointee.phase = .inDevice
        } else if unsafe slot.pointee.phase == .completedInline {
            unsafe completeInline(slot, sink)
        }
    }

    @inline(__always)
    private func completeInline(_ slot: Slot, _ sink: RequestState.Sink) {
        if unsafe slot.pointee.status.code == .noMemory { return unsafe refused(slot) }
        unsafe finish(slot, sink, insideSubmit: true)
    }

    // MARK: Coming back

    /// From the module, through `IORequest.complete`.
    @usableFromInline
    func moduleCompleted(_ slot: Slot, _ status: IOStatus) {
        assert(
            loop.isCurrent,
            "module \(bdev.moduleName) completed a request of '\(bdev.name)' on another thread than its reactor's")
        assert(status.code != .pending, "module \(bdev.moduleName) completed a request of '\(bdev.name)' as pending")
        module.outstandingCount &-= 1
        unsafe slot.pointee.status = status
        if unsafe slot.pointee.phase == .submitting {
            unsafe slot.pointee.phase = .completedInline
            return
        }
        if status.code == .noMemory { return unsafe refused(slot) }
        unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
    }

    @usableFromInline
    func requestWasDropped(_ slot: Slot) {
        let type = unsafe slot.pointee.type
        preconditionFailure(
            "module \(bdev.moduleName) dropped a \(type) request of '\(bdev.name)' without completing it")
    }

    /// The request's status is final. A handler is told now, or in the next turn when a submit is on the stack: it may
    /// be its own.
    @inline(__always)
    func finish(_ slot: Slot, _ sink: RequestState.Sink, insideSubmit: Bool) {
        unsafe account(slot)
        unsafe tell(slot, sink, insideSubmit: insideSubmit)
        if !module.noMemory.isEmpty, module.outstandingCount <= module.noMemory.threshold { retryRefused() }
    }

    @inline(__always)
    private func tell(_ slot: Slot, _ sink: RequestState.Sink, insideSubmit: Bool) {
        switch sink {
        case .task:
            unsafe slot.pointee.phase = .done
            // Inside its own submit the task is not parked yet, and looks for itself.
            if !insideSubmit { unsafe wake(slot) }
        case .handler:
            if insideSubmit || pool.submitDepth > 0 {
                unsafe pool.deferCompletion(slot)
            } else {
                unsafe tellHandler(slot)
            }
        case .batch:
            unsafe tellBatch(slot)
        case .parent:
            unsafe tellParent(slot)
        case .upper, .observer:
            unsafe tellUpper(slot, sink)
        case .inside:
            unsafe slot.pointee.phase = .done
            if !insideSubmit { unsafe loop.unpark(slot.pointee.spot) }
        }
    }

    /// As `finish`, for a request done by its children, which have been counted instead of it.
    func finishParent(_ slot: Slot) {
        unsafe tell(slot, slot.pointee.sink, insideSubmit: slot.pointee.isStarting)
    }

    /// A task that is parked for a request runs on. The request of one that succeeded is over here, unless there is an
    /// answer in it.
    @inline(__always)
    private func wake(_ slot: Slot) {
        let spot = unsafe slot.pointee.spot
        if unsafe (!slot.pointee.status.isSuccess || slot.pointee.hasExtras) { return loop.unparkFailed(spot) }
        loop.unpark(spot)
        let channel = unsafe slot.pointee.channel!
        unsafe pool.giveBack(slot)
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }

    func setRecorder(_ new: LatencyRecorder?) {
        recorderOwner = new
        unsafe recorder = new.map(Unmanaged.passUnretained)
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
        }
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }
}
