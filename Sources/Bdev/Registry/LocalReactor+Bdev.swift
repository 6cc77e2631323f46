import Reactors

/// The layer's part of each reactor: which bdevs have a channel there.
extension LocalReactor {
    /// The channel core of `bdev` on this reactor, made at the first call, with one more user.
    func acquireChannel(_ bdev: RegisteredBdev) async throws(BdevError) -> ChannelCore {
        let pool = try RequestPool.of(self)
        if let core = pool.channel(for: bdev) { return core.retained() }
        let scratch = try pool.scratch(of: bdev.moduleName, byteCount: bdev.scratchByteCount)
        let module = try await bdev.driver.makeChannel(on: self, requests: RequestTable(pool: pool, bdev: bdev))
        // Somebody else may have made it while the module worked.
        if let core = pool.channel(for: bdev)?.retained() {
            // Its last other user may be gone by the time this one is closed.
            await module.close()
            return core
        }
        let core = ChannelCore(
            bdev: bdev, module: module, pool: pool, gate: pool.gate(for: bdev), scratch: scratch)
        pool.add(core)
        return core.retained()
    }

    func releaseChannel(_ core: ChannelCore) async {
        core.userCount -= 1
        if core.userCount > 0 { return }
        if let base = core.base {
            base.layers.removeAll { $0 === core }
            await core.module.close()
            return await releaseChannel(base)
        }
        core.pool.remove(core)
        core.stopLimiting()
        core.bdev.ledger.retire(core)
        await core.module.close()
    }

    func existingChannel(_ bdev: RegisteredBdev) -> ChannelCore? {
        (loop.attachment as? RequestPool)?.channel(for: bdev)
    }

    func stopAccepting(_ bdev: RegisteredBdev) { existingChannel(bdev)?.stopAccepting() }

    func adopt(blockCount: UInt64, of bdev: RegisteredBdev) { existingChannel(bdev)?.adopt(blockCount) }
}

extension ChannelCore {
    func retained() -> ChannelCore {
        userCount += 1
        return self
    }

    func adopt(_ blockCount: UInt64) {
        self.blockCount = blockCount
        for layer in layers { layer.adopt(blockCount) }
    }

    /// The bdev is going away: new I/O is refused, what waits for the device is given up, what the device has finishes
    /// by itself.
    func stopAccepting() {
        for layer in layers { layer.stopAccepting() }
        accepted = []
        abortWaiting()
    }
}
