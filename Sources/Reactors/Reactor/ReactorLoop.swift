import CLinux
import Synchronization

// SAFETY (below): `hot` lives as long as the loop, and only the reactor's thread touches it.

/// What belongs to a reactor's own thread: its queue, pollers, timers, ring and figures, and the turn that visits them.
@usableFromInline
@safe package final class ReactorLoop {
    package let clock: ReactorClock
    let options: ReactorOptions
    let remote: RemoteQueue
    // SAFETY: the reactor owns its loop.
    private(set) unowned(unsafe) var reactor: Reactor!

    /// What every turn and every wait touch, behind a pointer: accesses to it need no run-time check of their
    /// exclusivity.
    let hot: UnsafeMutablePointer<Hot>

    @safe struct Hot: ~Copyable {
        // SAFETY: the reactor's own, which outlive its loop. Set before its thread runs.
        var serialExecutor: UnownedSerialExecutor!
        var taskExecutor: UnownedTaskExecutor!
        var ready: JobRing
        var parking: ParkingTable
        var timers = TimerQueue()
        var ring: Ring?
        var figures = Figures()
        /// When this turn began, in ticks.
        var turnStart: UInt64 = 0
        /// How many more awaits the running job may have completed without giving way.
        var synchronousBudget = 0
        /// What the running job waited for has failed.
        var hasFailed = false
    }

    let pollers = PollerList()
    /// Those with a period: between visits only their timers know them.
    var periodicPollers: [Poller] = []
    var pool: BufferPool!
    /// Why the kernel gave no ring.
    package var ringFailure: RingError?
    /// What the layer above keeps on each reactor.
    package var attachment: AnyObject?
    // What other threads may look at: stored by the reactor's thread, waited for by nobody.
    let activity = Atomic<UInt32>(ReactorActivity.asleep.word)
    let turns = Atomic<UInt64>(0)
    let pollerNames = PollerNames()

    private static let synchronousBudgetPerJob = 32

    struct Figures {
        var busy: UInt64 = 0
        var idle: UInt64 = 0
        var jobs: UInt64 = 0
        var turns: UInt64 = 0
        var longestTurn: UInt64 = 0
        var sleeps: UInt64 = 0
    }

    init(clock: ReactorClock, options: ReactorOptions, remote: RemoteQueue) {
        self.clock = clock
        self.options = options
        self.remote = remote
        unsafe hot = .allocate(capacity: 1)
        unsafe hot.initialize(
            to: Hot(ready: JobRing(capacity: options.jobCapacity), parking: ParkingTable(capacity: 1024)))
    }

    deinit {
        // SAFETY: initialized in init; the reactor's thread has ended.
        unsafe hot.deinitialize(count: 1)
        unsafe hot.deallocate()
    }

    @inline(__always)
    var figures: Figures { unsafe hot.pointee.figures }

    /// The io_uring ring, once there is one.
    @inline(__always)
    package var ring: Ring? {
        get { unsafe hot.pointee.ring }
        set { unsafe hot.pointee.ring = newValue }
    }

    /// Jobs and messages that are ready to run.
    package var readyCount: Int { unsafe hot.pointee.ready.count }

    /// What the reactor stands on.
    var backend: any ReactorBackend { unsafe reactor.backend }

    @inline(__always)
    func publish(_ now: ReactorActivity) { activity.store(now.word, ordering: .relaxed) }

    @inline(__always)
    func push(_ arrival: Arrival) { unsafe hot.pointee.ready.push(arrival) }

    func attach(to reactor: Reactor) {
        unsafe self.reactor = reactor
        unsafe hot.pointee.serialExecutor = reactor.asUnownedSerialExecutor()
        unsafe hot.pointee.taskExecutor = reactor.preference.asUnownedTaskExecutor()
    }

    // MARK: The turn

    /// Visits everything once: what other threads sent, the queue, the pollers, due timers, the ring.
    package func turn() -> PollResult {
        let now = clock.now()
        unsafe hot.pointee.turnStart = now
        var result = PollResult.idle
        if !remote.isEmpty, unsafe remote.drain(into: &hot.pointee.ready, limit: options.jobsPerTurn) { result = .busy }
        if unsafe !hot.pointee.ready.isEmpty {
            runJobs()
            result = .busy
        }
        result.combine(runPollers())
        if unsafe hot.pointee.timers.nextDeadline <= now {
            runTimers(dueAt: now)
            result = .busy
        }
        if let ring = unsafe hot.pointee.ring {
            publish(.ring)
            result.combine(ring.turn())
        }
        if unsafe !hot.pointee.ready.isEmpty { result = .busy }
        unsafe hot.pointee.figures.turns &+= 1
        turns.store(unsafe hot.pointee.figures.turns, ordering: .relaxed)
        return result
    }

    private func runJobs() {
        publish(.jobs)
        let serial = unsafe hot.pointee.serialExecutor!
        var budget = unsafe min(hot.pointee.ready.count, options.jobsPerTurn)
        while budget > 0, let arrival = unsafe hot.pointee.ready.pop() {
            unsafe hot.pointee.synchronousBudget = Self.synchronousBudgetPerJob
            // One by one: whoever shuts a group down relies on a job seeing exactly what ran before it.
            unsafe hot.pointee.figures.jobs &+= 1
            unsafe run(arrival, serial)
            budget -= 1
        }
    }

    @inline(__always)
    private func run(_ arrival: Arrival, _ serial: UnownedSerialExecutor) {
        if arrival.kind != .serial { return unsafe runOther(arrival, serial) }
        // SAFETY: this is the reactor's thread, and jobs run one after another on it: the claim of exclusivity is true.
        unsafe arrival.job.runSynchronously(on: serial)
    }

    @inline(never)
    private func runOther(_ arrival: Arrival, _ serial: UnownedSerialExecutor) {
        switch arrival.kind {
        case .serial, .failure:
            unsafe hot.pointee.hasFailed = arrival.kind == .failure
            // SAFETY: as in `run`.
            unsafe arrival.job.runSynchronously(on: serial)
            unsafe hot.pointee.hasFailed = false
        case .preference:
            // SAFETY: as in `run`.
            unsafe arrival.job.runSynchronously(isolatedTo: serial, taskExecutor: hot.pointee.taskExecutor)
        case .message:
            arrival.takeMessage().body()
        }
    }

    private func runPollers() -> PollResult {
        var result = PollResult.idle
        for index in 0..<pollers.count { result.combine(pollers.visit(index, by: self)) }
        pollers.sweepIfNeeded()
        return result
    }

    private func runTimers(dueAt now: UInt64) {
        // A timer that sets another for now does not hold the turn: that one is due on the next.
        let count = unsafe hot.pointee.timers.sequence
        while let timer = unsafe hot.pointee.timers.popDue(at: now, amongFirst: count) {
            publish(.timer)
            switch timer.fire() {
            case .run(let body): body()
            case .poll(let poller):
                _ = poller.visit(by: self)
                rearm(poller)
            case nil: break
            }
        }
    }

    // MARK: Waiting

    /// Whether the caller runs on this loop's thread.
    package var isCurrent: Bool { unsafe reactor.isCurrent }

    package func makeSpot() -> ParkingSpot { unsafe hot.pointee.parking.makeSpot() }
    package func release(_ spot: ParkingSpot) { unsafe hot.pointee.parking.release(spot) }

    /// The running task will hop to the parking lot next; it is to be kept at `spot`.
    package func expectParking(at spot: ParkingSpot) { unsafe hot.pointee.parking.expect(at: spot) }

    /// Tasks that wait on this reactor, for whatever reason.
    package var parkedTaskCount: Int { unsafe hot.pointee.parking.parkedCount }

    package func isParked(at spot: ParkingSpot) -> Bool { unsafe hot.pointee.parking.isOccupied(spot) }

    /// Whether the task parked at `spot` has been cancelled. False when nobody is parked there.
    package func isCancelled(at spot: ParkingSpot) -> Bool { unsafe hot.pointee.parking.isCancelled(spot) }

    /// Counts awaits that completed without suspending. False when the task has had its share: it must give way.
    package func spendSynchronousCompletions(_ count: Int) -> Bool {
        unsafe hot.pointee.synchronousBudget &-= count
        return unsafe hot.pointee.synchronousBudget >= 0
    }

    /// Lets the task parked at `spot` run again, after what is already queued.
    package func unpark(_ spot: ParkingSpot) { release(unsafe hot.pointee.parking.take(spot), hasFailed: false) }

    /// The same, for something that failed; see `ParkingLot.park(on:)`.
    package func unparkFailed(_ spot: ParkingSpot) { release(unsafe hot.pointee.parking.take(spot), hasFailed: true) }

    @inline(__always)
    private func release(_ bits: UInt, hasFailed: Bool) {
        #if ContinuationParking
        // SAFETY: the bits came from a continuation in `ParkingLot.park(on:)`, taken out of the table once.
        let continuation = unsafe unsafeBitCast(bits, to: UnsafeContinuation<Bool, Never>.self)
        unsafe continuation.resume(returning: hasFailed)
        #else
        push(Arrival(bits: hasFailed ? bits | Arrival.Kind.failure.rawValue : bits))
        #endif
    }

    /// Whether what the running job waited for has failed.
    @usableFromInline
    package func takeFailure() -> Bool { unsafe hot.pointee.hasFailed }

    // MARK: The thread

    /// Turns until asked to stop, and then until nothing is left to run. The body of the reactor's thread.
    func run() {
        var lastWork = clock.now()
        let spin: UInt64? =
            switch options.idlePolicy {
            case .poll: nil
            case .adaptive(let duration): clock.ticks(duration)
            }
        while true {
            let result = turn()
            let end = clock.now()
            account(result, from: unsafe hot.pointee.turnStart, to: end)
            if result == .busy {
                lastWork = end
                continue
            }
            if unsafe reactor.mayEnd() { break }
            if result == .idle, let spin, end &- lastWork >= spin {
                let deadline = unsafe hot.pointee.timers.nextDeadline
                unsafe reactor.sleepIfNothingArrived(until: deadline == .max ? nil : deadline)
                let awake = clock.now()
                unsafe hot.pointee.figures.idle &+= awake &- end
                unsafe hot.pointee.figures.sleeps &+= 1
                lastWork = awake
            } else if let ring, ring.yieldsCore {
                clinux_yield()
            } else if result == .idle {
                // Not while a device is at work: the hint delays the next look, most of all in a virtual machine.
                clinux_spin_hint()
            }
        }
        publish(.asleep)
    }

    private func account(_ result: PollResult, from start: UInt64, to end: UInt64) {
        let elapsed = end &- start
        if result == .busy {
            unsafe hot.pointee.figures.busy &+= elapsed
        } else {
            unsafe hot.pointee.figures.idle &+= elapsed
        }
        unsafe hot.pointee.figures.longestTurn = max(hot.pointee.figures.longestTurn, elapsed)
    }
}

extension PollResult {
    /// The more demanding of the two.
    @inline(__always)
    mutating func combine(_ other: PollResult) {
        switch other {
        case .busy: self = .busy
        case .pending: if self == .idle { self = .pending }
        case .idle: break
        }
    }
}
