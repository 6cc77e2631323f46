/// A moment on a reactor's clock. Instants of different reactors of one machine may be compared; those of a simulation
/// only with its own.
public struct ReactorInstant: InstantProtocol, Sendable {
    /// Since the clock's beginning: the machine's start, or the simulation's.
    package let sinceStart: Duration

    package init(sinceStart: Duration) { self.sinceStart = sinceStart }

    public func advanced(by duration: Duration) -> ReactorInstant { ReactorInstant(sinceStart: sinceStart + duration) }
    public func duration(to other: ReactorInstant) -> Duration { other.sinceStart - sinceStart }
    public static func < (a: ReactorInstant, b: ReactorInstant) -> Bool { a.sinceStart < b.sinceStart }
}

extension ReactorClock {
    package var instant: ReactorInstant { ReactorInstant(sinceStart: duration(ticks: now())) }

    /// Rounded up, so that a wait never ends early.
    package func ticks(_ instant: ReactorInstant) -> UInt64 { ticks(instant.sinceStart) }
}
