public import Reactors

/// The bdevs of a process: modules that make them, the one name space they share, and the way to open them.
///
/// An actor on the first of its reactors. Everything here is control work; nothing of it is on the path of an I/O.
public actor BdevEngine {
    /// Where channels can be opened.
    public nonisolated let reactors: [Reactor]
    nonisolated let home: Reactor

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }

    private var modules: [any BdevModule] = []
    /// By name and by alias; the UUID's text is one.
    private var names: [String: RegisteredBdev] = [:]
    /// In the order of registration.
    private var bdevs: [RegisteredBdev] = []
    private var isStopping = false
    /// Bdevs on their way out.
    private var removalCount = 0
    private let changes: ChangeSignal

    /// - Parameter reactors: at least one. The engine's own work is done on the first.
    public init(reactors: [Reactor]) {
        precondition(!reactors.isEmpty, "a bdev engine needs at least one reactor")
        self.reactors = reactors
        home = reactors[0]
        changes = ChangeSignal(home: reactors[0])
    }

    public init(group: ReactorGroup) { self.init(reactors: group.reactors) }

    // MARK: Modules

    /// Takes a module in and starts it.
    ///
    /// - Throws: `nameInUse` when there is a module of that name, `closed` after ``stop()``, and what the module's
    ///   start throws; the module is not taken in then.
    public func register(_ module: some BdevModule) async throws(BdevError) {
        if isStopping { throw BdevError(.closed, "cannot register module '\(module.name)': the engine is stopping") }
        if modules.contains(where: { $0.name == module.name }) {
            throw BdevError(.nameInUse, "a module named '\(module.name)' is registered already")
        }
        modules.append(module)
        do {
            try await module.start(BdevModuleHost(engine: self, module: module.name))
        } catch {
            modules.removeAll { $0 === module }
            throw error
        }
    }

    /// Removes every bdev, newest first, and stops the modules in reverse order. Waits until whoever has a bdev open
    /// has closed it.
    public func stop() async {
        if isStopping { return }
        isStopping = true
        while let last = bdevs.last {
            do { try await takeAway(last) } catch { await changes.wait() }
        }
        while removalCount > 0 { await changes.wait() }
        for module in modules.reversed() { await module.stop() }
        modules = []
    }

    // MARK: Names

    func add(_ properties: BdevProperties, driver: any BdevDriver, module: String) throws(BdevError) {
        let name = properties.name
        if isStopping { throw BdevError(.closed, bdev: name, "cannot register a bdev: the engine is stopping") }
        if name.isEmpty { throw BdevError(.invalidArgument, "a bdev needs a name") }
        try properties.geometry.validate(name: name)
        let uuid = properties.uuid ?? BdevUUID(random: home.backend.randomWord(), home.backend.randomWord())
        let all = Set([name, uuid.description] + properties.aliases)
        for candidate in all.sorted() {
            if candidate.isEmpty { throw BdevError(.invalidArgument, bdev: name, "an alias cannot be empty") }
            if let other = names[candidate] {
                throw BdevError(
                    .nameInUse, bdev: name, "'\(candidate)' is a name or alias of bdev '\(other.name)' already",
                    advice: "choose another name, alias or UUID")
            }
        }
        var complete = properties
        complete.aliases = all.subtracting([name]).sorted()
        let bdev = RegisteredBdev(complete, uuid: uuid, module: module, driver: driver, changes: changes, home: home)
        bdevs.append(bdev)
        for candidate in all { names[candidate] = bdev }
    }

    /// Gives a bdev another name.
    ///
    /// - Throws: `noSuchBdev`, `nameInUse`, `invalidArgument` for an empty one.
    public func addAlias(_ alias: String, to name: String) async throws(BdevError) {
        let bdev = try find(name)
        if alias.isEmpty { throw BdevError(.invalidArgument, bdev: name, "an alias cannot be empty") }
        if let other = names[alias] {
            throw BdevError(.nameInUse, bdev: name, "'\(alias)' is a name or alias of bdev '\(other.name)' already")
        }
        names[alias] = bdev
        await bdev.insertAlias(alias)
    }

    /// - Throws: `noSuchBdev` when `alias` is no alias, or is a bdev's name.
    public func removeAlias(_ alias: String) async throws(BdevError) {
        guard let bdev = names[alias], bdev.name != alias else {
            throw BdevError(.noSuchBdev, "'\(alias)' is no alias of any bdev")
        }
        names[alias] = nil
        await bdev.removeAlias(alias)
    }

    private func find(_ name: String) throws(BdevError) -> RegisteredBdev {
        if let bdev = names[name] { return bdev }
        let known = bdevs.map(\.name)
        throw BdevError(
            .noSuchBdev, bdev: name, "there is no bdev of this name or alias",
            advice: known.isEmpty ? "no bdev is registered" : "there are \(known.joined(separator: ", "))")
    }

    private func find(_ name: String, of module: String) throws(BdevError) -> RegisteredBdev {
        let bdev = try find(name)
        if bdev.moduleName == module { return bdev }
        throw BdevError(.noSuchBdev, bdev: name, "the bdev belongs to module '\(bdev.moduleName)', not to '\(module)'")
    }

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

    func open(
        _ name: String, _ mode: BdevDescriptor.Mode, _ listener: EventListener?
    ) async throws(BdevError) -> BdevDescriptor {
        let bdev = try find(name)
        let descriptor = BdevDescriptor(bdev: bdev, mode: mode, listener: listener)
        try await bdev.add(descriptor)
        return descriptor
    }

    // MARK: Going away

    func remove(_ name: String, module: String) async throws(BdevError) {
        try await takeAway(try find(name, of: module))
    }

    /// Removes a bdev, whatever module it is of. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev`; `busy` when it is on its way out already.
    public func remove(_ name: String) async throws(BdevError) { try await takeAway(try find(name)) }

    private func takeAway(_ bdev: RegisteredBdev) async throws(BdevError) {
        try await bdev.beginRemoval()
        removalCount += 1
        await stopChannels(of: bdev)
        await bdev.waitUntilClosed()
        for (name, registered) in names where registered === bdev { names[name] = nil }
        bdevs.removeAll { $0 === bdev }
        await bdev.driver.destroy()
        removalCount -= 1
        changes.signal()
    }

    private func stopChannels(of bdev: RegisteredBdev) async {
        for reactor in reactors { await reactor.local.stopAccepting(bdev) }
    }

    func resize(_ name: String, module: String, blockCount: UInt64) async throws(BdevError) {
        let bdev = try find(name, of: module)
        guard let descriptors = try await bdev.resize(blockCount) else { return }
        for reactor in reactors { await reactor.local.adopt(blockCount: blockCount, of: bdev) }
        for descriptor in descriptors { descriptor.send(.resized(blockCount: blockCount)) }
    }

    func pushMediaEvents(_ events: [MediaEvent], of name: String, module: String) async throws(BdevError) -> Int {
        try await find(name, of: module).pushMediaEvents(events)
    }

    // MARK: Looking

    /// Every bdev, in the order of registration.
    public func list() async -> [BdevInfo] {
        var result: [BdevInfo] = []
        for bdev in bdevs { result.append(await bdev.info()) }
        return result
    }

    /// - Throws: `noSuchBdev`.
    public func info(_ name: String) async throws(BdevError) -> BdevInfo { await (try find(name)).info() }

    /// What a bdev has done, on all reactors, since it was registered.
    ///
    /// - Throws: `noSuchBdev`.
    public func statistics(_ name: String) async throws(BdevError) -> IOStatistics {
        let bdev = try find(name)
        var sum = await bdev.retiredStatistics
        for reactor in reactors {
            if let part = await reactor.local.statistics(of: bdev) { sum.add(part) }
        }
        sum.ticksPerSecond = home.backend.clock.ticksPerSecond
        return sum
    }
}
