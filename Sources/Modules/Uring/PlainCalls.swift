import Reactors

/// Decides which transfers are done by plain system calls on the reactor instead of the ring.
///
/// For data in memory the kernel's ring is the long way: it cannot try tmpfs and zram without blocking, so that it
/// gives each transfer to a thread of its own. A plain call takes a fraction of the time at depth 1. At greater depths
/// the ring's threads come up to it, as long as there are idle cores for them, at several times the processor time.
///
/// What bounds it: a transfer's length, bytes for each turn of the reactor (the rest waits for the next turn), and the
/// time it takes: when calls become slow (swapped pages, a compressor short of memory) the ring takes over for a while.
struct PlainCalls {
    /// Longer transfers go to the ring: its threads copy on other cores.
    static let transferLimit = 128 << 10
    /// In one turn, in bytes: some 100 µs.
    static let turnLimit = 256 << 10
    private static let slow = Duration.microseconds(100)
    private static let pause = Duration.milliseconds(100)

    private let clock: ReactorClock
    private let slowTicks: UInt64
    private let pauseTicks: UInt64
    private var left = Self.turnLimit
    /// Of the time a call takes, over some 16 calls.
    private var averageTicks: UInt64 = 0
    private var pausedUntil: UInt64 = 0
    private(set) var isOn: Bool

    init(isOn: Bool, clock: ReactorClock) {
        self.isOn = isOn
        self.clock = clock
        slowTicks = clock.ticks(Self.slow)
        pauseTicks = clock.ticks(Self.pause)
    }

    /// Whether a transfer of this length takes the short way, now or in a later turn.
    @inline(__always)
    func takes(_ byteCount: Int) -> Bool { isOn && byteCount <= Self.transferLimit }

    /// Whether this turn has room for it.
    @inline(__always)
    var hasRoom: Bool { left > 0 }

    @inline(__always)
    func start() -> UInt64 { clock.now() }

    @inline(__always)
    mutating func end(_ byteCount: Int, since start: UInt64) {
        left -= byteCount
        let now = clock.now()
        // One call that was held up by another process counts no more than twice the limit: a dozen in a row are
        // needed.
        averageTicks = (averageTicks &* 15 &+ min(now &- start, slowTicks &* 2)) / 16
        if averageTicks > slowTicks { pauseFrom(now) }
    }

    private mutating func pauseFrom(_ now: UInt64) {
        isOn = false
        averageTicks = 0
        pausedUntil = now &+ pauseTicks
    }

    /// The system cannot be asked at all (simulation).
    mutating func turnOff() {
        isOn = false
        pausedUntil = .max
    }

    /// A new turn of the reactor.
    mutating func beginTurn() {
        left = Self.turnLimit
        if !isOn, pausedUntil != .max, clock.now() >= pausedUntil { isOn = true }
    }
}
