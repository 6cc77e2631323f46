public import Reactors

extension BdevEngine {
    // MARK: Statistics

    /// What a bdev has done, on all reactors and through channels that have been closed since, from its registration or
    /// from the last reset on.
    ///
    /// I/O goes on meanwhile. Cost: a message to each reactor.
    ///
    /// - Parameters:
    ///   - name: the bdev's name or an alias.
    ///   - reset: what begins anew with this reading, for every reader; no I/O is lost between the two. What the
    ///     driver counts itself begins anew as well.
    /// - Throws: `noSuchBdev`.
    public func statistics(
        _ name: String, reset: StatisticsReset = .none
    ) async throws(BdevError) -> IOStatistics {
        let bdev = try find(name)
        var sum = IOStatistics()
        for reactor in reactors { sum.add(await reactor.local.statistics(of: bdev, reset)) }
        sum.ticksPerSecond = home.backend.clock.ticksPerSecond
        if reset != .none { await bdev.driver.resetStatistics(reset) }
        return sum
    }

    /// The same of each channel that there is, in the order of the reactors.
    ///
    /// - Parameters:
    ///   - name: the bdev's name or an alias.
    ///   - reset: what begins anew in these channels with this reading.
    /// - Throws: `noSuchBdev`.
    public func channelStatistics(
        _ name: String, reset: StatisticsReset = .none
    ) async throws(BdevError) -> [(reactor: Reactor, statistics: IOStatistics)] {
        let bdev = try find(name)
        var result: [(reactor: Reactor, statistics: IOStatistics)] = []
        for reactor in reactors {
            if let figures = await reactor.local.channelStatistics(of: bdev, reset) {
                result.append((reactor, figures))
            }
        }
        return result
    }

    /// Begins a bdev's figures anew, for every reader.
    ///
    /// - Throws: `noSuchBdev`.
    public func resetStatistics(_ name: String, _ reset: StatisticsReset = .all) async throws(BdevError) {
        _ = try await statistics(name, reset: reset)
    }

    // MARK: Latencies

    /// Records the latencies of these kinds of I/O of a bdev from now on, in all channels that it has and will have;
    /// other kinds are not recorded any more. What was recorded stays, and goes when `types` is empty, which ends
    /// recording.
    ///
    /// I/O goes on meanwhile. Cost: a message to each reactor, and 90 KiB there while it is on; for an I/O some 30
    /// instructions.
    ///
    /// - Throws: `noSuchBdev`.
    public func recordLatencies(of name: String, types: IOTypes = .all) async throws(BdevError) {
        let bdev = try find(name)
        bdev.ledger.recordedTypes = types
        for reactor in reactors { await reactor.local.adoptRecordedTypes(of: bdev) }
    }

    /// The latencies of a bdev since recording them began, of all channels, also of those that have been closed since.
    ///
    /// - Throws: `noSuchBdev`; `invalidArgument` when they are not recorded.
    public func latencies(of name: String) async throws(BdevError) -> BdevLatencies {
        let bdev = try find(name)
        let types = bdev.ledger.recordedTypes
        if types.isEmpty {
            throw BdevError(
                .invalidArgument, bdev: bdev.name, "its latencies are not recorded",
                advice: "call recordLatencies(of:types:) first")
        }
        var sum = BdevLatencies(types: types, ticksPerSecond: home.backend.clock.ticksPerSecond)
        for reactor in reactors { sum.add(await reactor.local.latencies(of: bdev)) }
        return sum
    }

    // MARK: Queue depth

    /// How many requests a bdev's device has now, of all reactors. What waits in the layer is not with the device.
    ///
    /// Cost: a message to each reactor, which are asked one after another.
    ///
    /// - Throws: `noSuchBdev`.
    public func queueDepth(of name: String) async throws(BdevError) -> Int { await queueDepth(of: try find(name)) }

    private func queueDepth(of bdev: RegisteredBdev) async -> Int {
        var sum = 0
        for reactor in reactors { sum += await reactor.local.queueDepth(of: bdev) }
        return sum
    }

