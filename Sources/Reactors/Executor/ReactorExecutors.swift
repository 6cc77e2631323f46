import CLinux

/// Through which tasks prefer the reactor: an object of its own, so that the reactor knows how a job arrived.
public final class ReactorTaskExecutor: TaskExecutor, @unchecked Sendable {
    // SAFETY: the reactor owns this executor and outlives every job on it: a group waits for its threads before it lets
    // go.
    private unowned(unsafe) let reactor: Reactor

    init(reactor: Reactor) { unsafe self.reactor = reactor }

    public func enqueue(_ job: consuming ExecutorJob) {
        // SAFETY: as for the property.
        unsafe reactor.accept(Arrival(UnownedJob(job), .preference))
    }
}

/// Keeps the job of a task that waits instead of running it; the reactor runs it later as one of its own.
@safe final class ParkingExecutor: SerialExecutor, @unchecked Sendable {
    // SAFETY: what it points to is the loop's, which is the reactor's as this executor is, and goes with it.
    private let hot: UnsafeMutablePointer<ReactorLoop.Hot>

    init(loop: ReactorLoop) { unsafe hot = loop.hot }

    func enqueue(_ job: consuming ExecutorJob) {
        // SAFETY: as for the property.
        unsafe hot.pointee.parking.store(Arrival(UnownedJob(job), .serial).bits)
    }
}

/// Puts a task that gives way at the end of the reactor's queue.
@safe final class YieldExecutor: SerialExecutor, @unchecked Sendable {
    // SAFETY: as in ParkingExecutor.
    private let hot: UnsafeMutablePointer<ReactorLoop.Hot>

    init(loop: ReactorLoop) { unsafe hot = loop.hot }

    func enqueue(_ job: consuming ExecutorJob) {
        // SAFETY: as for the property.
        unsafe hot.pointee.ready.push(Arrival(UnownedJob(job), .serial))
    }
}
