import Reactors

// SAFETY (below): slots are touched by their reactor's thread only; the queue owns those in it.

/// Requests of one channel that wait for their turn under the bdev's limits, in the order they came.
///
/// Only the first has reserved its start; so channels that wait take turns, and none is ahead of another by more than
/// one.
@safe struct LimitedQueue {
    var requests = SlotQueue()
    // SAFETY: `RateLimiter` lives as long as `owner` is held.
    var limiter: Unmanaged<RateLimiter>?
    private(set) var owner: RateLimiter?
    /// When the first may begin, in ticks.
    var headStart: UInt64 = 0
    var timer: ReactorTimer?
    var isTimerSet = false

    init(_ limiter: RateLimiter?) {
        unsafe self.limiter = nil
        adopt(limiter)
    }

    mutating func adopt(_ limiter: RateLimiter?) {
        owner = limiter
        unsafe self.limiter = limiter.map(Unmanaged.passUnretained)
    }
}

extension ChannelCore {
    /// So many go at once when several are late; then others of the reactor have their turn.
    private static var countPerTurn: Int { 32 }

    /// Whether the request may go to the device now. Otherwise it waits.
    @inline(__always)
    func isAdmitted(_ slot: Slot) -> Bool {
        if unsafe !isLimited(slot) { return true }
        guard let limiter = unsafe limited.limiter else { return true }
        return unsafe limiter._withUnsafeGuaranteedRef { limiter in
            if limiter.limitsBytes || !limited.requests.isEmpty { return unsafe isAdmittedByAll(slot, limiter) }
            let now = unsafe slot.pointee.submitTick
            let start = limiter.reserveOperation(now: now)
            return unsafe start <= now || isKept(slot, until: start)
        }
    }

    @inline(never)
    private func isAdmittedByAll(_ slot: Slot, _ limiter: RateLimiter) -> Bool {
        var start = limited.headStart
        if limited.requests.isEmpty {
            let now = unsafe slot.pointee.submitTick
            start = unsafe reserve(limiter, slot, now)
            if start <= now { return true }
        }
        return unsafe isKept(slot, until: start)
    }

    /// Has the request wait. Always false: it is not admitted.
    @inline(never)
    private func isKept(_ slot: Slot, until headStart: UInt64) -> Bool {
        unsafe slot.pointee.phase = .queued
        limited.headStart = headStart
        unsafe limited.requests.append(slot)
        setTimer(headStart)
        return false
    }

    /// Reads and writes count, wherever they come from. What they are parts of, or do the work of, does not.
    @inline(__always)
    private func isLimited(_ slot: Slot) -> Bool {
        switch unsafe slot.pointee.type {
        case .read, .write, .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector, .zoneAppend: true
        // It was charged when it began.
        case .zeroCopy: unsafe slot.pointee.extras.zeroCopyPhase.isStart
        default: false
        }
    }

    private func reserve(_ limiter: RateLimiter, _ slot: Slot, _ now: UInt64) -> UInt64 {
        unsafe limiter.reserve(
            isRead: isRead(slot), byteCount: bytes(slot.pointee.blockCount), now: now)
    }

    private func isRead(_ slot: Slot) -> Bool {
        unsafe slot.pointee.type == .read
            || slot.pointee.type == .zeroCopy && slot.pointee.extras.zeroCopyPhase == .startPopulated
    }

    /// The channel is closed, and nobody waits: the timer that is left must not find it gone.
    func stopLimiting() {
        limited.timer?.cancel()
        limited.timer = nil
    }

    /// One that is set may be early, and is set again then.
    private func setTimer(_ start: UInt64) {
        if limited.isTimerSet { return }
        limited.isTimerSet = true
        if let timer = limited.timer, loop.schedule(timer, atTick: start) { return }
        limited.timer = loop.schedule(atTick: start) { [unowned self] in
            limited.isTimerSet = false
            letLimitedGo()
        }
    }

    /// Lets those go whose time has come.
    private func letLimitedGo() {
        var count = 0
        while unsafe limited.requests.head != nil {
            let now = clock.now()
            if limited.headStart > now { return setTimer(limited.headStart) }
            if count == Self.countPerTurn { return setTimer(now) }
            count += 1
            let slot = unsafe limited.requests.popFirst()!
            if let next = unsafe limited.requests.head, let limiter = limited.owner {
                limited.headStart = unsafe reserve(limiter, next, now)
            }
            unsafe submitAgain(slot)
        }
    }

    /// Obeys the bdev's limits as they are now. Whoever waits goes on under the new ones.
    func adoptLimits() {
        limited.adopt(bdev.limiter)
        gateChanged()
        guard let head = unsafe limited.requests.head else { return }
        let now = clock.now()
        limited.headStart = now
        if let limiter = limited.owner { limited.headStart = unsafe reserve(limiter, head, now) }
        limited.timer?.cancel()
        limited.timer = nil
        limited.isTimerSet = false
        setTimer(limited.headStart)
    }
}
