public import SystemPackage

/// How files behave in a simulation: when the operations of its reactors' rings end, and how.
///
/// Operations are done on the real files, with real memory, at the virtual instant at which they end.
public struct RingBehavior: Sendable {
    /// What an operation takes, in virtual time: anything in this range, equally likely.
    public var latency: ClosedRange<Duration> = .microseconds(1) ... .microseconds(100)
    /// The part of operations, 0 to 1, that take ten times as long.
    public var slowFraction = 0.01
    /// The part of reads, writes and synchronizations, 0 to 1, that fail without being done.
    public var failureFraction = 0.0
    /// With which of these they fail, equally likely.
    public var failures: [Errno] = [.ioError]
    /// The part of reads and writes, 0 to 1, that move less than was asked for: a multiple of 512 bytes, or some of the
    /// pieces. Those of at most 512 bytes are never short.
    public var shortFraction = 0.0
    /// The part of reads and writes, 0 to 1, that end with EAGAIN or EINTR without being done, as the kernel may.
    public var interruptedFraction = 0.0
    /// The ring cannot be made, as on a kernel that forbids io_uring.
    public var isForbidden = false

    public init() {}
}
