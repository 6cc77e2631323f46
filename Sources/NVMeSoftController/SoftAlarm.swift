import Reactors

/// Has the reactor turn at the instant when something is due, so that virtual time need not pass in small steps until
/// then. It does nothing else: the poller sees by itself what is due.
struct SoftAlarm {
    private let loop: ReactorLoop
    private var timer: ReactorTimer?
    /// In ticks.
    private var deadline: UInt64 = 0

    init(_ loop: ReactorLoop) { self.loop = loop }

    /// For this instant, unless that has come, or it is set for an earlier one.
    mutating func set(at due: UInt64) {
        let now = loop.clock.now()
        if due <= now { return }
        if let timer, deadline > now {
            if deadline <= due { return }
            timer.cancel()
        }
        deadline = due
        if let timer, loop.schedule(timer, atTick: due) { return }
        timer = loop.schedule(atTick: due) {}
    }
}