    /// Looks at a bdev's queue depth every `period` from now on, the first time after one; nil ends it.
    ///
    /// Times that have been summed up go on with the new period. Cost: a message to each reactor for each sample,
    /// nothing for an I/O.
    ///
    /// - Parameters:
    ///   - name: the bdev's name or an alias.
    ///   - period: a microsecond or more.
    /// - Throws: `noSuchBdev`, `removed`, and `invalidArgument` for a shorter period.
    public func sampleQueueDepth(of name: String, every period: Duration?) async throws(BdevError) {
        let bdev = try find(name)
        if bdev.isRemoved { throw BdevError(.removed, bdev: bdev.name, "cannot sample: the bdev is being removed") }
        if let period, period < .microseconds(1) {
            throw BdevError(
                .invalidArgument, bdev: bdev.name, "cannot sample every \(period)", advice: "use a microsecond or more")
        }
        bdev.sampler.change(period: period)
        // Those who sample with another period wait for this.
        changes.signal()
        guard let period else { return }
        bdev.sampler.taskCount += 1
        let generation = bdev.sampler.generation
        Task(executorPreference: home.taskExecutor) { await self.sample(bdev, every: period, generation) }
    }

    /// What sampling has found; nil while it is off.
    ///
    /// - Throws: `noSuchBdev`.
    public func queueDepthSamples(of name: String) throws(BdevError) -> QueueDepthSamples? {
        try find(name).sampler.samples
    }

    private func sample(_ bdev: RegisteredBdev, every period: Duration, _ generation: Int) async {
        let sampler = bdev.sampler
        var last = home.loop.clock.instant
        while await waitUntil(last.advanced(by: period), while: { sampler.generation == generation }) {
            let depth = await queueDepth(of: bdev)
            // A change during the visits takes effect after them; this sample is of the period before.
            if sampler.generation != generation { break }
            let now = home.loop.clock.instant
            sampler.record(depth, elapsed: last.duration(to: now))
            last = now
        }
        sampler.taskCount -= 1
        changes.signal()
    }

    /// Waits until `instant`. False when `condition` has ended before, at which it looks with each change of the
    /// registry and at least every `limit`.
    func waitUntil(
        _ instant: ReactorInstant, atMost limit: Duration = .seconds(3600), while condition: () -> Bool
    ) async -> Bool {
        while condition() {
            let left = home.loop.clock.instant.duration(to: instant)
            if left <= .zero { return true }
            await changes.wait(atMost: min(left, limit))
        }
        return false
    }

    /// The bdev is going away: ends sampling, and returns when nothing of it is left.
    func stopSampling(_ bdev: RegisteredBdev) async {
        bdev.sampler.change(period: nil)
        changes.signal()
        while bdev.sampler.taskCount > 0 { await changes.wait() }
    }
}

extension LocalReactor {
    func statistics(of bdev: RegisteredBdev, _ reset: StatisticsReset) -> IOStatistics {
        bdev.ledger.statistics(on: reactor, existingChannel(bdev), reset)
    }

    func channelStatistics(of bdev: RegisteredBdev, _ reset: StatisticsReset) -> IOStatistics? {
        existingChannel(bdev).map { bdev.ledger.channelStatistics($0, reset) }
    }

    func lifetimeStatistics(of bdev: RegisteredBdev) -> IOStatistics {
        bdev.ledger.lifetimeStatistics(on: reactor, existingChannel(bdev))
    }

    func queueDepth(of bdev: RegisteredBdev) -> Int { existingChannel(bdev)?.queueDepth ?? 0 }

    func adoptRecordedTypes(of bdev: RegisteredBdev) {
        bdev.ledger.adoptRecordedTypes(on: reactor, existingChannel(bdev))
    }

    func latencies(of bdev: RegisteredBdev) -> BdevLatencies {
        bdev.ledger.latencies(on: reactor, existingChannel(bdev))
    }
}
