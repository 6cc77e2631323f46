import Reactors

/// Holds the I/O of one bdev up on all reactors: for resets, and for those who want a range to themselves.
///
/// An actor on the engine's reactor; control work.
actor HoldCoordinator {
    private nonisolated let home: Reactor
    private nonisolated let reactors: [Reactor]
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }

    private var isResetting = false
    /// Resets that came during another: they end with it.
    private var followers: [CoordinatedRequest] = []
    private var nextID: RangeLock.ID = 1
    private var active: [RangeLock] = []
    /// Of those active: they are being taken off the reactors.
    private var ending: Set<RangeLock.ID> = []
    /// Who waits for a range, in the order they came, and the request it is for.
    private var pending: [(lock: RangeLock, spot: ParkingSpot, request: CoordinatedRequest?)] = []
    private var settlers: [ParkingSpot] = []

    /// How often somebody looks whether the requests in a range have ended.
    private static let drainPeriod = Duration.microseconds(100)
    /// How often a reset looks whether everything has ended by itself.
    private static let resetPeriod = Duration.seconds(1)

    init(reactors: [Reactor]) {
        home = reactors[0]
        self.reactors = reactors
    }

    // MARK: Reset

    func reset(_ request: CoordinatedRequest) async {
        if isResetting { return followers.append(request) }
        isResetting = true
        let bdev = request.core.bdev
        let status = await perform(request, bdev)
        isResetting = false
        let all = followers + [request]
        followers = []
        for request in all { await request.reactor.local.endReset(request, status) }
        wakeSettlers()
    }

    private func perform(_ request: CoordinatedRequest, _ bdev: RegisteredBdev) async -> IOStatus {
        var frozen: [Reactor] = []
        var status = IOStatus.failed
        do throws(BdevError) {
            for reactor in reactors {
                try await reactor.local.freeze(bdev)
                frozen.append(reactor)
            }
            status = await hasDrained(bdev) ? .success : await request.reactor.local.resetDevice(request)
        } catch {
            status = .failed
        }
        for reactor in frozen { await reactor.local.unfreeze(bdev) }
        return status
    }

    /// Whether the device has finished everything within the time the bdev gives it.
    private func hasDrained(_ bdev: RegisteredBdev) async -> Bool {
        var left = bdev.resetDrainTimeout
        if left == .zero { return false }
        while await isBusy(bdev) {
            if left <= .zero { return false }
            let step = min(left, Self.resetPeriod)
            await pause(step)
            left -= step
        }
        return true
    }

    private func isBusy(_ bdev: RegisteredBdev) async -> Bool {
        for reactor in reactors where await reactor.local.isBusy(bdev) { return true }
        return false
    }

    /// Whether or not the task has been cancelled.
    private func pause(_ duration: Duration) async {
        let spot = home.loop.makeSpot()
        _ = home.loop.schedule(after: duration) { [loop = home.loop] in loop.unpark(spot) }
        await home.park(at: spot)
        home.loop.release(spot)
    }

    // MARK: Ranges

    /// Waits until nobody else has any of `blocks`, keeps new I/O there waiting from now on, and returns when what was
    /// on its way there has ended.
    ///
    /// - Parameter request: what the range is for, if it may be given up; the task is cancelled then.
    /// - Throws: `noMemory` when a reactor has none to remember the lock; `removed`; `aborted` when given up.
    func lock(
        _ blocks: Range<UInt64>, holdingReads: Bool, of bdev: RegisteredBdev, for request: CoordinatedRequest? = nil
    ) async throws(BdevError) -> RangeLock {
        // Here, where nothing comes in between: a removal waits for those that were before it.
        if bdev.isRemoved {
            throw BdevError(.removed, bdev: bdev.name, "cannot have a range: the bdev is being removed")
        }
        if request != nil && Task.isCancelled { throw givenUp(bdev) }
        let lock = RangeLock(id: nextID, blocks: blocks, holdsReads: holdingReads)
        nextID += 1
        if isTaken(lock, before: pending.count) {
            let spot = home.loop.makeSpot()
            pending.append((lock, spot, request))
            await home.park(at: spot)
            home.loop.release(spot)
            if !active.contains(where: { $0.id == lock.id }) { throw givenUp(bdev) }
        } else {
            active.append(lock)
        }
        do throws(BdevError) {
            for reactor in reactors { try await reactor.local.add(lock, to: bdev) }
        } catch {
            await unlock(lock.id, of: bdev)
            throw error
        }
        for reactor in reactors {
            while await reactor.local.hasRequests(concernedBy: lock, of: bdev) {
                if request != nil && Task.isCancelled {
                    await unlock(lock.id, of: bdev)
                    throw givenUp(bdev)
                }
                await pause(Self.drainPeriod)
            }
        }
        return lock
    }

    private func givenUp(_ bdev: RegisteredBdev) -> BdevError {
        BdevError(.aborted, bdev: bdev.name, "given up before it had its range")
    }

    /// Whether somebody has part of the range, or is to have it first.
    private func isTaken(_ lock: RangeLock, before place: Int) -> Bool {
        active.contains { $0.overlaps(lock.blocks) } || pending[..<place].contains { $0.lock.overlaps(lock.blocks) }
    }

    /// Whether the lock was in force; false when it has ended, or somebody else is about to end it.
    @discardableResult
    func unlock(_ id: RangeLock.ID, of bdev: RegisteredBdev) async -> Bool {
        if !active.contains(where: { $0.id == id }) || !ending.insert(id).inserted { return false }
        for reactor in reactors { await reactor.local.remove(id, from: bdev) }
        active.removeAll { $0.id == id }
        ending.remove(id)
        letPendingGo()
        return true
    }

    /// Whoever waits for a range on behalf of `request` does so no longer.
    func giveUp(_ request: CoordinatedRequest) {
        guard let place = pending.firstIndex(where: { $0.request?.isSame(as: request) == true }) else { return }
        home.loop.unpark(pending.remove(at: place).spot)
        letPendingGo()
    }

    /// Gives those their ranges whom nobody is in the way of any more.
    private func letPendingGo() {
        var place = 0
        while place < pending.count {
            if isTaken(pending[place].lock, before: place) {
                place += 1
            } else {
                let next = pending.remove(at: place)
                active.append(next.lock)
                home.loop.unpark(next.spot)
            }
        }
        wakeSettlers()
    }

    // MARK: Going away

    /// Returns when no reset is under way and nobody has a range.
    func settle() async {
        while isResetting || !active.isEmpty || !pending.isEmpty {
            let spot = home.loop.makeSpot()
            settlers.append(spot)
            await home.park(at: spot)
            home.loop.release(spot)
        }
    }

    private func wakeSettlers() {
        for spot in settlers { home.loop.unpark(spot) }
        settlers = []
    }
}

