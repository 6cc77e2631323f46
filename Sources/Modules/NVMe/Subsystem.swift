import Bdev
import Logging
import NVMeDriver
import Reactors

/// The controllers that are attached under one name, which are paths to one subsystem, and the bdevs of its namespaces.
///
/// An actor on the engine's reactor; control work. Whatever happens to a controller has it looked at as it is then, so
/// that no order of events matters.
actor Subsystem {
    nonisolated let name: String
    nonisolated let home: Reactor
    nonisolated let logger: Logger
    nonisolated let host: BdevModuleHost
    nonisolated let options: NVMeModule.Options
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }

    var paths: [ControllerPath] = []
    /// By the namespaces' identifiers.
    var bdevs: [UInt32: NamespaceBdev] = [:]
    /// On their way out: whoever has them open is waited for.
    var leaving: Set<UInt32> = []
    /// CNTLID of the path that is preferred.
    var preferred: UInt16?
    /// Being looked at, and whether once more after that.
    private var looks: [ObjectIdentifier: Bool] = [:]
    /// Told when the last path and the last bdev are gone.
    private let whenEmpty: @Sendable (Subsystem) -> Void

    init(
        _ name: String, host: BdevModuleHost, options: NVMeModule.Options, logger: Logger,
        whenEmpty: @escaping @Sendable (Subsystem) -> Void
    ) {
        self.name = name
        self.host = host
        self.options = options
        self.logger = logger
        self.whenEmpty = whenEmpty
        home = host.engine.reactors[0]
    }

    // MARK: Attaching

    /// Adds a controller that is ready, and makes its bdevs. Their names, those with other paths too.
    ///
    /// - Throws: `invalidArgument` when it is no other path to the same subsystem; what registering throws. Nothing has
    ///   changed then, and the controller is the caller's.
    func add(
        _ controller: NVMeController, _ attach: NVMeModule.AttachOptions, connector: NVMeModule.Connector?
    ) async throws(BdevError) -> [String] {
        let identity = await controller.identity
        if let wanted = attach.subsystemName, wanted != identity.subsystemName {
            throw BdevError(
                .invalidArgument, "the controller is of subsystem '\(identity.subsystemName)', not of '\(wanted)'")
        }
        if let other = paths.first?.controller { try await requireSame(identity, as: other) }
        if paths.contains(where: { $0.controllerID == identity.controllerID }) {
            throw BdevError(
                .invalidArgument,
                "controller \(identity.controllerID) of the subsystem is attached as '\(name)' already")
        }
        let path = ControllerPath(
            controller, controllerID: identity.controllerID, recovery: attach.recovery ?? options.recovery,
            checks: attach.checks, connector: connector)
        paths.append(path)
        do throws(BdevError) {
            try await match(path, controller, isFirst: true)
        } catch {
            await withdraw(path)
            paths.removeAll { $0 === path }
            throw error
        }
        let names = bdevs.values.filter { bdev in bdev.table.entries.contains { $0.path === path } }.map(\.name)
        if names.count > attach.bdevCountLimit {
            await withdraw(path)
            paths.removeAll { $0 === path }
            throw BdevError(
                .invalidArgument,
                "the controller has \(names.count) namespaces, more than the \(attach.bdevCountLimit) allowed",
                advice: "allow more bdevs")
        }
        await listen(to: controller, as: path)
        // What has happened since it was looked at.
        notice(path)
        return names.sorted()
    }

    private func requireSame(_ identity: IdentifyController, as other: NVMeController) async throws(BdevError) {
        let known = await other.identity
        if identity.subsystemName != known.subsystemName || identity.subsystemName.isEmpty {
            throw BdevError(
                .invalidArgument,
                "the controller is of subsystem '\(identity.subsystemName)', and '\(name)' is '\(known.subsystemName)'",
                advice: "attach it under another name")
        }
        if !identity.hasMultipleControllers || !known.hasMultipleControllers {
            throw BdevError(
                .invalidArgument, "the subsystem of '\(name)' has but one controller: there are no other paths")
        }
    }

    func listen(to controller: NVMeController, as path: ControllerPath) async {
        await controller.onEvent { [weak self] event in
            if case .health = event { return }
            self?.notice(path)
        }
    }

    // MARK: Looking

    /// Something has happened to a path. From any thread.
    nonisolated func notice(_ path: ControllerPath) {
        Task(executorPreference: home.taskExecutor) { await self.look(at: path) }
    }

    private func look(at path: ControllerPath) async {
        let key = ObjectIdentifier(path)
        if looks[key] != nil {
            looks[key] = true
            return
        }
        repeat {
            looks[key] = false
            await follow(path)
        } while looks[key] == true
        looks[key] = nil
    }

    private func follow(_ path: ControllerPath) async {
        guard paths.contains(where: { $0 === path }), let controller = path.controller else { return }
        let state = await controller.state
        if path.controller !== controller { return }
        switch state {
        case .resetting:
            path.set(.resetting)
            await synchronize()
        case .failed, .removed: await lost(path, isRemoved: state == .removed)
        case .ready:
            path.set(.connected)
            do throws(BdevError) {
                try await match(path, controller, isFirst: false)
            } catch {
                // As the engine stops, nothing is made any more.
                if error.code != .closed { logger.warning("\(name): \(error)") }
            }
        case .starting, .shuttingDown, .detached: return
        }
    }

    /// Has every bdev look at its paths.
    func synchronize() async { for bdev in Array(bdevs.values) { await bdev.synchronize() } }

    // MARK: Resets

    /// Resets one controller, or brings it back when it is lost. Whether it works then.
    func reset(_ path: ControllerPath) async -> Bool {
        guard let controller = path.controller else {
            return path.canReconnect && path.phase != .gone && path.phase != .disabled ? await reconnect(path) : false
        }
        do throws(NVMeError) {
            try await controller.reset()
        } catch {
            logger.warning("\(name): \(error)")
            return false
        }
        await look(at: path)
        return true
    }

    /// Resets all controllers at once, by the first that can. Whether it works then; the others' users notice.
    func resetSubsystem() async -> Bool {
        for path in paths {
            guard let controller = path.controller, controller.capabilities.canResetSubsystem else { continue }
            do throws(NVMeError) {
                try await controller.resetSubsystem()
                await look(at: path)
                return true
            } catch {
                logger.warning("\(name): \(error)")
            }
        }
        return false
    }

    // MARK: Detaching

    /// Takes one path away, or all: bdevs without another are removed, which waits until everyone has closed them; then
    /// the controllers are given back.
    func detach(_ chosen: [ControllerPath]) async {
        let rest = paths.filter { path in !chosen.contains { $0 === path } }
        let orphans = bdevs.filter { _, bdev in
            !bdev.table.entries.contains { entry in rest.contains { $0 === entry.path } }
        }
        await remove(orphans)
        for path in chosen where paths.contains(where: { $0 === path }) { await drop(path) }
        while !leaving.isEmpty { await pause(.milliseconds(5)) }
        endIfEmpty()
    }

    /// A path is given up.
    func drop(_ path: ControllerPath) async {
        paths.removeAll { $0 === path }
        await withdraw(path)
        let controller = path.lose(.gone)
        await controller?.onEvent(nil)
        await controller?.detach()
        // What was under way has ended with that.
        await synchronize()
        await remove(bdevs.filter { $0.value.table.entries.isEmpty })
        endIfEmpty()
    }

    private func endIfEmpty() { if paths.isEmpty && bdevs.isEmpty && leaving.isEmpty { whenEmpty(self) } }

    /// How long what is under way on a path that is taken away may take to end by itself.
    private static let drainLimit = 1000

    /// Takes a path from all bdevs, and gives what is under way on it a second to end.
    private func withdraw(_ path: ControllerPath) async {
        var touched: [NamespaceBdev] = []
        for bdev in bdevs.values where bdev.table.entries.contains(where: { $0.path === path }) {
            bdev.change { $0.entries.removeAll { $0.path === path } }
            touched.append(bdev)
        }
        for bdev in touched {
            for _ in 0..<Self.drainLimit {
                if await bdev.synchronize() || path.controller == nil { break }
                await pause(.milliseconds(1))
            }
        }
        await remove(bdevs.filter { $0.value.table.entries.isEmpty })
    }

    /// Removes bdevs, without waiting for those who have them open.
    func remove(_ chosen: [UInt32: NamespaceBdev]) async {
        for (id, bdev) in chosen where bdevs[id] === bdev {
            bdevs[id] = nil
            leaving.insert(id)
            Task(executorPreference: home.taskExecutor) { await self.unregister(bdev, id) }
        }
    }

    private func unregister(_ bdev: NamespaceBdev, _ id: UInt32) async {
        try? await host.unregister(bdev.name)
        leaving.remove(id)
        // There may be another of that number meanwhile.
        for path in paths { notice(path) }
        endIfEmpty()
    }

    /// A bdev has been removed, by whomever.
    func bdevIsGone(_ bdev: NamespaceBdev) {
        for (id, known) in bdevs where known === bdev { bdevs[id] = nil }
        endIfEmpty()
    }

    func pause(_ duration: Duration) async {
        await home.run { local in try? await local.sleep(for: duration) }
    }
}
