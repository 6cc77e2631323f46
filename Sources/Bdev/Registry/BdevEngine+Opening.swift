public import Reactors

extension BdevEngine {
    // MARK: Opening

    /// Opens a bdev by its name or an alias.
    ///
    /// - Throws: `noSuchBdev`; `removed` when it is on its way out; `claimed`, naming the owner, for writing a bdev
    ///   that has been claimed.
    public func open(_ name: String, mode: BdevDescriptor.Mode = .readOnly) async throws(BdevError) -> BdevDescriptor {
        try await open(name, mode, nil)
    }

    /// Opens a bdev, and calls `onEvent` on `reactor` with whatever happens to it until the descriptor is closed.
    ///
    /// `onEvent` runs between the reactor's other jobs and must not block. Cost: a message for each event.
    ///
    /// - Throws: as ``open(_:mode:)``.
    public func open(
        _ name: String, mode: BdevDescriptor.Mode = .readOnly, on reactor: Reactor,
        onEvent: @escaping @Sendable (isolated LocalReactor, BdevEvent) -> Void
    ) async throws(BdevError) -> BdevDescriptor {
        try await open(name, mode, EventListener(reactor: reactor, body: onEvent))
    }

    /// Opens a bdev, waiting for up to `limit` until it can be opened (SPDK: `spdk_bdev_open_async`): tries at once,
    /// again when something has changed, and at least every 100 ms. Whatever refuses the open is waited for: that there
    /// is no such bdev, that it is leaving, that it has been claimed.
    ///
    /// `limit`: 0 tries once, and throws what ``open(_:mode:)`` throws.
    /// - Throws: `timedOut`, with the last refusal in its words; `closed` when the engine stops; `aborted` when the
    ///   task is cancelled, which is noticed within 100 ms.
    public func open(
        _ name: String, mode: BdevDescriptor.Mode = .readOnly, waitingUpTo limit: Duration
    ) async throws(BdevError) -> BdevDescriptor {
        let deadline = home.loop.clock.instant.advanced(by: limit)
        while true {
            if isStopping { throw BdevError(.closed, bdev: name, "cannot open: the engine is stopping") }
            let refusal: BdevError
            do throws(BdevError) { return try await open(name, mode, nil) } catch { refusal = error }
            if limit <= .zero { throw refusal }
            if Task.isCancelled { throw BdevError(.aborted, bdev: name, "the open was cancelled") }
            let left = home.loop.clock.instant.duration(to: deadline)
            if left <= .zero {
                throw BdevError(.timedOut, bdev: name, "could not open it within \(limit): \(refusal.message)")
            }
            await changes.wait(atMost: min(left, .milliseconds(100)))
        }
    }

    /// Opens a bdev, calls `body` with it and closes it again, whatever `body` does: an engine that stops waits for
    /// every bdev that is open.
    ///
    /// `body` runs where the caller does.
    /// - Throws: as ``open(_:mode:)``, and what `body` throws.
    public nonisolated func withDescriptor<Result>(
        of name: String, mode: BdevDescriptor.Mode = .readOnly, _ body: (BdevDescriptor) async throws -> Result
    ) async throws -> Result {
        let descriptor = try await open(name, mode: mode)
        do {
            let result = try await body(descriptor)
            await descriptor.close()
            return result
        } catch {
            await descriptor.close()
            throw error
        }
    }

    func open(
        _ name: String, _ mode: BdevDescriptor.Mode, _ listener: EventListener?
    ) async throws(BdevError) -> BdevDescriptor {
        let bdev = try find(name)
        let descriptor = BdevDescriptor(bdev: bdev, mode: mode, listener: listener)
        try await bdev.add(descriptor)
        return descriptor
    }

    // MARK: All of them

    /// Those that no module has claimed: the tops of all stacks, in the order of registration.
    public func leaves() async -> [BdevInfo] { await list().filter(\.claims.isEmpty) }

    /// Calls `body` for one bdev after the other, in the order of registration, with a read-only descriptor that is
    /// closed when `body` returns (SPDK: `spdk_for_each_bdev`, `spdk_for_each_bdev_leaf`).
    ///
    /// Visits the bdevs that ``list()`` would show now; those that have begun to go away when their turn comes are left
    /// out. `body` runs where the caller does.
    ///
    /// `unclaimedOnly`: leaves out those that are claimed when their turn comes.
    /// - Throws: what `body` throws, and ends there.
    public nonisolated func forEachBdev<Failure: Error>(
        unclaimedOnly: Bool = false, _ body: (BdevDescriptor) async throws(Failure) -> Void
    ) async throws(Failure) {
        for bdev in await listed() {
            guard let descriptor = await visit(bdev, unclaimedOnly) else { continue }
            do throws(Failure) {
                try await body(descriptor)
            } catch {
                await descriptor.close()
                throw error
            }
            await descriptor.close()
        }
    }

    private func listed() async -> [RegisteredBdev] {
        var result: [RegisteredBdev] = []
        for bdev in bdevs {
            if await bdev.isAnnounced { result.append(bdev) }
        }
        return result
    }

    private func visit(_ bdev: RegisteredBdev, _ unclaimedOnly: Bool) async -> BdevDescriptor? {
        if unclaimedOnly, await !bdev.claims.isEmpty { return nil }
        let descriptor = BdevDescriptor(bdev: bdev, mode: .readOnly)
        do { try await bdev.add(descriptor) } catch { return nil }
        return descriptor
    }
}
