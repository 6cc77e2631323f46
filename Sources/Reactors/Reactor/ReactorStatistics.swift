/// What a reactor has done since it started: a snapshot taken on the reactor.
public struct ReactorStatistics: Sendable, Hashable {
    /// One poller of the reactor.
    public struct Poller: Sendable, Hashable {
        /// Whether it is being visited.
        public enum State: Sendable, Hashable { case active, paused }

        public let name: String
        public let state: State
        /// Visits so far.
        public let runs: UInt64
        /// Visits that found work.
        public let busyRuns: UInt64
        /// nil: visited on every turn.
        public let period: Duration?
    }

    public let reactor: String
    public let core: Int
    /// Time of turns that found work.
    public let busy: Duration
    /// Time of turns that found none, and of sleep.
    public let idle: Duration
    /// Turns so far.
    public let turns: UInt64
    /// Jobs and messages run so far.
    public let jobs: UInt64
    public let longestTurn: Duration
    /// How often it went to sleep.
    public let sleeps: UInt64
    /// Those of every turn in the order of their visits, then those with a period by name.
    public let pollers: [Poller]
}

extension LocalReactor {
    /// What this reactor has done so far. Cost: a copy of the poller table.
    public var statistics: ReactorStatistics {
        let clock = loop.clock
        let figures = loop.figures
        return ReactorStatistics(
            reactor: reactor.name, core: reactor.core, busy: clock.duration(ticks: figures.busy),
            idle: clock.duration(ticks: figures.idle), turns: figures.turns, jobs: figures.jobs,
            longestTurn: clock.duration(ticks: figures.longestTurn), sleeps: figures.sleeps,
            pollers: loop.registeredPollers.map { poller in
                ReactorStatistics.Poller(
                    name: poller.name, state: poller.state == .paused || poller.state == .pausing ? .paused : .active,
                    runs: poller.runCount, busyRuns: poller.busyCount,
                    period: poller.period == 0 ? nil : clock.duration(ticks: poller.period))
            })
    }
}

extension ReactorGroup {
    /// The statistics of each reactor, in the order of ``reactors``; each is asked in turn.
    public func statistics() async -> [ReactorStatistics] {
        var all: [ReactorStatistics] = []
        for reactor in reactors { all.append(await reactor.run { local in local.statistics }) }
        return all
    }
}
