public import Logging
public import Reactors

/// The bdevs of a process: modules that make them, the one name space they share, and the way to open them.
///
/// An actor on the first of its reactors. Everything here is control work; nothing of it is on the path of an I/O.
public actor BdevEngine {
    /// Where channels can be opened.
    public nonisolated let reactors: [Reactor]
    nonisolated let home: Reactor
    /// Whether every bdev is examined when it is registered; if not, only those that ``examine(_:)`` names.
    public nonisolated let automaticallyExamines: Bool
    nonisolated let logger: Logger

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }

    /// In the order they are started and examine in: the virtual ones, the latest first, then the physical ones.
    var modules: [ModuleEntry] = []
    /// By name and by alias; the UUID's text is one.
    var names: [String: RegisteredBdev] = [:]
    /// In the order of registration.
    var bdevs: [RegisteredBdev] = []
    /// Names whose bdevs are examined although not all are, in the order they were given.
    var allowList: [String] = []
    var isStopping = false
    /// Everything has been stopped.
    var hasStopped = false
    /// Calls of ``start(_:)`` under way.
    var startCount = 0
    /// Examinations under way.
    var examinationCount = 0
    /// Bdevs on their way out, until their drivers have given back what they held.
    var leaving: [RegisteredBdev] = []
    /// Tells of each change of what is above, and of the bdevs' descriptors and claims.
    let changes: ChangeSignal
    nonisolated let hub = NotificationHub()

    /// - Parameters:
    ///   - reactors: at least one. The engine's own work is done on the first.
    ///   - automaticallyExamines: whether virtual modules see every bdev that is registered.
    ///   - logger: is told, as a warning, of what fails where no caller is there to hear of it.
    public init(
        reactors: [Reactor], automaticallyExamines: Bool = true, logger: Logger = Logger(label: "swift-bdev.engine")
    ) {
        precondition(!reactors.isEmpty, "a bdev engine needs at least one reactor")
        self.reactors = reactors
        home = reactors[0]
        self.automaticallyExamines = automaticallyExamines
        self.logger = logger
        changes = ChangeSignal(home: reactors[0])
    }

    public init(
        group: ReactorGroup, automaticallyExamines: Bool = true, logger: Logger = Logger(label: "swift-bdev.engine")
    ) {
        self.init(reactors: group.reactors, automaticallyExamines: automaticallyExamines, logger: logger)
    }

    // MARK: Looking

    func find(_ name: String) throws(BdevError) -> RegisteredBdev {
        if let bdev = names[name] { return bdev }
        let known = bdevs.map(\.name)
        throw BdevError(
            .noSuchBdev, bdev: name, "there is no bdev of this name or alias",
            advice: known.isEmpty ? "no bdev is registered" : "there are \(known.joined(separator: ", "))")
    }

    func find(_ name: String, of module: String) throws(BdevError) -> RegisteredBdev {
        let bdev = try find(name)
        if bdev.moduleName == module { return bdev }
        throw BdevError(.noSuchBdev, bdev: name, "the bdev belongs to module '\(bdev.moduleName)', not to '\(module)'")
    }

    /// Every bdev whose examination is over, in the order of registration.
    public func list() async -> [BdevInfo] {
        var result: [BdevInfo] = []
        for bdev in bdevs {
            if await bdev.isAnnounced { result.append(await bdev.info()) }
        }
        return result
    }

    /// - Throws: `noSuchBdev`.
    public func info(_ name: String) async throws(BdevError) -> BdevInfo { await (try find(name)).info() }
}
