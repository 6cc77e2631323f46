/// Through which tasks prefer the reactor: an object of its own, so that the reactor knows how a job arrived.
public final class ReactorTaskExecutor: TaskExecutor, @unchecked Sendable {
    // SAFETY: the reactor owns this executor and outlives every job on it: a group waits for its threads before it lets go.
    private unowned(unsafe) let reactor: Reactor

    init(reactor: Reactor) { unsafe self.reactor = reactor }

    public func enqueue(_ job: consuming ExecutorJob) {
        // SAFETY: as for the property.
        unsafe reactor.accept(Arrival(UnownedJob(job), .preference))
    }
}

/// Keeps the job of a task that waits instead of running it; the reactor runs it later as one of its own.
final class ParkingExecutor: SerialExecutor, @unchecked Sendable {
    // SAFETY: as in ReactorTaskExecutor.
    private unowned(unsafe) let reactor: Reactor

    init(reactor: Reactor) { unsafe self.reactor = reactor }

    func enqueue(_ job: consuming ExecutorJob) {
        // SAFETY: as for the property.
        unsafe reactor.loop.storeParked(Arrival(UnownedJob(job), .serial).bits)
    }
}

/// The actor a task hops to in order to wait. Its body runs when what the task waited for has happened.
@safe actor ParkingLot {
    private let executor: any SerialExecutor
    // SAFETY: `executor` keeps alive what this refers to.
    private nonisolated let reference: UnownedSerialExecutor

    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reference }

    init(executor: some SerialExecutor) {
        self.executor = executor
        unsafe reference = executor.asUnownedSerialExecutor()
    }

    /// Never inlined: between two hops with nothing in between, the optimizer would remove both.
    @inline(never)
    func park() {}
}
