import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and only its thread touches them.

/// The requests of one reactor, and what is done with them between turns.
///
/// The slots lie in one reserved stretch of memory that is touched as it is first used: no request allocates, none ever
/// moves.
@safe final class RequestPool: Poller {
    /// More than any queue of ours is deep. Memory is used for those that have been in use.
    static let capacity = 65_536
    /// Beyond those: what only the layer takes, for the parts of requests and for what they become in bdevs below. So
    /// requests that wait for these cannot have used up all there are.
    static let spareCount = 4096

    let reactor: Reactor
    /// Of `reactor`.
    let identity: ReactorIdentity
    /// The reactor's number above the bits of an index: a token of another reactor names no request of this one.
    let tokenTag: UInt32
    let loop: ReactorLoop
    private let region: MemoryRegion
    let slots: Slot
    private var free: Slot?
    private(set) var usedCount = 0
    /// The same of the spare ones, which lie behind the others.
    private var freeSpare: Slot?
    private(set) var usedSpareCount = 0
    /// Spare slots in use.
    private var spareInUse = 0
    /// Somebody waits, or a spare slot is in use: one that is given back may not be for everyone.
    private var needsCare = false
    /// How many calls of a module's `submit` are on the stack.
    var submitDepth = 0
    /// Tasks that wait for a slot, slots put by for those of them that have been woken, and those whose task was
    /// cancelled.
    var waiters: [ParkingSpot] = []
    var hasWaiters = false
    private var reserved = SlotQueue()
    var givenUp: Set<ParkingSpot> = []
    /// Requests with a handler that were completed inside the module's `submit`: told in the next turn, so that a
    /// handler never runs inside its own submit.
    private let deferred: UnsafeMutablePointer<SlotQueue>
    let starvation: Starvation
    let closeWatch: CloseWatch
    lazy var cancellationScan = CancellationScan(pool: self)
    var isScanning = false
    var hasDeadlines = false
    /// In the order they were made.
    private var channels: [ChannelCore] = []
    private var gates: [(bdev: RegisteredBdev, gate: IOGate)] = []
    let zeroes: ZeroRegion
    private var detours: [Detour] = []
    /// By module.
    private var scratches: [String: RequestScratch] = [:]

