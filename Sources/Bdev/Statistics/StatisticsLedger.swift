import Reactors

/// What is kept of a bdev's figures besides those of its channels: of channels that were closed, and of those before a
/// reset.
///
/// Kept for each reactor and changed by it in one stretch with its channel, so that whoever visits a reactor finds
/// every I/O once. Control work.
final class StatisticsLedger: Sendable {
    private struct Share {
        /// Of channels that were closed.
        var retired = IOStatistics()
        /// Before the last resets, of all channels.
        var forgotten = IOStatistics()
        /// Of channels that were closed; nil: none were recorded.
        var latencies: BdevLatencies?
    }

    private let shares = ThreadLock<[ObjectIdentifier: Share]>([:])
    private let types = ThreadLock<IOTypes>([])

    private func withShare<Result: Sendable>(of reactor: Reactor, _ body: (inout Share) -> Result) -> Result {
        shares.withLock { body(&$0[ObjectIdentifier(reactor), default: Share()]) }
    }

    /// The channel is closed: what it has done is kept. On its reactor.
    func retire(_ core: ChannelCore) {
        let statistics = core.statistics, latencies = core.latencies
        withShare(of: core.pool.reactor) { share in
            share.retired.add(statistics)
            guard let latencies else { return }
            if share.latencies == nil { share.latencies = latencies } else { share.latencies!.add(latencies) }
        }
    }

    // MARK: Statistics

    /// What the bdev has done on a reactor since the last reset, of which `reset` makes another. On that reactor.
    func statistics(on reactor: Reactor, _ core: ChannelCore?, _ reset: StatisticsReset) -> IOStatistics {
        withShare(of: reactor) { share in
            var sum = share.retired
            if let core {
                sum.add(core.statistics)
                core.resetStatistics(reset)
            }
            share.retired.reset(reset)
            if reset == .all { share.forgotten.add(sum) }
            if reset == .errors { share.forgotten.addErrors(of: sum) }
            return sum
        }
    }

    /// The same of the channel alone.
    func channelStatistics(_ core: ChannelCore, _ reset: StatisticsReset) -> IOStatistics {
        let statistics = core.statistics
        core.resetStatistics(reset)
        withShare(of: core.pool.reactor) { share in
            if reset == .all { share.forgotten.add(statistics) }
            if reset == .errors { share.forgotten.addErrors(of: statistics) }
        }
        return statistics
    }

    /// What it has done there since it was registered, whatever was reset; its extremes mean nothing. On that reactor.
    func lifetimeStatistics(on reactor: Reactor, _ core: ChannelCore?) -> IOStatistics {
        withShare(of: reactor) { share in
            var sum = share.forgotten
            sum.add(share.retired)
            if let core { sum.add(core.statistics) }
            return sum
        }
    }

    // MARK: Latencies

    /// The kinds of I/O whose latencies are recorded, by the channels that there are and by new ones.
    var recordedTypes: IOTypes {
        get { types.withLock { $0 } }
        set { types.withLock { $0 = newValue } }
    }

    /// What a reactor has recorded. On that reactor.
    func latencies(on reactor: Reactor, _ core: ChannelCore?) -> BdevLatencies {
        var sum = BdevLatencies(types: recordedTypes, ticksPerSecond: reactor.backend.clock.ticksPerSecond)
        if let retired = withShare(of: reactor, { $0.latencies }) { sum.add(retired) }
        if let latencies = core?.latencies { sum.add(latencies) }
        return sum
    }

    /// Records what `recordedTypes` says. On that reactor.
    func adoptRecordedTypes(on reactor: Reactor, _ core: ChannelCore?) {
        core?.recordLatencies(of: recordedTypes)
        if recordedTypes.isEmpty { withShare(of: reactor) { $0.latencies = nil } }
    }
}

extension IOStatistics {
    fileprivate mutating func addErrors(of other: IOStatistics) {
        for (code, count) in other.errors { errors[code, default: 0] += count }
    }
}
