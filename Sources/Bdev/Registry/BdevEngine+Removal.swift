import Reactors

extension BdevEngine {
    // MARK: Going away

    func remove(_ name: String, module: String) async throws(BdevError) {
        try await takeAway(try find(name, of: module))
    }

    /// Removes a bdev, whatever module it is of. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev`; `busy` when it is on its way out already.
    public func remove(_ name: String) async throws(BdevError) { try await takeAway(try find(name)) }

    /// The whole way out: no new opens and I/O, what is under way settled, those who have it open told and waited for,
    /// its names given up, and the driver last. What it waits for is logged when it takes long.
    func takeAway(_ bdev: RegisteredBdev) async throws(BdevError) {
        try await bdev.beginRemoval()
        let watch = watchRemoval(of: bdev)
        leaving.append(bdev)
        changes.signal()
        // The running task is part of these: they would wait for the removal, and it for them.
        for examination in Examination.current where examination.bdev === bdev { await examination.descriptor.close() }
        await settleBeforeRemoval(bdev)
        await stopSampling(bdev)
        await bdev.waitUntilClosed()
        allowList.removeAll { names[$0] === bdev }
        names = names.filter { $0.value !== bdev }
        bdevs.removeAll { $0 === bdev }
        if await bdev.isAnnounced { hub.send(.unregistered(bdev.name)) }
        await bdev.driver.destroy()
        watch.cancel()
        leaving.removeAll { $0 === bdev }
        changes.signal()
    }

    /// Everything that has to be over before those who have the bdev open are told to close it.
    ///
    /// New I/O is refused, and what waits in the layer for the device is given up; what the device has finishes by
    /// itself. Resets and held ranges end.
    func settleBeforeRemoval(_ bdev: RegisteredBdev) async {
        for reactor in reactors { await reactor.local.stopAccepting(bdev) }
        await bdev.driver.removalBegan()
        await bdev.holds.settle()
    }

    // MARK: Other news of a module's bdev

    func resize(_ name: String, module: String, blockCount: UInt64) async throws(BdevError) {
        let bdev = try find(name, of: module)
        guard let descriptors = try await bdev.resize(blockCount) else { return }
        for reactor in reactors { await reactor.local.adopt(blockCount: blockCount, of: bdev) }
        for descriptor in descriptors { descriptor.send(.resized(blockCount: blockCount)) }
        if await bdev.isAnnounced { hub.send(.resized(bdev.name, blockCount: blockCount)) }
    }

    func pushMediaEvents(_ events: [MediaEvent], of name: String, module: String) async throws(BdevError) -> Int {
        try await find(name, of: module).pushMediaEvents(events)
    }
}
