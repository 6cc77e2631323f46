/// A queue of system calls that the kernel works off by itself: io_uring, or a simulated one.
///
/// One for each reactor, used on its thread only. Operations are prepared during a turn and handed to the kernel together at its
/// end; results come back to the ``RingClient`` that asked.
open class Ring {
    public struct Options: Sendable {
        /// Entries of the submission queue, a power of two, at most 4,096.
        public var entries = 256
        /// Completions are polled for instead of interrupting (IORING_SETUP_IOPOLL): files opened with O_DIRECT on devices that can.
        public var pollsCompletions = false
        /// A kernel thread takes submissions without a system call (IORING_SETUP_SQPOLL).
        public var pollsSubmissions = false

        public init() {}
    }

    public init() {}

    /// Submits what was prepared, and delivers what is complete. Called once in a turn; must not block.
    open func turn() -> PollResult { preconditionFailure("a ring must override turn()") }

    /// Blocks until a completion is ready, the reactor is woken, or `nanoseconds` have passed (nil: no limit).
    open func wait(nanoseconds: UInt64?) { preconditionFailure("a ring must override wait(nanoseconds:)") }
}

/// Why there is no ring.
public struct RingError: Error, Sendable {}

final class KernelRing: Ring {
    init(options: Options, wakeEvent: WakeEvent) throws(RingError) { throw RingError() }
}
