import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and only its thread touches them.

/// The requests of one reactor, and what is done with them between turns.
///
/// The slots lie in one reserved stretch of memory that is touched as it is first used: no request allocates, none ever
/// moves.
@safe final class RequestPool: Poller {
    /// More than any queue of ours is deep; the address space it reserves is 16 MiB.
    static let capacity = 65_536

    let reactor: Reactor
    let loop: ReactorLoop
    private let region: MemoryRegion
    private let slots: Slot
    private var free: Slot?
    private var usedCount = 0
    /// How many calls of a module's `submit` are on the stack.
    var submitDepth = 0
    /// Tasks that wait for a slot, and slots put by for those of them that have been woken.
    private var waiters: [ParkingSpot] = []
    private var hasWaiters = false
    private var reserved = SlotQueue()
    /// Requests with a handler that were completed inside the module's `submit`: told in the next turn, so that a
    /// handler never runs inside its own submit.
    private let deferred: UnsafeMutablePointer<SlotQueue>
    /// Requests that wait for the reactor's memory.
    var starved = SlotQueue()
    private var isRetrying = false
    private lazy var cancellationScan = CancellationScan(pool: self)
    private var isScanning = false
    private var hasDeadlines = false
    /// In the order they were made.
    private var channels: [ChannelCore] = []
    private var gates: [(bdev: RegisteredBdev, gate: IOGate)] = []
    let zeroes: ZeroRegion
    private var detours: [Detour] = []
    /// By module.
    private var scratches: [String: RequestScratch] = [:]

    init(local: isolated LocalReactor) throws(BdevError) {
        reactor = local.reactor
        loop = local.loop
        do {
            region = try MemoryRegion(byteCount: Self.capacity * MemoryLayout<RequestState>.stride)
            zeroes = try ZeroRegion()
        } catch {
            throw BdevError(.noMemory, "\(error)")
        }
        // SAFETY: the region is as long as `capacity` slots, page-aligned, and lives as long as self.
        unsafe slots = region.base.bindMemory(to: RequestState.self, capacity: Self.capacity)
        unsafe free = nil
        unsafe deferred = .allocate(capacity: 1)
        unsafe deferred.initialize(to: SlotQueue())
        super.init(name: "bdev requests")
        loop.add(self, period: nil)
    }

    /// The pool of a reactor, made at the first call.
    static func of(_ local: isolated LocalReactor) throws(BdevError) -> RequestPool {
        if let pool = local.loop.attachment as? RequestPool { return pool }
        let pool = try RequestPool(local: local)
        local.loop.attachment = pool
        return pool
    }

    deinit {
        // SAFETY: allocated in init; nothing is deferred once the reactor has stopped.
        unsafe deferred.deallocate()
    }

    // MARK: Slots

    /// A slot for `core`, or nil when none is free or others wait for one.
    @inline(__always)
    func take(_ core: ChannelCore) -> Slot? {
        // SAFETY: a free slot is initialized, and ours from here on.
        guard let slot = unsafe free else { return unsafe takeFirstTime(core) }
        unsafe free = slot.pointee.queueNext
        unsafe slot.pointee.core = Unmanaged.passUnretained(core)
        unsafe slot.pointee.phase = .prepared
        return unsafe slot
    }

    @inline(never)
    private func takeFirstTime(_ core: ChannelCore) -> Slot? {
        if usedCount == Self.capacity { return nil }
        // SAFETY: below the capacity, and never initialized before.
        let slot = unsafe slots + usedCount
        let nothing = region.memory(from: 0, count: 0)
        unsafe slot.initialize(
            to: RequestState(index: UInt32(usedCount), core: core, spot: loop.makeSpot(), memory: nothing))
        unsafe slot.pointee.phase = .prepared
        usedCount += 1
        return unsafe slot
    }

    @inline(__always)
    func giveBack(_ slot: Slot) {
        // SAFETY: the caller is the last to use the slot.
        unsafe slot.pointee.phase = .free
        unsafe slot.pointee.generation &+= 1
        if hasWaiters { return unsafe hand(slot) }
        unsafe slot.pointee.queueNext = free
        unsafe free = slot
    }

    /// To the first who waits: nobody overtakes.
    @inline(never)
    private func hand(_ slot: Slot) {
        unsafe reserved.append(slot)
        loop.unpark(waiters.removeFirst())
        hasWaiters = !waiters.isEmpty
    }

    /// Every slot is in use: an async call waits, the synchronous face refuses.
    @inline(__always)
    var isExhausted: Bool { unsafe free == nil && usedCount == Self.capacity }

    /// Waits, in turn, until a slot is free. It is the caller's if it takes one before it suspends again.
    @inline(never)
    nonisolated(nonsending) func waitForRoom() async {
        let spot = loop.makeSpot()
        waiters.append(spot)
        hasWaiters = true
        await reactor.park(at: spot)
        loop.release(spot)
        // SAFETY: `hand` put one by for each task it woke.
        let slot = unsafe reserved.popFirst()!
        unsafe slot.pointee.queueNext = free
        unsafe free = slot
    }

