/// A module that an engine has taken in.
final class ModuleEntry {
    enum Phase {
        /// It may register bdevs, and is not asked to examine any.
        case starting
        /// Asked to examine, if it is a virtual one.
        case active
        /// Asked for nothing, and refused when it registers bdevs.
        case stopping
    }

    let module: any BdevModule
    var phase = Phase.starting
    /// The module, if it can build on the bdevs of others.
    let virtual: (any VirtualBdevModule)?
    var name: String { module.name }

    init(_ module: any BdevModule) {
        self.module = module
        virtual = module as? any VirtualBdevModule
    }
}

extension BdevEngine {
    // MARK: Starting

    /// Takes one module in and starts it. As ``start(_:)`` of a list of one.
    public func register(_ module: some BdevModule) async throws(BdevError) { try await start([module]) }

    /// Takes modules in and starts them: first the virtual ones, in the reverse of the order given, then the others in
    /// the order given. A virtual module examines the bdevs that are there when it has started. Then waits until every
    /// examination is over, and calls `startCompleted` of each.
    ///
    /// Not from inside a module's examination: it would wait for itself.
    ///
    /// - Throws: `nameInUse` when there is a module of one of the names, `closed` after ``stop()``, and what a module's
    ///   start throws. Everything that was started by this call has been undone then, in reverse, and the bdevs made
    ///   by it are gone.
    public func start(_ modules: [any BdevModule]) async throws(BdevError) {
        if isStopping { throw stopping(modules.first?.name) }
        var taken = Set(self.modules.map(\.name))
        for module in modules where !taken.insert(module.name).inserted {
            throw BdevError(.nameInUse, "a module named '\(module.name)' is registered already")
        }
        let entries = modules.map(ModuleEntry.init)
        let order = entries.filter { $0.virtual != nil }.reversed() + entries.filter { $0.virtual == nil }
        self.modules = order.filter { $0.virtual != nil } + self.modules + order.filter { $0.virtual == nil }
        startCount += 1
        var started: [ModuleEntry] = []
        do throws(BdevError) {
            for entry in order {
                try await entry.module.start(BdevModuleHost(engine: self, module: entry.name))
                started.append(entry)
                if isStopping { throw stopping(entry.name) }
                await activate(entry)
            }
            await waitForExamine()
            for entry in order { await entry.module.startCompleted() }
        } catch {
            await shutDown(order, started: started)
            finishStart()
            throw error
        }
        finishStart()
    }

    private func finishStart() {
        startCount -= 1
        changes.signal()
    }

    private func stopping(_ module: String?) -> BdevError {
        BdevError(.closed, "cannot start \(module.map { "module '\($0)'" } ?? "modules"): the engine is stopping")
    }

    // MARK: Stopping

    /// Ends everything, in this order: opens that wait fail with `closed`; examinations end; modules are told by
    /// `willStop`, in the reverse of their order; bdevs are removed, the newest that nobody has claimed first; modules
    /// are stopped, in the reverse of their order.
    ///
    /// Waits until whoever has a bdev open has closed it. A second call waits for the first.
    public func stop() async {
        if isStopping {
            while !hasStopped { await changes.wait() }
            return
        }
        isStopping = true
        changes.signal()
        while startCount > 0 { await changes.wait() }
        await shutDown(modules, started: modules)
        hasStopped = true
        hub.finish()
        changes.signal()
    }

    /// Stops `started` and removes the bdevs of `entries`, which are those and perhaps more; both in the order of the
    /// list.
    private func shutDown(_ entries: [ModuleEntry], started: [ModuleEntry]) async {
        await waitForExamine()
        // Asked for nothing from here on, and refused when they ask.
        for entry in entries { entry.phase = .stopping }
        for entry in started.reversed() { await entry.module.willStop() }
        await removeBdevs(of: entries)
        for entry in started.reversed() { await entry.module.stop() }
        modules.removeAll { entry in entries.contains { $0 === entry } }
    }

    private func removeBdevs(of entries: [ModuleEntry]) async {
        let owners = Set(entries.map(\.name))
        while let next = await nextToRemove(of: owners) {
            // Another removal may have begun meanwhile.
            do { try await takeAway(next) } catch { continue }
        }
    }

    /// The newest bdev that nobody has claimed, or once none of those is left or leaving, the newest. nil when all are
    /// gone.
    private func nextToRemove(of owners: Set<String>) async -> RegisteredBdev? {
        while true {
            var claimed: RegisteredBdev?
            for bdev in bdevs.reversed() where owners.contains(bdev.moduleName) && !bdev.isRemoved {
                if await bdev.claims.isEmpty { return bdev }
                claimed = claimed ?? bdev
            }
            if !leaving.contains(where: { owners.contains($0.moduleName) }) { return claimed }
            await changes.wait()
        }
    }
}
