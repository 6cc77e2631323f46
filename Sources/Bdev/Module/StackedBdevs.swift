import Reactors

/// The bdevs that a module makes on others: what every module that stands on a base needs, and none should write again.
///
/// It remembers what is to be made on which base. When the base is there the bdevs are made at once, otherwise when it
/// is registered: the base is opened and claimed (`exclusiveWrite`), the bdevs are registered. When the base is
/// removed they are, and made again when it comes back; when it is resized they follow. What fails half-way is undone
/// whole.
///
/// An actor on the engine's reactor; control work. ``StackedBdevModule`` connects it with the engine.
public actor StackedBdevs {
    /// What is made on a base that has been opened and claimed. Called again when the base has gone and come back.
    public typealias Make = @Sendable (BdevDescriptor) async throws(BdevError) -> [StackedBdev]

    private let slot = HostSlot()

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe slot.value.engine.unownedExecutor }

    /// In the order they were asked for.
    private var stacks: [Stack] = []
    private var isStopping = false

    private var engine: BdevEngine { slot.value.engine }

    public init() {}

    /// The module has been started.
    public nonisolated func start(_ host: BdevModuleHost) { slot.fill(host) }

    // MARK: Asking for them

    /// Makes bdevs on a base: now if the base is there, or whenever it comes.
    ///
    /// - Parameters:
    ///   - name: what ``delete(_:)`` knows them by, and the claim's label: the bdev's name, when it is one bdev.
    ///   - base: its name, an alias or its UUID.
    ///   - make: what is made there.
    /// - Returns: whether the bdevs are there now; false: the base is not there yet.
    /// - Throws: `nameInUse` when this module has been asked for bdevs of this name before, `closed` when the module is
    ///   being stopped, `claimed` when somebody else has the base, what `make` throws, what registering throws. Nothing
    ///   is left or remembered then.
    @discardableResult
    public func create(_ name: String, on base: String, make: @escaping Make) async throws(BdevError) -> Bool {
        try await build(try enter(name, on: base, comesBack: true, make))
    }

    /// Makes bdevs on a base that is there, with something in them that no base brings back: they are removed with it,
    /// and forgotten.
    ///
    /// - Parameters: as ``create(_:on:make:)``. `make` may call ``addBase(_:to:label:)``.
    /// - Throws: as ``create(_:on:make:)``; `noSuchBdev`, and `removed` when a base, or what was made, has been removed
    ///   before all of it was there. Nothing is left then.
    public func createOnce(_ name: String, on base: String, make: @escaping Make) async throws(BdevError) {
        let stack = try enter(name, on: base, comesBack: false, make)
        if try await build(stack) { return }
        while stack.state != .gone { await engine.changes.wait() }
        throw BdevError(.removed, bdev: name, "the bdev, or what it stands on, was removed while it was made")
    }

    private func enter(
        _ name: String, on base: String, comesBack: Bool, _ make: @escaping Make
    ) throws(BdevError) -> Stack {
        if isStopping { throw BdevError(.closed, bdev: name, "cannot make a bdev: its module is being stopped") }
        if let other = stacks.first(where: { $0.name == name }) {
            throw BdevError(
                .nameInUse, bdev: name, "bdevs of this name are to be made on '\(other.base)' already",
                advice: "delete them first, or choose another name")
        }
        let stack = Stack(
            name: name, base: BdevUUID(base)?.description ?? base, comesBack: comesBack, make: make)
        stacks.append(stack)
        return stack
    }

    /// Opens and claims (`exclusiveWrite`) a further bdev that the bdevs of a name stand on: they go when it goes, and
    /// it is closed when they have been destroyed. Called by what ``createOnce(_:on:make:)`` was given.
    ///
    /// `label`: the claim's.
    /// - Throws: `noSuchBdev`, `removed`, `claimed`.
    public func addBase(_ base: String, to name: String, label: String) async throws(BdevError) -> BdevDescriptor {
        guard let stack = stacks.first(where: { $0.name == name }), stack.state == .building, !stack.comesBack else {
            preconditionFailure("a further base of '\(name)' is added while it is made, and if it does not come back")
        }
        let descriptor = try await open(base, for: stack)
        // Closed with the others, whatever comes.
        stack.descriptors.append(descriptor)
        try await slot.value.claim(descriptor, .exclusiveWrite, label: label)
        return descriptor
    }

    /// Removes the bdevs of a name, also while their base goes, and forgets that they were asked for. Waits until
    /// everyone has closed them, and lets go of the base.
    ///
    /// - Throws: `noSuchBdev` when this module has not been asked for any of this name, `busy` when they are being
    ///   deleted already.
    public func delete(_ name: String) async throws(BdevError) {
        guard let stack = stacks.first(where: { $0.name == name }) else {
            throw BdevError(.noSuchBdev, bdev: name, "this module has made no bdev of this name")
        }
        if stack.isForgotten { throw BdevError(.busy, bdev: name, "it is being deleted already") }
        stack.isForgotten = true
        switch stack.state {
        case .waiting: await letGo(stack)
        case .standing: removeBdevs(of: stack)
        // Whoever is at it sees that it is forgotten.
        case .building, .going, .gone: break
        }
        while stack.state != .gone { await engine.changes.wait() }
    }

    /// The driver of a bdev that is there, for what is asked of it besides I/O.
    ///
    /// - Throws: `noSuchBdev` when no bdev of that name, with such a driver, was made here.
    public func driver<Driver: BdevDriver>(
        of name: String, as type: Driver.Type = Driver.self
    ) throws(BdevError) -> Driver {
        for stack in stacks {
            if let bdev = stack.bdevs.first(where: { $0.properties.name == name }), let driver = bdev.driver as? Driver
            {
                return driver
            }
        }
        throw BdevError(.noSuchBdev, bdev: name, "there is no bdev of this name that this module has made")
    }

    // MARK: What the engine says

    /// A bdev can be examined: it may be the base that something waits for.
    ///
    /// - Throws: the first failure of what was to be made on it. It is tried again when the base comes again.
    public func examine(_ bdev: BdevInfo) async throws(BdevError) {
        var failure: BdevError?
        for stack in stacks where stack.base == bdev.name || bdev.aliases.contains(stack.base) {
            if stack.state != .waiting { continue }
            do throws(BdevError) { try await build(stack) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    /// Nothing is made any more; what waits for a base is forgotten.
    public func stop() async {
        isStopping = true
        stacks.removeAll { $0.state == .waiting }
    }

    // MARK: Making them

    @discardableResult
    private func build(_ stack: Stack) async throws(BdevError) -> Bool {
        stack.state = .building
        stack.round += 1
        stack.isBaseGoing = false
        do throws(BdevError) {
            stack.descriptors = [try await open(stack.base, for: stack)]
        } catch {
            // A base that is going comes back later or never.
            let isAbsent = stack.comesBack && (error.code == .noSuchBdev || error.code == .removed)
            if isAbsent { stack.isNew = false }
            await letGo(stack)
            if isAbsent { return false }
            throw error
        }
        do throws(BdevError) {
            try await makeBdevs(of: stack)
        } catch {
            removeBdevs(of: stack)
            while stack.state == .going { await engine.changes.wait() }
            throw error
        }
        stack.isNew = false
        stack.state = .standing
        // All of that may have happened meanwhile.
        if stack.bdevs.isEmpty && !stack.isBaseGoing { stack.isForgotten = true }
        if stack.bdevs.isEmpty || stack.isBaseGoing || stack.isForgotten || isStopping {
            removeBdevs(of: stack)
            return false
        }
        await followSize(of: stack)
        return true
    }

    private func open(_ base: String, for stack: Stack) async throws(BdevError) -> BdevDescriptor {
        let home = engine.home, round = stack.round
        return try await engine.open(base, on: home) { _, event in
            Task(executorPreference: home.taskExecutor) { await self.baseChanged(stack, round, event) }
        }
    }

    private func makeBdevs(of stack: Stack) async throws(BdevError) {
        let base = stack.descriptors[0]
        let host = slot.value
        try await host.claim(base, .exclusiveWrite, label: stack.name)
        for bdev in try await stack.make(base) {
            let name = bdev.properties.name
            let driver = StackedDriver(bdev.driver) { await self.lost(name, of: stack) }
            // It may be removed before it is registered to the end.
            stack.bdevs.append(bdev)
            do throws(BdevError) {
                try await host.register(bdev.properties, driver: driver)
            } catch {
                stack.bdevs.removeAll { $0.properties.name == name }
                throw error
            }
        }
    }

    // MARK: What happens to them

    private func baseChanged(_ stack: Stack, _ round: Int, _ event: BdevEvent) async {
        if stack.round != round { return }
        switch event {
        case .removed:
            stack.isBaseGoing = true
            if !stack.comesBack { stack.isForgotten = true }
            // One that is being made looks for itself when it is done.
            if stack.state == .standing { removeBdevs(of: stack) }
        case .resized: await followSize(of: stack)
        case .mediaManagement: break
        }
    }

    /// As often as the base changes: the last call finds its last size.
    private func followSize(of stack: Stack) async {
        guard stack.state == .standing, let base = stack.descriptors.first else { return }
        for bdev in stack.bdevs {
            guard let blockCount = bdev.blockCount?(base.blockCount) else { continue }
            // Only fails when the bdev is going.
            try? await slot.value.resize(bdev.properties.name, blockCount: blockCount)
        }
    }

    /// Begins to remove all that is left; the last to be destroyed lets the base go.
    private func removeBdevs(of stack: Stack) {
        stack.state = .going
        let names = stack.bdevs.map(\.properties.name)
        // Each in a task of its own, so that those who use one are not kept waiting by those who use another.
        for name in names {
            Task(executorPreference: engine.home.taskExecutor) { await self.remove(name, of: stack) }
        }
        if names.isEmpty { Task(executorPreference: engine.home.taskExecutor) { await self.letGo(stack) } }
    }

    private func remove(_ name: String, of stack: Stack) async {
        // Once it has been destroyed there may be another of its name.
        guard stack.bdevs.contains(where: { $0.properties.name == name }) else { return }
        // Only fails when it is going already.
        try? await slot.value.unregister(name)
    }

    /// A bdev has been destroyed, whoever has removed it.
    private func lost(_ name: String, of stack: Stack) async {
        stack.bdevs.removeAll { $0.properties.name == name }
        if !stack.bdevs.isEmpty || stack.state == .building { return }
        // Somebody has removed the bdev itself, while its base stays: he does not want it.
        if stack.state == .standing && !stack.isBaseGoing { stack.isForgotten = true }
        await letGo(stack)
    }

    /// Nothing stands on the base any more.
    private func letGo(_ stack: Stack) async {
        stack.state = .going
        let bases = stack.descriptors
        stack.descriptors = []
        if stack.isForgotten || stack.isNew || isStopping {
            for base in bases { await base.close() }
            stack.state = .gone
            stacks.removeAll { $0 === stack }
        } else {
            // Before the base is closed: it may be back at once.
            stack.state = .waiting
            for base in bases { await base.close() }
        }
        engine.changes.signal()
    }
}
