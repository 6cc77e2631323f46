import NVMeDriver
import Reactors

/// The subsystem that a soft controller is part of.
public struct SoftSubsystemOptions: Sendable {
    /// SUBNQN.
    public var name = "nqn.2014-08.org.nvmexpress:uuid:soft"
    /// CNTLID.
    public var controllerID: UInt16 = 0
    /// CMIC bit 1: there are, or may be, other controllers.
    public var hasMultipleControllers = false
    /// Whether it says which namespaces can be reached through it, and how well (asymmetric namespace access).
    public var reportsAccess = false
    /// ANATT: how long a change may take, in seconds.
    public var transitionTime: UInt8 = 10

    public init() {}
}

extension SoftController {
    /// How the namespaces of a group are reached through a controller (NVM Express Base Specification 2.0, section
    /// 8.1.1.4).
    public enum Access: UInt8, Sendable, Hashable, CaseIterable {
        case optimized = 1
        case nonOptimized = 2
        case inaccessible = 3
        case persistentLoss = 4
        case change = 0xF

        /// What I/O ends with; nil: it is done.
        var status: NVMeStatus? {
            switch self {
            case .optimized, .nonOptimized: nil
            case .persistentLoss: NVMeStatus(type: 3, code: 1)
            case .inaccessible: NVMeStatus(type: 3, code: 2)
            case .change: NVMeStatus(type: 3, code: 3)
            }
        }
    }

    /// From now on the namespaces of `group` are reached like this through this controller, which the driver is told of
    /// unless `isQuiet`.
    public func setAccess(_ access: Access, group: UInt32 = 1, isQuiet: Bool = false) async {
        await change { engine in
            engine.accesses[group] = access
            if !isQuiet { engine.report(2 | 3 << 8 | 0x0C << 16) }
        }
    }

    /// Has it show the namespaces of `other`, the same blocks, besides its own. Both are to be on one reactor, and
    /// `other` goes on telling only its own driver of changes.
    public func share(_ other: SoftController) async {
        let source = other.engine
        await change { engine in
            engine.namespaces.merge(source.value.namespaces) { $1 }
            engine.noticeCommandSets()
            engine.peers.append(WeakEngine(engine: source.value))
            source.value.peers.append(WeakEngine(engine: engine))
        }
    }

    /// The driver is told that a namespace that was changed through `other`, which shares it, has changed.
    public func follow(_ other: SoftController, namespace id: UInt32) async {
        let source = other.engine
        await change { engine in
            engine.namespaces[id] = source.value.namespaces[id]
            engine.namespaceChanged(id)
        }
    }

    /// It is back after ``pullOut()``, off, with what is on its namespaces.
    public func plugIn() async { await change { $0.plugIn() } }
}

extension SoftNamespace {
    /// The blocks of `other` that there is room for, and zeros behind them.
    convenience init(id: UInt32, resizing other: SoftNamespace, to blockCount: UInt64) throws(ReactorError) {
        var options = other.options
        options.blockCount = blockCount
        try self.init(id: id, options)
        let first = options.firstStoredBlock, kept = min(blockCount, other.options.blockCount) - first
        blocks(first, kept).copy(from: other.blocks(first, kept))
        if let old = other.metadata(first, kept) { metadata(first, kept)?.copy(from: old) }
    }
}

extension SoftEngine {
    func describeSubsystem(in data: inout DataWriter) {
        let subsystem = options.subsystem
        data.put(UInt8((subsystem.hasMultipleControllers ? 2 : 0) | (subsystem.reportsAccess ? 8 : 0)), at: 76)
        data.put(subsystem.controllerID, at: 78)
        if subsystem.reportsAccess {
            let groups = UInt32(groupIDs.count)
            data.put(subsystem.transitionTime, at: 342)
            data.put(UInt8(0x1F), at: 343)
            data.put(groupIDs.last ?? 1, at: 344)
            data.put(groups, at: 348)
        }
        data.put(subsystem.name, at: 768, count: 256)
    }

    private var groupIDs: [UInt32] { Set(namespaces.values.map(\.options.asymmetricGroup)).sorted() }

    /// Log page 0Ch without namespaces' identifiers: the driver asks for groups only.
    func accessLog(byteCount: Int) -> DataWriter {
        var page = DataWriter(byteCount: max(byteCount, 16 + 32 * groupIDs.count))
        page.put(UInt16(groupIDs.count), at: 8)
        for (index, group) in groupIDs.enumerated() {
            page.put(group, at: 16 + 32 * index)
            page.put((accesses[group] ?? .optimized).rawValue, at: 32 + 32 * index)
        }
        return page.prefix(byteCount)
    }
}

extension DataWriter {
    fileprivate func prefix(_ byteCount: Int) -> DataWriter {
        var result = DataWriter(byteCount: byteCount)
        result.put(Array(bytes.prefix(byteCount)), at: 0)
        return result
    }
}
