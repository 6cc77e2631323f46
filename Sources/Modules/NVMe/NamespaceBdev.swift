import Bdev
import Logging
import NVMeDriver
import Reactors

/// What is behind the bdev of one namespace: the paths to it, and the channels that use them.
final class NamespaceBdev: BdevDriver {
    let name: String
    let identity: NamespaceIdentity
    let format: CommandFormat
    let retryLimit: Int?
    let countsPathIO: Bool
    private let subsystem: Subsystem
    private let state: ThreadLock<State>

    private struct State {
        var table: PathTable
        var channels: [ObjectIdentifier: (reactor: Reactor, channel: ReactorConfined<NamespaceChannel>)] = [:]
    }

    init(
        _ subsystem: Subsystem, _ name: String, _ entry: PathEntry, _ format: CommandFormat,
        _ options: NVMeModule.Options
    ) {
        self.subsystem = subsystem
        self.name = name
        self.format = format
        identity = NamespaceIdentity(entry.namespace)
        retryLimit = options.retryLimit
        countsPathIO = options.countsPathIO
        state = ThreadLock(State(table: PathTable(entries: [entry], policy: options.pathPolicy)))
    }

    /// The paths, in the order they are preferred.
    var table: PathTable { state.withLock { $0.table } }

    /// Of the namespace, as the controller shows it.
    func blockCount(on path: ControllerPath) -> UInt64 {
        table.entries.first { $0.path === path }?.namespace.blockCount ?? 0
    }

    /// A controller tells of what cannot be.
    func isNonsense(_ what: String, from path: ControllerPath) {
        subsystem.logger.error("\(name): \(what), by \(path.address), is not what it should be")
    }

    func change(_ body: (inout PathTable) -> Void) { state.withLock { body(&$0.table) } }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = NamespaceChannel(self, requests, on: local.reactor)
        let entry = (reactor: local.reactor, channel: ReactorConfined(channel))
        state.withLock { $0.channels[ObjectIdentifier(channel)] = entry }
        let failure = await channel.synchronize(on: local)
        let isReady = table.entries.contains { $0.path.phase == .connected }
        if let failure, isReady, !channel.paths.contains(where: { $0.pair != nil }) {
            remove(channel)
            throw BdevError(failure, bdev: name, "cannot make a queue pair")
        }
        return channel
    }

    func remove(_ channel: NamespaceChannel) {
        state.withLock { _ = $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    func destroy() async { await subsystem.bdevIsGone(self) }

    // MARK: Channels

    private var channels: [(reactor: Reactor, channel: ReactorConfined<NamespaceChannel>)] {
        state.withLock { Array($0.channels.values) }
    }

    /// Has all channels see which paths there are now. Whether nothing is under way on those that are not there any
    /// more.
    @discardableResult
    func synchronize() async -> Bool {
        var hasSettled = true
        for entry in channels {
            let isDone = await entry.reactor.run { local in
                await entry.channel.value.synchronize(on: local)
                return entry.channel.value.hasSettled
            }
            if !isDone { hasSettled = false }
        }
        return hasSettled
    }

    /// A controller has answered otherwise than it says: it is asked again.
    func accessIsInDoubt(of path: ControllerPath) { subsystem.notice(path) }

    /// Resets all controllers, one after the other, or by one of them the whole subsystem. Whether one at least works
    /// then.
    func reset(isOfSubsystem: Bool) async -> Bool {
        for entry in channels { await entry.reactor.run { _ in entry.channel.value.beginReset() } }
        var isDone = false
        if isOfSubsystem {
            isDone = await subsystem.resetSubsystem()
        } else {
            for entry in table.entries where await subsystem.reset(entry.path) { isDone = true }
        }
        for entry in channels { await entry.reactor.run { _ in entry.channel.value.endReset() } }
        await synchronize()
        return isDone
    }

    // MARK: What there is to say

    /// What each reactor's channel knows of its paths.
    func channelPaths() async -> [NVMeModule.PathInfo] {
        var result: [NVMeModule.PathInfo] = []
        for entry in channels {
            let name = name
            result += await entry.reactor.run { _ in
                entry.channel.value.paths.filter { !$0.isLeaving }.map { path in
                    NVMeModule.PathInfo(
                        bdev: name, reactor: entry.reactor.name, address: path.route.address,
                        controllerID: path.route.controllerID, isCurrent: path === entry.channel.value.current,
                        isConnected: path.isConnected, isAccessible: path.access.isUsable, counts: path.counts)
                }
            }
        }
        return result
    }

    func details() async -> [String: DriverValue] {
        let paths = table.entries.map { entry in
            DriverValue.fields([
                "pci_address": .text(entry.path.address), "cntlid": .number(UInt64(entry.path.controllerID)),
                "ns_id": .number(UInt64(entry.namespace.id)), "ana_state": .text(entry.access.name),
            ])
        }
        return [
            "nvme": .list(paths),
            "mp_policy": .text(table.policy == .activePassive ? "active_passive" : "active_active"),
        ]
    }
}

/// The paths of a bdev.
struct PathTable: Sendable {
    var entries: [PathEntry]
    var policy: NVMeModule.PathPolicy
}

/// A namespace as one controller shows it.
struct PathEntry: Sendable {
    let path: ControllerPath
    var namespace: NVMeNamespace
    var access: AsymmetricAccess
    /// The change that is under way has taken longer than the controller said it may.
    var isOverdue = false
    /// Counts the changes of `access`.
    var epoch = 0

    /// Whether I/O is worth keeping for it.
    var isHopeful: Bool {
        path.isHopeful && access != .persistentLoss && !(access.isPassing && isOverdue)
    }
}

/// What says that two controllers show the same namespace.
struct NamespaceIdentity: Sendable, Hashable {
    let uuid: [UInt8]?
    let globalID: [UInt8]?
    let extendedID: [UInt8]?
    let commandSet: UInt8
    let blockByteCount: Int
    let metadataByteCount: Int
    let protection: NVMeProtection?

    init(_ namespace: NVMeNamespace) {
        uuid = namespace.uuid
        globalID = namespace.identity.globalID
        extendedID = namespace.identity.extendedID
        commandSet = namespace.commandSet
        blockByteCount = namespace.blockByteCount
        metadataByteCount = namespace.format.metadataByteCount
        protection = namespace.protection
    }

    /// Without any of these nobody knows.
    var isKnown: Bool { uuid != nil || globalID != nil || extendedID != nil }
}

extension AsymmetricAccess {
    /// As SPDK names it.
    var name: String {
        switch self {
        case .optimized: "optimized"
        case .nonOptimized: "non_optimized"
        case .inaccessible: "inaccessible"
        case .persistentLoss: "persistent_loss"
        case .change: "change"
        }
    }
}
