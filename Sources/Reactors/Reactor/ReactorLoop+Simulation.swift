// SAFETY (below): `hot` lives as long as the loop, and only the reactor's thread touches it.

/// What a simulator looks at and decides between turns.
extension ReactorLoop {
    /// Lets the job `offset` places behind the first run next.
    package func bringForward(_ offset: Int) { unsafe hot.pointee.ready.bringForward(offset) }

    /// The instant of the earliest timer, in ticks; `.max` when there is none.
    package var nextDeadline: UInt64 { unsafe hot.pointee.timers.nextDeadline }

    /// Whether a timer waits that is not the next visit to a poller. Looks at every timer.
    package var hasTimersBesidesPollers: Bool { unsafe hot.pointee.timers.hasTimersBesidesPollers }

    /// Drops what refers back to the reactor.
    func letGo() {
        for poller in pollers.all { poller.state = .removed }
        pollers.scheduleSweep()
        pollers.sweepIfNeeded()
        periodicPollers = []
        unsafe hot.pointee.timers = TimerQueue()
        attachment = nil
        ring = nil
        pool = nil
    }
}
