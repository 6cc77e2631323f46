import CLinux
import Synchronization

/// What belongs to a reactor's own thread: its queue, pollers, timers, ring and figures, and the turn that visits them.
@safe package final class ReactorLoop {
    package let clock: ReactorClock
    let options: ReactorOptions
    let remote: RemoteQueue
    // SAFETY: the reactor owns its loop.
    private(set) unowned(unsafe) var reactor: Reactor!

    /// What every turn and every wait touch, behind a pointer: accesses to it need no run-time check of their exclusivity.
    private let hot: UnsafeMutablePointer<Hot>

    private struct Hot: ~Copyable {
        var ready: JobRing
        var parking: ParkingTable
        /// How many more awaits the running job may have completed without giving way.
        var synchronousBudget = 0
    }

    let pollers = PollerList()
    var timers = TimerQueue()
    var ring: Ring?
    var pool: BufferPool!
    /// What the layer above keeps on each reactor.
    package var attachment: AnyObject?
    var activity = Activity.idle
    var figures = Figures()
    /// When this turn began, in ticks.
    private(set) var turnStart: UInt64 = 0

    private static let synchronousBudgetPerJob = 32

    /// What the watchdog names.
    enum Activity { case idle, jobs, poller(Poller), timer, ring }

    struct Figures {
        var busy: UInt64 = 0
        var idle: UInt64 = 0
        var jobs: UInt64 = 0
        var turns: UInt64 = 0
        var longestTurn: UInt64 = 0
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

    // SAFETY (all of `hot`): it lives as long as the loop, and only the reactor's thread touches it.

    @inline(__always)
    func push(_ arrival: Arrival) { unsafe hot.pointee.ready.push(arrival) }

    func attach(to reactor: Reactor) {
        unsafe self.reactor = reactor
    }

    // MARK: The turn

    /// Visits everything once: what other threads sent, the queue, the pollers, due timers, the ring.
    package func turn() -> PollResult {
        turnStart = clock.now()
        var result = PollResult.idle
        if !remote.isEmpty, unsafe remote.drain(into: &hot.pointee.ready, limit: options.jobsPerTurn) { result = .busy }
        if unsafe !hot.pointee.ready.isEmpty {
            runJobs()
            result = .busy
        }
        result.combine(runPollers())
        if timers.nextDeadline <= turnStart {
            runTimers()
            result = .busy
        }
        if let ring { result.combine(ring.turn()) }
        if unsafe !hot.pointee.ready.isEmpty { result = .busy }
        figures.turns &+= 1
        return result
    }

    private func runJobs() {
        // SAFETY: the reactor outlives its loop, and its executors outlive it.
        let reactor = unsafe self.reactor!
        let serial = unsafe reactor.asUnownedSerialExecutor()
        let task = unsafe reactor.preference.asUnownedTaskExecutor()
        var budget = unsafe min(hot.pointee.ready.count, options.jobsPerTurn)
        figures.jobs &+= UInt64(budget)
        while budget > 0, let arrival = unsafe hot.pointee.ready.pop() {
            unsafe hot.pointee.synchronousBudget = Self.synchronousBudgetPerJob
            unsafe run(arrival, serial, task)
            budget -= 1
        }
    }

    private func run(_ arrival: Arrival, _ serial: UnownedSerialExecutor, _ task: UnownedTaskExecutor) {
        switch arrival.kind {
        case .serial:
            // SAFETY: this is the reactor's thread, and jobs run one after another on it: the claim of exclusivity is true.
            unsafe arrival.job.runSynchronously(on: serial)
        case .preference:
            // SAFETY: as above.
            unsafe arrival.job.runSynchronously(isolatedTo: serial, taskExecutor: task)
        case .message:
            arrival.takeMessage().body()
        }
    }

    private func runPollers() -> PollResult {
        var result = PollResult.idle
        for index in 0..<pollers.count { result.combine(pollers.visit(index)) }
        pollers.sweepIfNeeded()
        return result
    }

    private func runTimers() {
        while let timer = timers.popDue(at: turnStart) {
            switch timer.fire() {
            case .run(let body): body()
            case .unpark(let spot): unpark(spot)
            case .poll(let poller):
                _ = poller.visit()
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

    /// Whether the task parked at `spot` has been cancelled. False when nobody is parked there.
    package func isCancelled(at spot: ParkingSpot) -> Bool { unsafe hot.pointee.parking.isCancelled(spot) }

    @inline(__always)
    func storeParked(_ bits: UInt) { unsafe hot.pointee.parking.store(bits) }

    /// Counts an await that completed without suspending. False when the task has had its share: it must give way.
    package func spendSynchronousCompletions(_ count: Int = 1) -> Bool {
        unsafe hot.pointee.synchronousBudget &-= count
        return unsafe hot.pointee.synchronousBudget >= 0
    }

    /// Lets the task parked at `spot` run again, after what is already queued.
    package func unpark(_ spot: ParkingSpot) {
        push(Arrival(bits: unsafe hot.pointee.parking.take(spot)))
    }

    // MARK: Pollers and timers

    package func add(_ poller: Poller, period: Duration?) {
        precondition(poller.state == .unregistered, "poller '\(poller.name)' is on a reactor already")
        poller.state = .waiting
        poller.period = period.map { max(1, clock.ticks($0)) } ?? 0
        if poller.period == 0 { pollers.add(poller) } else { rearm(poller) }
    }

    /// The next visit is a period after this one, not after the last due time: a reactor that was held up does not catch up.
    private func rearm(_ poller: Poller) {
        if poller.state != .waiting { return }
        let timer = ReactorTimer(deadline: clock.now() &+ poller.period, action: .poll(poller))
        poller.timer = timer
        timers.add(timer)
    }

    package func remove(_ poller: Poller) {
        poller.state = .removed
        poller.timer?.cancel()
        pollers.scheduleSweep()
    }

    package func pause(_ poller: Poller) {
        switch poller.state {
        case .waiting: poller.state = .paused
        case .running: poller.state = .pausing
        case .unregistered, .paused, .pausing, .removed: return
        }
        poller.timer?.cancel()
    }

    package func resume(_ poller: Poller) {
        switch poller.state {
        case .pausing: poller.state = .running
        case .paused:
            poller.state = .waiting
            if poller.period > 0 { rearm(poller) }
        case .unregistered, .waiting, .running, .removed: return
        }
    }

    /// Runs `body` once, when `duration` has passed. On this reactor.
    package func schedule(after duration: Duration, _ body: @escaping () -> Void) -> ReactorTimer {
        schedule(at: clock.now() &+ clock.ticks(duration), .run(body))
    }

    func schedule(at deadline: UInt64, _ action: ReactorTimer.Action) -> ReactorTimer {
        let timer = ReactorTimer(deadline: deadline, action: action)
        timers.add(timer)
        return timer
    }

    // MARK: For the simulator

    /// Jobs and messages that are ready to run.
    package var queuedJobCount: Int { unsafe hot.pointee.ready.count }

    /// Lets the job `offset` places behind the first run next.
    package func bringForward(_ offset: Int) { unsafe hot.pointee.ready.bringForward(offset) }

    /// The instant of the earliest timer, in ticks; `.max` when there is none.
    package var nextDeadline: UInt64 { timers.nextDeadline }

    /// Whether a timer waits that is not the next visit to a poller. Looks at every timer.
    package var hasTimersBesidesPollers: Bool { timers.hasTimersBesidesPollers }

    /// Drops what refers back to the reactor.
    func letGo() {
        for poller in pollers.all { poller.state = .removed }
        pollers.scheduleSweep()
        pollers.sweepIfNeeded()
        timers = TimerQueue()
        attachment = nil
        ring = nil
        pool = nil
    }

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
            account(result, from: turnStart, to: end)
            if result == .busy {
                lastWork = end
                continue
            }
            if unsafe reactor.stopRequested.load(ordering: .acquiring), remote.isEmpty { break }
            if result == .idle, let spin, end &- lastWork >= spin {
                let deadline = timers.nextDeadline
                unsafe reactor.sleepIfNothingArrived(until: deadline == .max ? nil : deadline)
                let awake = clock.now()
                figures.idle &+= awake &- end
                lastWork = awake
            } else {
                clinux_spin_hint()
            }
        }
    }

    private func account(_ result: PollResult, from start: UInt64, to end: UInt64) {
        let elapsed = end &- start
        if result == .busy { figures.busy &+= elapsed } else { figures.idle &+= elapsed }
        if elapsed > figures.longestTurn { figures.longestTurn = elapsed }
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
