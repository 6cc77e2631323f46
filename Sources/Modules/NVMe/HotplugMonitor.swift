import Bdev
import Logging
package import NVMeDriver
package import Reactors

/// Looks again and again which NVMe controllers are with VFIO, and attaches those that are new.
///
/// On the engine's reactor. A look is one directory of sysfs, and some small files for each controller that has come.
final class HotplugMonitor: Sendable {
    private let tree: SystemTree
    private let home: Reactor
    private let attach: @Sendable (PCIAddress) async -> Void
    private let state = ThreadLock(State())

    private struct State {
        /// As they were at the last look.
        var seen: Set<PCIAddress> = []
        /// Detached by a user: not attached again before they have been away.
        var ignored: Set<PCIAddress> = []
        var poller: ReactorConfined<Poller>?
    }

    init(_ tree: SystemTree, home: Reactor, attach: @escaping @Sendable (PCIAddress) async -> Void) {
        self.tree = tree
        self.home = home
        self.attach = attach
    }

    func start(every period: Duration) async {
        let own = self
        await home.run { local in
            let poller = local.addPoller(named: "nvme hot-plug", every: period) { own.look() }
            let confined = ReactorConfined(poller)
            own.state.withLock { $0.poller = confined }
        }
    }

    func stop() async {
        let own = self
        await home.run { local in
            if let poller = own.state.withLock({ $0.poller }) { local.remove(poller.value) }
            own.state.withLock { $0.poller = nil }
        }
    }

    func ignore(_ address: PCIAddress) { state.withLock { _ = $0.ignored.insert(address) } }

    private func look() -> PollResult {
        let there = Set(tree.names("sys/bus/pci/drivers/vfio-pci").compactMap { PCIAddress($0) })
        let fresh: [PCIAddress] = state.withLock { state in
            let fresh = there.subtracting(state.seen).subtracting(state.ignored)
            state.seen = there
            state.ignored.formIntersection(there)
            return fresh.sorted()
        }
        for address in fresh where PCIFunction(address, in: tree)?.isNVMe == true {
            let attach = attach
            Task(executorPreference: home.taskExecutor) { await attach(address) }
        }
        return fresh.isEmpty ? .idle : .busy
    }
}

extension NVMeModule {
    /// The longest time between two looks for new controllers, and the one without another.
    public static let hotplugPeriodLimit = Duration.seconds(10)
    public static let standardHotplugPeriod = Duration.milliseconds(100)

    /// Whether NVMe controllers that are bound to `vfio-pci` from now on, or are already, are attached by themselves,
    /// as `HotInNvme0` and so on. `period`: between two looks, at most ``hotplugPeriodLimit``. One that a user has
    /// detached is left alone until it has been away. That a controller goes is noticed without this.
    public func setHotplug(enabled: Bool, period: Duration = standardHotplugPeriod) async {
        await setHotplug(enabled: enabled, period: period, in: SystemTree(root: "/"))
    }

    package func setHotplug(
        enabled: Bool, period: Duration, in tree: SystemTree,
        attaching: (@Sendable (PCIAddress) async -> Void)? = nil
    ) async {
        let old = state.withLock { state in
            let old = state.monitor
            state.monitor = nil
            return old
        }
        await old?.stop()
        if !enabled { return }
        let monitor = HotplugMonitor(tree, home: host.value.engine.reactors[0]) { [weak self] address in
            if let attaching { await attaching(address) } else { await self?.hotAttach(address) }
        }
        state.withLock { $0.monitor = monitor }
        await monitor.start(every: min(max(period, .milliseconds(1)), Self.hotplugPeriodLimit))
    }

    private func hotAttach(_ address: PCIAddress) async {
        let all = (try? await controllers()) ?? []
        // Lost ones come back by their own reconnection.
        if all.contains(where: { PCIAddress($0.address) == address }) { return }
        // Several may be plugged in at once.
        let name = state.withLock { state in
            let name = (0...).lazy.map { "HotInNvme\($0)" }.first { name in
                state.subsystems[name] == nil && state.plain[name] == nil && !state.attaching.contains(name)
                    && !state.plugged.contains(name)
            }!
            state.plugged.insert(name)
            return name
        }
        defer { state.withLock { _ = $0.plugged.remove(name) } }
        do throws(BdevError) {
            let bdevs = try await attach(name, at: address)
            logger.notice("\(address) has been plugged in: \(name) with \(bdevs.joined(separator: ", "))")
        } catch {
            logger.warning("\(address) has been plugged in, and cannot be attached: \(error)")
        }
    }
}
