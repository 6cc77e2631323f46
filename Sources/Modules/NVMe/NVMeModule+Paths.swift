public import Bdev
public import NVMeDriver
import Reactors

extension NVMeModule {
    /// A controller as people are told of it.
    public struct ControllerInfo: Sendable, Hashable {
        /// What it is attached as.
        public let name: String
        /// Where it is: `0000:3b:00.0`.
        public let address: String
        /// CNTLID.
        public let controllerID: UInt16
        /// `enabled`, `resetting`, `reconnect_is_delayed`, `failed`, `disabled` or `deleting`: SPDK's words.
        public let state: String
        /// nil while it is lost.
        public let node: Int?
        /// Which way it is reached; nil while it is lost.
        public let access: ControllerAccess?
    }

    /// A path of a bdev on one reactor.
    public struct PathInfo: Sendable, Hashable {
        public let bdev: String
        public let reactor: String
        public let address: String
        public let controllerID: UInt16
        /// The next I/O goes this way.
        public let isCurrent: Bool
        public let isConnected: Bool
        /// The namespace can be reached through it: its asymmetric access state is optimized or non-optimized.
        public let isAccessible: Bool
        let counts: PathCounts

        /// I/O of this path by kind, bytes, and commands that failed; I/O is counted only with
        /// ``NVMeModule/Options/countsPathIO``.
        public var readCount: UInt64 { counts.reads }
        public var writeCount: UInt64 { counts.writes }
        public var otherCount: UInt64 { counts.others }
        public var readByteCount: UInt64 { counts.readByteCount }
        public var writtenByteCount: UInt64 { counts.writtenByteCount }
        public var failureCount: UInt64 { counts.failures }
    }

    /// All controllers, or those attached as `name`, by name and in the order of their attachment.
    ///
    /// - Throws: `noSuchBdev`.
    public func controllers(named name: String? = nil) async throws(BdevError) -> [ControllerInfo] {
        var chosen = state.withLock { Array($0.subsystems.values) }.sorted { $0.name < $1.name }
        let plain = state.withLock { $0.plain }.filter { name == nil || $0.key == name }
        if let name { chosen = plain.isEmpty ? [try find(name)] : [] }
        var result = plain.sorted { $0.key < $1.key }.map { name, each in
            ControllerInfo(
                name: name, address: each.address.description, controllerID: 0, state: "enabled", node: each.node,
                access: each.access)
        }
        for subsystem in chosen {
            for path in await subsystem.paths {
                result.append(
                    ControllerInfo(
                        name: subsystem.name, address: path.address, controllerID: path.controllerID,
                        state: path.phase.word, node: path.controller?.node, access: path.controller?.access))
            }
        }
        return result
    }

    /// The paths of one bdev, or of all: one entry for each reactor that has the bdev open and each path.
    ///
    /// - Throws: `noSuchBdev`.
    public func paths(of bdev: String? = nil) async throws(BdevError) -> [PathInfo] {
        var result: [PathInfo] = []
        for each in try await bdevs(named: bdev) { result += await each.bdev.channelPaths() }
        return result
    }

    /// Which path I/O takes when there are several.
    ///
    /// - Throws: `noSuchBdev`.
    public func setPolicy(_ policy: PathPolicy, of bdev: String) async throws(BdevError) {
        for each in try await bdevs(named: bdev) {
            each.bdev.change { $0.policy = policy }
            await each.bdev.synchronize()
        }
    }

    /// The path that I/O of `bdev` takes whenever it can.
    ///
    /// - Throws: `noSuchBdev` when there is no such bdev, or it has no path through that controller.
    public func setPreferredPath(of bdev: String, controllerID: UInt16) async throws(BdevError) {
        for each in try await bdevs(named: bdev) {
            var isFound = false
            each.bdev.change { table in
                guard let index = table.entries.firstIndex(where: { $0.path.controllerID == controllerID }) else {
                    return
                }
                table.entries.insert(table.entries.remove(at: index), at: 0)
                isFound = true
            }
            if !isFound {
                throw BdevError(.noSuchBdev, bdev: bdev, "it has no path through a controller \(controllerID)")
            }
            await each.subsystem.prefer(controllerID)
            await each.bdev.synchronize()
        }
    }

    private func bdevs(named name: String?) async throws(BdevError) -> [(subsystem: Subsystem, bdev: NamespaceBdev)] {
        var result: [(subsystem: Subsystem, bdev: NamespaceBdev)] = []
        for subsystem in state.withLock({ Array($0.subsystems.values) }).sorted(by: { $0.name < $1.name }) {
            for bdev in await subsystem.bdevs.values.sorted(by: { $0.name < $1.name })
            where name == nil || bdev.name == name {
                result.append((subsystem, bdev))
            }
        }
        if let name, result.isEmpty {
            throw BdevError(.noSuchBdev, bdev: name, "there is no NVMe bdev of this name")
        }
        return result
    }

    /// What a controller says of its health.
    public struct Health: Sendable, Hashable {
        /// Where it is: `0000:3b:00.0`.
        public let address: String
        public let identity: IdentifyController
        /// The SMART / health information log page (02h): 512 bytes as the controller gives them.
        public let page: [UInt8]
    }

    /// The health of the first controller attached as `name` that answers.
    ///
    /// - Throws: `noSuchBdev`; `deviceFailed` when no controller answers.
    public func health(of name: String) async throws(BdevError) -> Health {
        let subsystem = try find(name)
        for path in await subsystem.paths {
            guard let controller = path.controller else { continue }
            if let page = try? await controller.logPage(2, byteCount: 512) {
                return Health(address: path.address, identity: await controller.identity, page: page)
            }
        }
        throw BdevError(.deviceFailed, "no controller of '\(name)' tells of its health")
    }
}

extension Subsystem {
    func prefer(_ controllerID: UInt16) { preferred = controllerID }
}

extension ControllerPath.Phase {
    fileprivate var word: String {
        switch self {
        case .connected: "enabled"
        case .resetting: "resetting"
        case .lost: "reconnect_is_delayed"
        case .failed: "failed"
        case .disabled: "disabled"
        case .gone: "deleting"
        }
    }
}