    /// The slot a token stands for, if the request is with a module. `bdev`: whose module has the token.
    func slot(index: UInt32, generation: UInt16, _ bdev: RegisteredBdev) -> Slot {
        precondition(
            index < UInt32(usedCount),
            "module \(bdev.moduleName) of '\(bdev.name)': a request token names no request of this reactor")
        // SAFETY: below the number of initialized slots.
        let slot = unsafe slots + Int(index)
        let state = unsafe (slot.pointee.phase, slot.pointee.generation)
        precondition(
            state.1 == generation && (state.0 == .inDevice || state.0 == .submitting),
            "module \(bdev.moduleName) of '\(bdev.name)': a request token was used after its request was completed")
        // Two bdevs of one module may share a channel, and so each other's tokens.
        precondition(
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { $0.bdev.module === bdev.module },
            "module \(bdev.moduleName) of '\(bdev.name)': a request token is of another module's request")
        return unsafe slot
    }

    /// The slot of a request that is not complete; nil when it is by now.
    func waitingSlot(_ token: RequestToken) -> Slot? {
        let slot = unsafe slots + Int(token.index)
        let (phase, generation) = unsafe (slot.pointee.phase, slot.pointee.generation)
        return unsafe generation == token.generation && (phase == .inDevice || phase == .queued) ? slot : nil
    }

    func takeDetour() -> Detour { detours.popLast() ?? Detour() }
    func giveBack(_ detour: Detour) { detours.append(detour) }

    /// A module's own bytes of the requests, made at the first call.
    func scratch(of module: String, byteCount: Int) throws(BdevError) -> RequestScratch {
        if let known = scratches[module] { return known }
        let made = try RequestScratch(byteCount: byteCount)
        scratches[module] = made
        return made
    }

    /// Visits every slot that was ever used. Control work.
    func forEachSlot(_ body: (Slot) -> Void) {
        // SAFETY: below the number of initialized slots.
        for index in 0..<usedCount { unsafe body(slots + index) }
    }

    // MARK: Between turns

    @inline(__always)
    func deferCompletion(_ slot: Slot) {
        unsafe slot.pointee.phase = .done
        unsafe deferred.pointee.append(slot)
    }

    override func poll() -> PollResult {
        if unsafe deferred.pointee.isEmpty { return .idle }
        // What handlers submit now and completes at once is told in the next turn: this one ends.
        var batch = unsafe deferred.pointee
        unsafe deferred.pointee = SlotQueue()
        while let slot = unsafe batch.popFirst() {
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.tellHandler(slot) }
        }
        return .busy
    }

    // MARK: Want of memory

    /// Tries a request again when memory or requests may have come back, every 100 µs: there is nobody to say when.
    func starve(_ slot: Slot) {
        unsafe starved.append(slot)
        if isRetrying { return }
        isRetrying = true
        _ = loop.schedule(after: .microseconds(100)) { [unowned self] in
            isRetrying = false
            retryStarved()
        }
    }

    private func retryStarved() {
        var batch = starved
        starved = SlotQueue()
        // SAFETY: queued slots are alive, their channels wait for them.
        while let slot = unsafe batch.popFirst() {
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.startDetour(slot) }
        }
    }

    // MARK: Cancellation

    /// A task is about to park for a request.
    @inline(__always)
    func willPark() { if !isScanning { startScanning() } }

    @inline(never)
    private func startScanning() {
        isScanning = true
        if cancellationScan.isRegistered {
            loop.resume(cancellationScan)
        } else {
            loop.add(cancellationScan, period: CancellationScan.period)
        }
    }

    /// A request has a deadline from now on.
    func watchDeadlines() {
        hasDeadlines = true
        willPark()
    }

    func scanForCancellation() {
        if hasDeadlines { abortLate() }
        if loop.parkedTaskCount == 0 {
            isScanning = false
            loop.pause(cancellationScan)
            return
        }
        unsafe forEachSlot { slot in
            let phase = unsafe slot.pointee.phase
            if phase != .inDevice && phase != .queued { return }
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.abortIfCancelled(slot) }
        }
    }

    private func abortLate() {
        hasDeadlines = false
        let now = loop.clock.now()
        unsafe forEachSlot { slot in
            guard unsafe slot.pointee.phase != .free, unsafe slot.pointee.hasExtras,
                unsafe slot.pointee.extras.deadline != .max
            else { return }
            hasDeadlines = true
            if unsafe slot.pointee.extras.deadline > now || slot.pointee.extras.isLate { return }
            unsafe slot.pointee.extras.isLate = true
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.abort(slot) }
        }
    }

    // MARK: Channels

    func channel(for bdev: RegisteredBdev) -> ChannelCore? { channels.first { $0.bdev === bdev } }
    func add(_ core: ChannelCore) { channels.append(core) }
    /// Whether several bdevs have the module's channel.
    func isShared(_ module: BdevModuleChannel) -> Bool { channels.count { $0.module === module } > 1 }

    func remove(_ core: ChannelCore) {
        channels.removeAll { $0 === core }
        forgetGate(for: core.bdev)
    }

    /// What holds the I/O of a bdev up here.
    func gate(for bdev: RegisteredBdev) -> IOGate {
        if let known = gates.first(where: { $0.bdev === bdev }) { return known.gate }
        let gate = IOGate()
        gates.append((bdev, gate))
        return gate
    }

    /// Lets go of a gate that is open, unless a channel has it.
    func forgetGate(for bdev: RegisteredBdev) {
        if channel(for: bdev) == nil { gates.removeAll { $0.bdev === bdev && !$0.gate.isHolding } }
    }
}
