import Reactors

extension BdevEngine {
    // MARK: Registering

    /// Everything or nothing: what is checked and what is entered is one step. Then has the bdev examined.
    func add(_ properties: BdevProperties, driver: any BdevDriver, module: String) async throws(BdevError) {
        let bdev = try enter(properties, driver, module)
        let examiners = examiners(of: bdev)
        changes.signal()
        await examine(bdev, by: examiners)
        if await bdev.announce() { hub.send(.registered(bdev.name)) }
    }

    private func enter(
        _ properties: BdevProperties, _ driver: any BdevDriver, _ module: String
    ) throws(BdevError) -> RegisteredBdev {
        let name = properties.name
        if isStopping { throw BdevError(.closed, bdev: name, "cannot register a bdev: the engine is stopping") }
        guard let entry = modules.first(where: { $0.name == module }), entry.phase != .stopping else {
            throw BdevError(.closed, bdev: name, "cannot register a bdev: module '\(module)' has been stopped")
        }
        if name.isEmpty { throw BdevError(.invalidArgument, "a bdev needs a name") }
        var complete = properties
        complete.geometry.fillInDefaults()
        try complete.geometry.validate(name: name)
        let uuid = properties.uuid ?? BdevUUID(random: home.backend.randomWord(), home.backend.randomWord())
        let all = Set([name, uuid.description] + properties.aliases)
        for candidate in all.sorted() {
            if candidate.isEmpty { throw BdevError(.invalidArgument, bdev: name, "an alias cannot be empty") }
            if let other = names[candidate] { throw taken(candidate, by: other, for: name) }
        }
        complete.aliases = all.subtracting([name]).sorted()
        let bdev = RegisteredBdev(
            complete, uuid: uuid, module: entry.module, driver: driver, changes: changes, logger: logger,
            reactors: reactors)
        bdevs.append(bdev)
        for candidate in all { names[candidate] = bdev }
        return bdev
    }

    private func taken(_ candidate: String, by other: RegisteredBdev, for name: String) -> BdevError {
        BdevError(
            .nameInUse, bdev: name, "'\(candidate)' is a name or alias of bdev '\(other.name)' already",
            advice: "choose another name, alias or UUID")
    }

    // MARK: Aliases

    /// Gives a bdev another name.
    ///
    /// - Throws: `noSuchBdev`, `nameInUse`, `invalidArgument` for an empty one.
    public func addAlias(_ alias: String, to name: String) async throws(BdevError) {
        let bdev = try find(name)
        if alias.isEmpty { throw BdevError(.invalidArgument, bdev: name, "an alias cannot be empty") }
        if let other = names[alias] { throw taken(alias, by: other, for: name) }
        names[alias] = bdev
        changes.signal()
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

    /// Takes every alias from a bdev, that of its UUID too.
    ///
    /// - Throws: `noSuchBdev`.
    public func removeAllAliases(of name: String) async throws(BdevError) {
        let bdev = try find(name)
        let aliases = names.filter { $0.value === bdev && $0.key != bdev.name }.map(\.key)
        for alias in aliases { names[alias] = nil }
        for alias in aliases { await bdev.removeAlias(alias) }
    }
}
