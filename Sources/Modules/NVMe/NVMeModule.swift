public import Bdev
public import Logging
public import NVMeDriver
public import Reactors

/// Makes a bdev of each namespace of the NVMe controllers that this process drives itself.
///
/// A namespace `id` of what is attached as `Nvme0` is the bdev `Nvme0n<id>`; its UUID is the namespace's own, or its
/// NGUID, or follows from the controller's serial number. Several controllers of one subsystem that are attached under
/// the same name are paths to the same bdevs: I/O goes another way when one fails.
public final class NVMeModule: BdevModule {
    public let name = "nvme"
    /// Which buffer of the channel's own a command has.
    public let requestScratchByteCount = 4
    let host = HostSlot()
    let logger: Logger
    let state: ThreadLock<State>

    struct State {
        var options = Options()
        var subsystems: [String: Subsystem] = [:]
        var monitor: HotplugMonitor?
        /// What is used through the kernel's block devices, and who makes bdevs of those.
        var blockDevices: BlockDevices?
        var plain: [String: PlainController] = [:]
        /// Attaching, by name: one after the other.
        var attaching: Set<String> = []
        /// Names of those that are being attached because they were plugged in.
        var plugged: Set<String> = []
    }

    /// - Parameter logger: what is worth knowing but is no error goes there, at notice.
    public init(logger: Logger = Logger(label: "swift-bdev.nvme")) {
        self.logger = logger
        state = ThreadLock(State())
    }

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    public func willStop() async { await setHotplug(enabled: false) }

    public func stop() async {
        for subsystem in state.withLock({ Array($0.subsystems.values) }) {
            await subsystem.detach(await subsystem.paths)
        }
        state.withLock { state in
            state.subsystems = [:]
            state.plain = [:]
        }
    }

    // MARK: Options

    public var options: Options { state.withLock { $0.options } }

    /// For controllers that are attached from now on.
    ///
    /// - Throws: `invalidArgument`; `busy` while one is attached.
    public func setOptions(_ options: Options) throws(BdevError) {
        try options.validate()
        let isDone = state.withLock { state in
            if !state.subsystems.isEmpty { return false }
            state.options = options
            return true
        }
        if !isDone {
            throw BdevError(
                .busy, "the options cannot be changed while controllers are attached",
                advice: "set them first, or detach the controllers")
        }
    }

    // MARK: Attaching

    /// Brings the controller at `address` up and makes bdevs of its namespaces: through VFIO where that has it, else
    /// through the kernel's own driver, by io_uring pass-through where that can be, or else by its block devices
    /// (``useBlockDevices(_:)``). A notice, and ``controllers(named:)``, tell which way, and why. When something is
    /// attached as `name`, the controller becomes another path to it.
    ///
    /// - Parameters:
    ///   - name: what the bdevs' names begin with.
    ///   - address: where it is.
    ///   - options: how.
    /// - Returns: the names of its bdevs.
    /// - Throws: `nameInUse` when no other path is allowed; `invalidArgument` for options without a meaning, and for a
    ///   controller of another subsystem; what `NVMeController`'s own attach says, and registering.
    public func attach(
        _ name: String, at address: NVMeAddress, options: AttachOptions = AttachOptions()
    ) async throws(BdevError) -> [String] {
        try options.recovery?.validate()
        let choice = try choose(address, for: name)
        let node = choice.device?.node ?? address.pciAddress.flatMap { PCIFunction($0)?.node }
        let reactors = host.value.engine.reactors
        let home = node.flatMap { node in reactors.first { $0.node == node } } ?? reactors[0]
        if choice.access.way == .blockDevice { return try await attachBlocks(name, choice, at: address, options) }
        return try await attach(name, on: home, options: options) { reactor, driver async throws(NVMeError) in
            try await NVMeController.attach(at: address, on: reactor, options: driver)
        }
    }

    /// The same for the function at a PCI address.
    public func attach(
        _ name: String, at address: PCIAddress, options: AttachOptions = AttachOptions()
    ) async throws(BdevError) -> [String] {
        try await attach(name, at: NVMeAddress(address), options: options)
    }

    /// The same for a controller that `connector` makes ready, again too when it was lost. `reactor`: its home.
    public func attach(
        _ name: String, on reactor: Reactor, options: AttachOptions = AttachOptions(), connector: @escaping Connector
    ) async throws(BdevError) -> [String] {
        try options.recovery?.validate()
        try begin(name, options)
        let controller: NVMeController
        do throws(NVMeError) {
            controller = try await connector(reactor, driverOptions(options))
        } catch {
            end(name)
            throw BdevError(error, "cannot attach '\(name)'")
        }
        do throws(BdevError) {
            return try await finish(controller, as: name, options, connector)
        } catch {
            await controller.detach()
            throw error
        }
    }

