// Pollers, timers and waiting, for code that runs on the reactor.

extension LocalReactor {
    // MARK: Pollers

    /// Visits `body` on every turn, or every `period`, until it is removed.
    ///
    /// It must not block. Pollers of every turn are visited in the order they were added. A period counts from the end
    /// of a visit, so that a reactor that was held up does not catch up. Cost of an empty visit: a virtual call and a
    /// closure call.
    ///
    /// `name`: for statistics and the stall watchdog.
    /// - period: nil: every turn. A reactor with such pollers sleeps between visits only while all of them answer
    ///   `.idle`.
    @discardableResult
    public func addPoller(named name: String, every period: Duration? = nil, _ body: @escaping () -> PollResult)
        -> Poller
    {
        let poller = ClosurePoller(name: name, body: body)
        loop.add(poller, period: period)
        return poller
    }

    /// Visits `poller` on every turn, or every `period`. A poller is added once in its life.
    public func add(_ poller: Poller, every period: Duration? = nil) { loop.add(poller, period: period) }

    /// Never visits `poller` again. Also from within its own visit; a removed one is left alone.
    public func remove(_ poller: Poller) { loop.remove(poller) }

    /// Stops visiting `poller` until it is resumed. Also from within its own visit; a paused one is left alone.
    public func pause(_ poller: Poller) { loop.pause(poller) }

    /// Visits `poller` again: from the next turn on, or after a period. One that is not paused is left alone.
    public func resume(_ poller: Poller) { loop.resume(poller) }

    // MARK: Timers

    /// The present on this reactor's clock. Cost: reading the processor's counter; no system call.
    public var now: ReactorInstant { loop.clock.instant }

    /// Runs `body` on this reactor once `delay` has passed, never before. Equal instants run in the order they were
    /// set.
    @discardableResult
    public func schedule(after delay: Duration, _ body: @escaping () -> Void) -> ReactorTimer {
        loop.schedule(at: loop.clock.now() &+ loop.clock.ticks(delay), .run(body))
    }

    /// Runs `body` on this reactor at `instant`; on the next turn when that is past.
    @discardableResult
    public func schedule(at instant: ReactorInstant, _ body: @escaping () -> Void) -> ReactorTimer {
        loop.schedule(at: loop.clock.ticks(instant), .run(body))
    }

    // MARK: Waiting

    /// Suspends the task for `duration`, never less, while the reactor runs other things.
    ///
    /// - Throws: `CancellationError` at once when the task is cancelled, before or during the sleep.
    ///
    /// Cost: a timer and one suspension on this reactor; no other thread is involved.
    public func sleep(for duration: Duration) async throws(CancellationError) {
        try await sleep(untilTicks: loop.clock.now() &+ loop.clock.ticks(duration))
    }

    /// Suspends the task until `instant`. As ``sleep(for:)``.
    public func sleep(until instant: ReactorInstant) async throws(CancellationError) {
        try await sleep(untilTicks: loop.clock.ticks(instant))
    }

    private func sleep(untilTicks deadline: UInt64) async throws(CancellationError) {
        if Task.isCancelled { throw CancellationError() }
        let sleep = Sleep(on: self, until: deadline)
        await withTaskCancellationHandler {
            // The way here may have taken a turn, and the sleep be over.
            if !sleep.isOver { await reactor.park(at: sleep.spot) }
        } onCancel: {
            reactor.post { _ in sleep.end() }
        }
        loop.release(sleep.spot)
        if sleep.wasEndedEarly { throw CancellationError() }
    }

    /// Gives way to everything that is queued on this reactor now, then goes on. Cost: one job.
    // Inlined, so that a task that gives way needs no frame for it.
    @inlinable
    @inline(__always)
    public nonisolated(nonsending) func yield() async {
        if isHere { await yieldLot.giveWay() } else { await yieldFromElsewhere() }
    }

    /// Whether the caller runs on this reactor's thread.
    @usableFromInline nonisolated var isHere: Bool { Reactor.isCurrent(identity) }

    @usableFromInline
    func yieldFromElsewhere() async { await reactor.yieldTurn() }
}

/// One task's sleep. Whoever ends it first wakes the task: the timer or a cancellation.
private final class Sleep: @unchecked Sendable {
    // SAFETY: touched on the reactor only; a cancellation elsewhere sends a message there.
    let spot: ParkingSpot
    private let loop: ReactorLoop
    private var timer: ReactorTimer!
    private(set) var isOver = false
    private(set) var wasEndedEarly = false

    init(on local: isolated LocalReactor, until deadline: UInt64) {
        loop = local.loop
        spot = loop.makeSpot()
        timer = loop.schedule(at: deadline, .run { [unowned self] in finish() })
    }

    /// Does nothing when the timer came first: the spot may be another task's by now.
    func end() {
        if isOver { return }
        timer.cancel()
        wasEndedEarly = true
        finish()
    }

    private func finish() {
        isOver = true
        if loop.isParked(at: spot) { loop.unpark(spot) }
    }
}