extension LocalReactor {
    func freeze(_ bdev: RegisteredBdev) throws(BdevError) {
        try RequestPool.of(self).gate(for: bdev).isFrozen = true
        existingChannel(bdev)?.freeze()
    }

    func unfreeze(_ bdev: RegisteredBdev) {
        change(bdev) { $0.isFrozen = false }
        existingChannel(bdev)?.gateChanged()
    }

    func resetDevice(_ request: CoordinatedRequest) async -> IOStatus {
        await request.core.resetDevice(request)
    }

    /// Whether the device has requests of the bdev from here.
    func isBusy(_ bdev: RegisteredBdev) -> Bool { existingChannel(bdev)?.hasRequestsInDevice ?? false }

    func add(_ lock: RangeLock, to bdev: RegisteredBdev) throws(BdevError) {
        try RequestPool.of(self).gate(for: bdev).add(lock)
        existingChannel(bdev)?.gateChanged()
    }

    func hasRequests(concernedBy lock: RangeLock, of bdev: RegisteredBdev) -> Bool {
        existingChannel(bdev)?.hasRequests(concernedBy: lock) ?? false
    }

    func remove(_ id: RangeLock.ID, from bdev: RegisteredBdev) {
        change(bdev) { $0.remove(id) }
        existingChannel(bdev)?.letHeldGo()
    }

    /// Changes a gate that there is, and forgets it when nobody needs it any more.
    private func change(_ bdev: RegisteredBdev, _ body: (IOGate) -> Void) {
        guard let pool = loop.attachment as? RequestPool else { return }
        body(pool.gate(for: bdev))
        pool.forgetGate(for: bdev)
    }
}
