import CLinux
import Synchronization

/// One thread pinned to one core, with one queue of things to run.
///
/// A reactor is the serial executor of everything that lives on it: the actors that name it as theirs, channels among
/// them, only ever run on its thread, so that what they hold needs no lock. Reach one with ``run(_:)``; make one
/// through ``ReactorGroup``.
///
/// Sendable: a reference may be used from any thread. What belongs to its thread is behind ``LocalReactor``.
@safe public final class Reactor: SerialExecutor, @unchecked Sendable {
    /// The core it is pinned to.
    public let core: Int
    /// The NUMA node of that core.
    public let node: Int
    /// Its place in its group, from 0.
    public let index: Int
    /// The name of its thread, as `top -H` shows it.
    public let name: String
    /// For `Task(executorPreference:)`: what the task does outside any actor then runs here too, and waits of any kind
    /// resume here. Hot loops should not use it but ``run(_:)``: each hop of a task with a preference takes a lock to
    /// look it up.
    public var taskExecutor: ReactorTaskExecutor { preference }

    // SAFETY: `loop` is touched by the reactor's thread only, or before it has started and after it has ended; the rest
    // is immutable or atomic.
    package let loop: ReactorLoop
    package let backend: any ReactorBackend
    private let remote: RemoteQueue
    private(set) var preference: ReactorTaskExecutor!
    private let parkingExecutor: ParkingExecutor
    private let yieldExecutor: YieldExecutor
    package let lot: ParkingLot
    package let yieldLot: ParkingLot
    /// The reactor as its own actors see it.
    package private(set) var local: LocalReactor!
    /// What its buffers are made of.
    package let memoryPages: MemoryRegion.Pages

    /// True while the thread is, or is about to be, asleep: only then do senders pay for a wake-up.
    private let isAsleep = Atomic<Bool>(false)
    let stopRequested = Atomic<Bool>(false)
    /// Set when the thread has run everything and is about to end: what is sent from then on would never run.
    private let hasEnded = Atomic<Bool>(false)
    /// gettid(2) of the thread; 0 before it runs.
    let threadID = Atomic<Int32>(0)

    package init(
        core: Int, node: Int = 0, index: Int, name: String? = nil, backend: any ReactorBackend, options: ReactorOptions
    ) {
        self.core = core
        self.node = node
        self.index = index
        self.name = name ?? "reactor_\(core)"
        self.backend = backend
        memoryPages = options.memory.pages
        remote = RemoteQueue(capacity: options.remoteQueueCapacity)
        loop = ReactorLoop(clock: backend.clock, options: options, remote: remote)
        parkingExecutor = ParkingExecutor(loop: loop)
        yieldExecutor = YieldExecutor(loop: loop)
        lot = ParkingLot(executor: parkingExecutor)
        yieldLot = ParkingLot(executor: yieldExecutor)
        preference = ReactorTaskExecutor(reactor: self)
        local = LocalReactor(reactor: self)
        loop.attach(to: self)
        loop.pool = BufferPool(reactor: self, options: options.memory)
    }

    /// Whether the caller runs on this reactor's thread.
    public var isCurrent: Bool { Self.isCurrent(ObjectIdentifier(self)) }

    /// Whether the caller runs on the thread of the reactor that is known as `identity`.
    @inline(__always)
    static func isCurrent(_ identity: ObjectIdentifier) -> Bool {
        // SAFETY: addresses are compared, not followed.
        unsafe UInt(bitPattern: clinux_current_reactor()) == UInt(bitPattern: identity)
    }

    /// The reactor whose thread the caller runs on.
    public static var current: Reactor? {
        // SAFETY: set to a live reactor by its own thread, and cleared before that thread lets go of it.
        unsafe clinux_current_reactor().map { unsafe Unmanaged<Reactor>.fromOpaque($0).takeUnretainedValue() }
    }

    // MARK: SerialExecutor

