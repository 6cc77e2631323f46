/// A module's part of one bdev on one reactor: where requests arrive.
///
/// Subclass it, keep in it what the reactor's thread needs to drive the device (a queue pair, a ring client, a list),
/// and override ``submit(_:)``. Made by ``BdevDriver/makeChannel(on:requests:)``. It belongs to its reactor: nothing in
/// it needs a lock, and it is never called from anywhere else.
///
/// Two bdevs may share one channel object when they share a device: what the device refuses for want of room is then
/// kept in one queue for both.
open class BdevModuleChannel {
    final var outstandingCount = 0
    final var noMemory = NoMemoryQueue()

    public init() {}

    /// Takes one request. Called on the reactor; must not block.
    ///
    /// The request is the module's from here on, and the compiler sees to it that it is completed once: complete it
    /// now, or keep it (in an optional, a queue, or as a ``RequestToken``) and complete it later on this reactor.
    open func submit(_ request: consuming IORequest) {
        preconditionFailure("\(Self.self) does not override submit(_:)")
    }

    /// Asks the module to give up a request early, because its task was cancelled. The request must still be completed,
    /// with any status; what the device may still write is not the caller's before that. Doing nothing is allowed, and
    /// the default.
    open func abort(_ token: RequestToken) {}

    /// A request that was forwarded with `observed: true` has come back from the bdev below with `status`. Complete it,
    /// or do something else with it: it is the module's again.
    open func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) { request.complete(status) }

    /// The last call: nothing is outstanding and nothing more will come.
    open func close() async {}
}

/// Requests the device had no room for, in the order they came.
@safe struct NoMemoryQueue {
    var requests = SlotQueue()
    /// Retried when as few as this are outstanding.
    var threshold = 0
    /// The loop that submits them again is on the stack.
    var isRetrying = false
    /// A timer will try again.
    var isRetryDue = false

    @inline(__always)
    var isEmpty: Bool { requests.isEmpty }
}
