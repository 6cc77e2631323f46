import CLinux

/// Where a reactor's time comes from: the processor's counter, or a simulated world's own.
///
/// Internally time is counted in *ticks*: increments of the counter on a kernel reactor, nanoseconds in simulation.
/// Reading it costs one instruction on a kernel reactor, no system call.
public final class ReactorClock {
    /// In simulation, the present. Nil on the kernel's time.
    private let virtual: Bool
    private var virtualNow: UInt64 = 0
    /// Ticks in a second.
    public let ticksPerSecond: UInt64
    private let readsCounter: Bool

    private enum Source { case counter, monotonic, virtual }

    private init(source: Source, ticksPerSecond: UInt64) {
        readsCounter = source == .counter
        self.ticksPerSecond = ticksPerSecond
        virtual = source == .virtual
    }

    /// The machine's time.
    package static func kernel() -> ReactorClock {
        if let rate = CounterRate.shared {
            return ReactorClock(source: .counter, ticksPerSecond: rate)
        }
        return ReactorClock(source: .monotonic, ticksPerSecond: 1_000_000_000)
    }

    /// A time that moves only when `advance(to:)` says so.
    package static func simulated() -> ReactorClock {
        ReactorClock(source: .virtual, ticksPerSecond: 1_000_000_000)
    }

    /// The present in ticks.
    package func now() -> UInt64 {
        if readsCounter { return clinux_counter() }
        return virtual ? virtualNow : Self.monotonicNow()
    }

    /// Apart, so that reading the counter needs no stack frame.
    @inline(never)
    private static func monotonicNow() -> UInt64 { clinux_monotonic_nanoseconds() }

    package func advance(to ticks: UInt64) {
        precondition(virtual, "only simulated time can be moved")
        precondition(ticks >= virtualNow, "simulated time cannot run backwards")
        virtualNow = ticks
    }

    /// Rounded up, so that a wait never ends early.
    package func ticks(_ duration: Duration) -> UInt64 {
        let (seconds, attoseconds) = duration.components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let whole = UInt64(seconds).multipliedReportingOverflow(by: ticksPerSecond)
        if whole.overflow { return .max }
        let nanoseconds = UInt64(attoseconds) / 1_000_000_000
        let part = (nanoseconds * ticksPerSecond).addingReportingOverflow(999_999_999)
        return whole.partialValue.addingReportingOverflow(part.partialValue / 1_000_000_000).partialValue
    }

    package func nanoseconds(ticks: UInt64) -> UInt64 {
        let (seconds, rest) = ticks.quotientAndRemainder(dividingBy: ticksPerSecond)
        let whole = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if whole.overflow { return .max }
        return whole.partialValue + rest * 1_000_000_000 / ticksPerSecond
    }

    package func duration(ticks: UInt64) -> Duration {
        .nanoseconds(Int64(clamping: nanoseconds(ticks: ticks)))
    }
}

/// The rate of the processor's counter, measured once in a process against CLOCK_MONOTONIC.
enum CounterRate {
    /// Ticks in a second; nil where the counter cannot be trusted.
    static let shared: UInt64? = clinux_counter_is_reliable() ? measure() : nil

    /// Two milliseconds bound the error to some 50 parts in a million: two clock readings of 50 ns each.
    private static func measure() -> UInt64 {
        let start = reading()
        var end = start
        while end.nanoseconds - start.nanoseconds < 2_000_000 {
            clinux_spin_hint()
            end = reading()
        }
        let elapsed = end.nanoseconds - start.nanoseconds
        return UInt64((Double(end.ticks &- start.ticks) * 1e9 / Double(elapsed)).rounded())
    }

    /// The pair read closest together of five: a thread that is taken off the core between its two readings spoils one.
    private static func reading() -> (ticks: UInt64, nanoseconds: UInt64) {
        var best: (ticks: UInt64, nanoseconds: UInt64) = (0, 0)
        var narrowest = UInt64.max
        for _ in 0..<5 {
            let before = clinux_counter()
            let nanoseconds = clinux_monotonic_nanoseconds()
            let width = clinux_counter() &- before
            if width < narrowest { (best, narrowest) = ((before &+ width / 2, nanoseconds), width) }
        }
        return best
    }
}