    init(local: isolated LocalReactor) throws(BdevError) {
        reactor = local.reactor
        identity = ReactorIdentity(of: local.reactor)
        tokenTag = UInt32(truncatingIfNeeded: reactor.index) << 17
        loop = local.loop
        do {
            region = try MemoryRegion(
                byteCount: (Self.capacity + Self.spareCount) * MemoryLayout<RequestState>.stride)
            zeroes = try ZeroRegion()
        } catch {
            throw BdevError(.noMemory, "\(error)")
        }
        // SAFETY: the region is as long as all slots, page-aligned, and lives as long as self.
        unsafe slots = region.base.bindMemory(to: RequestState.self, capacity: Self.capacity + Self.spareCount)
        unsafe free = nil
        unsafe freeSpare = nil
        unsafe deferred = .allocate(capacity: 1)
        unsafe deferred.initialize(to: SlotQueue())
        starvation = Starvation(loop: local.loop)
        closeWatch = CloseWatch(loop: local.loop)
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

    /// A slot for `core`; nil when none is free. `forLayer`: another request waits for what it is for.
    @inline(__always)
    func take(_ core: ChannelCore, forLayer: @autoclosure () -> Bool = false) -> Slot? {
        // SAFETY: a free slot is initialized, and ours from here on.
        guard let slot = unsafe free else { return unsafe takeFirstTime(core, forLayer: forLayer()) }
        unsafe free = slot.pointee.queueNext
        unsafe slot.pointee.core = Unmanaged.passUnretained(core)
        unsafe slot.pointee.phase = .prepared
        return unsafe slot
    }

    @inline(never)
    private func takeFirstTime(_ core: ChannelCore, forLayer: Bool) -> Slot? {
        if usedCount == Self.capacity { return unsafe forLayer ? takeSpare(core) : nil }
        defer { usedCount += 1 }
        return unsafe make(usedCount, core)
    }

    private func takeSpare(_ core: ChannelCore) -> Slot? {
        if unsafe freeSpare == nil && usedSpareCount == Self.spareCount { return nil }
        spareInUse += 1
        needsCare = true
        if let slot = unsafe freeSpare {
            unsafe freeSpare = slot.pointee.queueNext
            unsafe slot.pointee.core = Unmanaged.passUnretained(core)
            unsafe slot.pointee.phase = .prepared
            return unsafe slot
        }
        defer { usedSpareCount += 1 }
        return unsafe make(Self.capacity + usedSpareCount, core)
    }

    private func make(_ index: Int, _ core: ChannelCore) -> Slot {
        // SAFETY: the region has room for it, and it was never initialized before.
        let slot = unsafe slots + index
        let nothing = region.memory(from: 0, count: 0)
        unsafe slot.initialize(
            to: RequestState(
                index: UInt32(index), tokenIndex: UInt32(index) ^ tokenTag, core: core, spot: loop.makeSpot(),
                memory: nothing))
        unsafe slot.pointee.phase = .prepared
        return unsafe slot
    }

    @inline(__always)
    func giveBack(_ slot: Slot) {
        // SAFETY: the caller is the last to use the slot.
        unsafe slot.pointee.phase = .free
        unsafe slot.pointee.generation &+= 1
        if needsCare { return unsafe giveBackWithCare(slot) }
        unsafe slot.pointee.queueNext = free
        unsafe free = slot
    }

    @inline(never)
    private func giveBackWithCare(_ slot: Slot) {
        if unsafe slot.pointee.index >= Self.capacity {
            unsafe slot.pointee.queueNext = freeSpare
            unsafe freeSpare = slot
            spareInUse -= 1
        } else {
            unsafe slot.pointee.queueNext = free
            unsafe free = slot
            handOut()
        }
        needsCare = hasWaiters || spareInUse > 0
    }

    /// What is free goes to those who wait, in order: nobody overtakes.
    private func handOut() {
        while hasWaiters, let slot = unsafe free {
            unsafe free = slot.pointee.queueNext
            unsafe reserved.append(slot)
            loop.unpark(waiters.removeFirst())
            hasWaiters = !waiters.isEmpty
        }
    }

    /// Every slot is in use: an async call waits, the synchronous face refuses. As long as somebody waits none is free.
    @inline(__always)
    var isExhausted: Bool { unsafe free == nil && usedCount == Self.capacity }

    /// Waits, in turn, until a slot is free, and calls `body`, which takes it. One that `body` does not take goes to
    /// the next who waits.
    ///
    /// - Throws: what `body` throws; `aborted` when the task is cancelled, which is noticed within 10 ms.
    @inline(never)
    nonisolated(nonsending) func takeInTurn<Result>(
        for bdev: RegisteredBdev, _ body: () throws(BdevError) -> Result
    ) async throws(BdevError) -> Result {
        let spot = loop.makeSpot()
        waiters.append(spot)
        hasWaiters = true
        needsCare = true
        willPark()
        await reactor.park(at: spot)
        loop.release(spot)
        if givenUp.remove(spot) != nil {
            throw BdevError(.aborted, bdev: bdev.name, "the task was cancelled while it waited for a request")
        }
        // SAFETY: `handOut` put one by for each task it woke.
        let slot = unsafe reserved.popFirst()!
        unsafe slot.pointee.queueNext = free
        unsafe free = slot
        defer { if hasWaiters { handOut() } }
        return try body()
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
        // SAFETY: among the initialized slots.
        for index in 0..<usedCount { unsafe body(slots + index) }
        for index in Self.capacity..<Self.capacity + usedSpareCount { unsafe body(slots + index) }
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
