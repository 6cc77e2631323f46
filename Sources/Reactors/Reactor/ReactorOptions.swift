/// What a reactor does when there is nothing to do.
public enum IdlePolicy: Sendable, Hashable {
    /// Polls for `spin` after the last work, then sleeps in one kernel wait for its ring, other threads and the next
    /// timer.
    case adaptive(spin: Duration)
    /// Polls for ever: the last microsecond, at the price of a core.
    case poll

    /// 50 µs: longer than a fast device takes to answer, shorter than anyone notices on an idle machine.
    public static let standard = IdlePolicy.adaptive(spin: .microseconds(50))
}

/// How the reactors of a group are made.
public struct ReactorOptions: Sendable {
    /// Default: `.standard`.
    public var idlePolicy = IdlePolicy.standard
    /// How many items of other threads are taken without allocating. A power of two.
    public var remoteQueueCapacity = 4096
    /// How many jobs may wait before the queue is enlarged. A power of two.
    public var jobCapacity = 8192
    /// Memory for I/O, of each reactor.
    public var memory = BufferPool.Options()
    /// The io_uring ring, made when first needed.
    public var ring = Ring.Options()
    /// How many jobs and messages one turn runs before it looks at pollers and timers again. At least 1.
    package var jobsPerTurn = 512

    /// Whether a second reactor on the same core is refused, in this process and in others: see ``CoreLock``.
    public var locksCores = true
    /// Where the locks lie.
    public var coreLockDirectory = CoreLock.standardDirectory

    public init() {}
}