    /// Makes bdevs of all namespaces of `controller`, which is this module's from here on.
    ///
    /// - Parameters:
    ///   - controller: one that is ready.
    ///   - name: what the bdevs' names begin with.
    ///   - options: how. When it is lost it cannot be made again.
    /// - Returns: the bdevs' names.
    /// - Throws: as `attach(_:at:options:)`. The controller is the caller's again then.
    public func add(
        _ controller: NVMeController, as name: String, options: AttachOptions = AttachOptions()
    ) async throws(BdevError) -> [String] {
        try begin(name, options)
        return try await finish(controller, as: name, options, nil)
    }

    func begin(_ name: String, _ options: AttachOptions) throws(BdevError) {
        if name.isEmpty { throw BdevError(.invalidArgument, "a controller's name cannot be empty") }
        let isFree = state.withLock { state in
            if state.attaching.contains(name) { return false }
            if state.plain[name] != nil { return false }
            if state.subsystems[name] != nil, !options.allowsMultipath { return false }
            state.attaching.insert(name)
            return true
        }
        if !isFree {
            throw BdevError(
                .nameInUse, "a controller named '\(name)' is attached already",
                advice: "choose another name, or allow several paths")
        }
    }

    func end(_ name: String) { state.withLock { _ = $0.attaching.remove(name) } }

    private func finish(
        _ controller: NVMeController, as name: String, _ options: AttachOptions, _ connector: Connector?
    ) async throws(BdevError) -> [String] {
        defer { end(name) }
        let host = host.value, logger = logger
        let (subsystem, isNew) = state.withLock { state in
            if let known = state.subsystems[name] { return (known, false) }
            let made = Subsystem(name, host: host, options: state.options, logger: logger) { [weak self] gone in
                self?.forget(gone)
            }
            state.subsystems[name] = made
            return (made, true)
        }
        do throws(BdevError) {
            let names = try await subsystem.add(controller, options, connector: connector)
            // It may have been empty for a moment, and forgotten.
            state.withLock { if $0.subsystems[name] == nil { $0.subsystems[name] = subsystem } }
            return names
        } catch {
            if isNew { forget(subsystem) }
            throw error
        }
    }

    private func forget(_ subsystem: Subsystem) {
        state.withLock { state in
            if state.subsystems[subsystem.name] === subsystem { state.subsystems[subsystem.name] = nil }
        }
    }

    private func driverOptions(_ attach: AttachOptions) -> NVMeController.Options {
        let own = options
        var result = NVMeController.Options()
        result.commandTimeout = own.commandTimeout
        result.adminTimeout = own.adminTimeout
        result.timeoutAction = own.timeoutAction
        result.requestCount = own.requestCount
        result.allowsNoIOMMU = own.allowsNoIOMMU
        result.queuePairCount = attach.queuePairCount ?? result.queuePairCount
        result.logger = logger
        return result
    }

    // MARK: Detaching and resetting

    func find(_ name: String) throws(BdevError) -> Subsystem {
        if let found = state.withLock({ $0.subsystems[name] }) { return found }
        if let plain = state.withLock({ $0.plain[name] }) {
            throw BdevError(.notSupported, "'\(name)' is the kernel's: \(plain.access)")
        }
        throw BdevError(.noSuchBdev, "no controller named '\(name)' is attached")
    }

    /// Removes the bdevs of what is attached as `name`, waits until everyone has closed them, and gives the devices
    /// back. With an `address`, only the path through that controller goes; bdevs with another one stay.
    ///
    /// - Throws: `noSuchBdev` when nothing, or no such path, is attached.
    public func detach(_ name: String, at address: String? = nil) async throws(BdevError) {
        if try await detachBlocks(name, at: address) { return }
        let subsystem = try find(name)
        let chosen = await subsystem.paths.filter { address == nil || $0.address == address }
        if let address, chosen.isEmpty {
            throw BdevError(.noSuchBdev, "no controller at \(address) is attached as '\(name)'")
        }
        state.withLock { state in
            for path in chosen { if let address = PCIAddress(path.address) { state.monitor?.ignore(address) } }
        }
        await subsystem.detach(chosen)
    }

    /// Resets the controllers of what is attached as `name`, one after the other, and brings back those that have
    /// failed. I/O goes on afterwards, or another way meanwhile. With a `controllerID`, only that one.
    ///
    /// - Throws: `noSuchBdev`; `deviceFailed` when a controller does not come back.
    public func reset(_ name: String, controllerID: UInt16? = nil) async throws(BdevError) {
        let subsystem = try find(name)
        let chosen = await subsystem.paths.filter { controllerID == nil || $0.controllerID == controllerID }
        if let controllerID, chosen.isEmpty {
            throw BdevError(.noSuchBdev, "'\(name)' has no controller \(controllerID)")
        }
        for path in chosen where !(await subsystem.reset(path)) {
            throw BdevError(.deviceFailed, "the controller at \(path.address) does not come back from its reset")
        }
    }
}