    public func enqueue(_ job: consuming ExecutorJob) { accept(Arrival(UnownedJob(job), .serial)) }
    public func isIsolatingCurrentContext() -> Bool? { isCurrent }
    public func checkIsolated() {
        precondition(isCurrent, "this code must run on \(name): call it through run(_:) of that reactor")
    }

    func accept(_ arrival: Arrival) {
        if isCurrent {
            loop.push(arrival)
        } else {
            // Before the push: afterwards the thread may have run the work and ended, and all was well.
            precondition(
                !hasEnded.load(ordering: .relaxed),
                "work was sent to \(name) after it was shut down: end the tasks that use it first")
            // Once pushed, the work may run and end with the last reference to this reactor while this thread is still
            // in here.
            // SAFETY: retained and released here.
            let kept = unsafe Unmanaged.passRetained(self)
            defer { unsafe kept.release() }
            remote.push(arrival)
            wakeIfAsleep()
        }
    }

    // MARK: Sending work here

    /// Runs `body` on this reactor and returns what it returns. From any task; a caller that is already here does not
    /// hop.
    ///
    /// Cost: two crossings between threads from elsewhere, several microseconds when this reactor sleeps; none from an
    /// actor of this reactor. Cancellation is `body`'s own business.
    public func run<Result: Sendable, Failure: Error>(
        _ body: @Sendable (isolated LocalReactor) async throws(Failure) -> Result
    ) async throws(Failure) -> Result {
        try await local.perform(body)
    }

    /// Sends `body` to run on this reactor, once, and does not wait. From any thread. Messages of one sender arrive in
    /// their order.
    ///
    /// Cost: one allocation for the closure, no suspension, and a wake-up only if the reactor sleeps.
    public func post(_ body: @escaping @Sendable (LocalReactor) -> Void) {
        let local = self.local!
        accept(Arrival(Message { body(local) }))
    }

    // MARK: Sleeping and waking

    private func wakeIfAsleep() {
        // The item is in the queue; its store must be visible before the flag is read, as the sleeper sets the flag
        // before it looks.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if isAsleep.load(ordering: .relaxed), isAsleep.exchange(false, ordering: .acquiringAndReleasing) {
            backend.wake()
        }
    }

    /// Whether the thread has been asked to stop and nothing is left in the queue from elsewhere. On the reactor's
    /// thread.
    func mayEnd() -> Bool {
        if !stopRequested.load(ordering: .acquiring) { return false }
        hasEnded.store(true, ordering: .relaxed)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if remote.isEmpty { return true }
        hasEnded.store(false, ordering: .relaxed)
        return false
    }

    /// Sleeps until there is something to do or `deadline` comes. On the reactor's thread.
    func sleepIfNothingArrived(until deadline: UInt64?) {
        isAsleep.store(true, ordering: .relaxed)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if remote.isEmpty && !stopRequested.load(ordering: .relaxed) {
            loop.publish(.asleep)
            backend.sleep(until: deadline, ring: loop.ring)
            loop.publish(.turn)
        }
        isAsleep.store(false, ordering: .relaxed)
    }

    /// Has the backend told of whatever arrives from elsewhere from now on, until it is told once.
    package func announceArrivals() { isAsleep.store(true, ordering: .relaxed) }

    /// Undoes the circles of references, so that the reactor can go. Nothing may be queued, parked or sent here any
    /// more.
    package func takeApart() {
        loop.letGo()
        preference = nil
        local = nil
    }

    package func requestStop() {
        stopRequested.store(true, ordering: .releasing)
        wakeIfAsleep()
    }

    /// Makes the calling thread this reactor's, for the time of `body`. A thread is one reactor's at a time.
    package func asCurrent<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        // SAFETY: self outlives the call, at whose end the thread is again what it was.
        let outer = unsafe clinux_current_reactor()
        unsafe clinux_set_current_reactor(Unmanaged.passUnretained(self).toOpaque())
        defer { unsafe clinux_set_current_reactor(outer) }
        return try body()
    }
}
