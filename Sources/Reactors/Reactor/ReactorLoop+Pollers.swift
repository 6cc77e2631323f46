// SAFETY (below): `hot` lives as long as the loop, and only the reactor's thread touches it.

/// Pollers and timers.
extension ReactorLoop {
    package func add(_ poller: Poller, period: Duration?) {
        precondition(poller.state == .unregistered, "poller '\(poller.name)' is on a reactor already")
        poller.state = .waiting
        poller.period = period.map { max(1, clock.ticks($0)) } ?? 0
        poller.activity = .poller(slot: pollerNames.add(poller.name))
        if poller.period == 0 {
            pollers.add(poller)
        } else {
            periodicPollers.append(poller)
            rearm(poller)
        }
    }

    /// The next visit is a period after this one, not after the last due time: a reactor that was held up does not
    /// catch up.
    func rearm(_ poller: Poller) {
        if poller.state != .waiting { return }
        let deadline = clock.now() &+ poller.period
        if let timer = poller.timer, timer.reuse(at: deadline) {
            unsafe hot.pointee.timers.add(timer)
        } else {
            poller.timer = schedule(at: deadline, .poll(poller))
        }
    }

    package func remove(_ poller: Poller) {
        if poller.state == .removed { return }
        precondition(poller.state != .unregistered, "poller '\(poller.name)' is on no reactor")
        poller.state = .removed
        poller.timer?.cancel()
        // Each holds the other.
        poller.timer = nil
        pollerNames.remove(poller.activity.pollerSlot!)
        if poller.period == 0 { pollers.scheduleSweep() } else { periodicPollers.removeAll { $0 === poller } }
    }

    var registeredPollers: [Poller] {
        pollers.all.filter { $0.state != .removed } + periodicPollers.sorted { $0.name < $1.name }
    }

    package func pause(_ poller: Poller) {
        switch poller.state {
        case .waiting: poller.state = .paused
        case .running: poller.state = .pausing
        case .unregistered, .paused, .pausing, .removed: return
        }
        poller.timer?.cancel()
    }

    package func resume(_ poller: Poller) {
        switch poller.state {
        case .pausing: poller.state = .running
        case .paused:
            poller.state = .waiting
            if poller.period > 0 { rearm(poller) }
        case .unregistered, .waiting, .running, .removed: return
        }
    }

    /// Runs `body` once, when `duration` has passed. On this reactor.
    package func schedule(after duration: Duration, _ body: @escaping () -> Void) -> ReactorTimer {
        schedule(at: clock.now() &+ clock.ticks(duration), .run(body))
    }

    /// The same at an instant of the clock, in ticks.
    package func schedule(atTick deadline: UInt64, _ body: @escaping () -> Void) -> ReactorTimer {
        schedule(at: deadline, .run(body))
    }

    /// Has a timer that has fired do so once more; nothing is allocated for it. False: it has not fired yet.
    package func schedule(_ timer: ReactorTimer, atTick deadline: UInt64) -> Bool {
        if !timer.reuse(at: deadline) { return false }
        unsafe hot.pointee.timers.add(timer)
        return true
    }

    func schedule(at deadline: UInt64, _ action: ReactorTimer.Action) -> ReactorTimer {
        let timer = ReactorTimer(deadline: deadline, action: action)
        unsafe hot.pointee.timers.add(timer)
        return timer
    }
}
