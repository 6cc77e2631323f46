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
    let scratch: RequestScratch
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
        /// As it is, when it is small and simple enough for the device, as most are.
        case shaped
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
    /// The channel of the bdev itself, when this is a layer over it.
    let base: ChannelCore?
    /// Layers over this one.
    var layers: [ChannelCore] = []

    /// What a layer shows of the bdev.
    struct Layer {
        let base: ChannelCore
        let geometry: BdevGeometry
        /// What its module does, and what is offered with that.
        let types: IOTypes
        let offered: IOTypes
    }
    /// Descriptors and others that use this channel.
    var userCount = 0

    init(
        bdev: RegisteredBdev, module: BdevModuleChannel, pool: RequestPool, gate: IOGate, scratch: RequestScratch,
        under layer: Layer? = nil
    ) {
        self.bdev = bdev
        self.module = module
        self.pool = pool
        loop = pool.loop
        clock = pool.loop.clock
        shape = ChannelShape(layer?.geometry ?? bdev.geometry, native: layer?.types ?? bdev.supportedTypes)
        base = layer?.base
        self.gate = gate
        self.scratch = scratch
        unsafe limitedStorage = .allocate(capacity: 1)
        unsafe limitedStorage.initialize(to: LimitedQueue(layer == nil ? bdev.limiter : nil))
        route = unsafe Self.route(shape, gate, isLimited: limitedStorage.pointee.limiter != nil)
        // It may have been resized, or begun to go away, since it was registered.
        blockCount = bdev.blockCount
        accepted = bdev.isRemoved ? [] : layer?.offered ?? bdev.supportedTypes.withEmulated
        unsafe counters = .allocate(capacity: IOType.counterCount)
        unsafe counters.initialize(repeating: ChannelCounters(), count: IOType.counterCount)
        unsafe recorder = nil
        if layer == nil { recordLatencies(of: bdev.ledger.recordedTypes) }
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

    @inline(never)
    private func mayGo(_ slot: Slot) -> Bool {
        if route == .limited { return unsafe isAdmitted(slot) }
        if route == .shaped, unsafe isSimple(slot) { return true }
        unsafe startIndirectly(slot)
        return false
    }

    /// Somebody begins or ends to hold I/O up, or there are other limits.
    func gateChanged() { route = unsafe Self.route(shape, gate, isLimited: limited.limiter != nil) }

    private static func route(_ shape: ChannelShape, _ gate: IOGate, isLimited: Bool) -> Route {
        if gate.isHolding || isLimited && !shape.isPlain { return .indirect }
        if !shape.isPlain { return .shaped }
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
    func submit(_ slot: Slot, _ sink: RequestState.Sink) {
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
        #if DEBUG
        unsafe checkThread(slot)
        #endif
        module.outstandingCount &-= 1
        unsafe slot.pointee.status = status
        if unsafe slot.pointee.phase == .submitting {
            unsafe slot.pointee.phase = .completedInline
            return
        }
        if status.code == .noMemory { return unsafe refused(slot) }
        unsafe finish(slot, slot.pointee.sink, insideSubmit: false)
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
    func tell(_ slot: Slot, _ sink: RequestState.Sink, insideSubmit: Bool) {
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
                result: slot.pointee.hasExtras ? takeResult(slot) : 0, buffer: slot.pointee.buffer.take())
            unsafe pool.giveBack(slot)
            handler.ioCompleted(completion)
        }
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }
}
