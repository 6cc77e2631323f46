import Logging
import Reactors
import Synchronization

/// One bdev that an engine knows: who it is, who has it open, who has claimed it, whether it is going away.
///
/// An actor on the engine's reactor. What the data path needs of it is immutable or atomic.
actor RegisteredBdev {
    enum State {
        case ready
        /// New opens and I/O are refused; what the layer has under way is being settled.
        case unregistering
        /// Those who have it open have been told, and are waited for.
        case removing
        case removed
    }

    nonisolated let name: String
    nonisolated let uuid: BdevUUID
    nonisolated let productName: String
    nonisolated let moduleName: String
    /// Whose it is.
    nonisolated let module: any BdevModule
    nonisolated let scratchByteCount: Int
    nonisolated let geometry: BdevGeometry
    nonisolated let supportedTypes: IOTypes
    nonisolated let driver: any BdevDriver
    nonisolated let home: Reactor
    /// The engine's.
    nonisolated let changes: ChangeSignal
    nonisolated let logger: Logger
    nonisolated let holds: HoldCoordinator
    nonisolated let ledger = StatisticsLedger()
    nonisolated let sampler = QueueDepthSampler()
    nonisolated let resetDrainTimeout: Duration
    private nonisolated let currentBlockCount: Atomic<UInt64>
    private nonisolated let currentLimiter = ThreadLock<RateLimiter?>(nil)
    private nonisolated let removing = Atomic<Bool>(false)

    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }

    private(set) var state = State.ready
    var aliases: Set<String>
    /// In the order they were opened.
    private(set) var descriptors: [BdevDescriptor] = []
    /// In the order they were made; all of one kind.
    var claims: [HeldClaim] = []
    private var examinationCount = 0
    /// Its first examination is over: it is listed.
    private(set) var isAnnounced = false

    init(
        _ properties: BdevProperties, uuid: BdevUUID, module: any BdevModule, driver: any BdevDriver,
        changes: ChangeSignal, logger: Logger, reactors: [Reactor]
    ) {
        name = properties.name
        self.uuid = uuid
        productName = properties.productName
        moduleName = module.name
        self.module = module
        scratchByteCount = module.requestScratchByteCount
        geometry = properties.geometry
        supportedTypes = properties.supportedTypes
        self.driver = driver
        self.changes = changes
        self.logger = logger
        home = reactors[0]
        holds = HoldCoordinator(reactors: reactors)
        resetDrainTimeout = properties.resetDrainTimeout
        aliases = Set(properties.aliases)
        currentBlockCount = Atomic(properties.geometry.blockCount)
    }

    nonisolated var blockCount: UInt64 { currentBlockCount.load(ordering: .acquiring) }
    /// Who says when an I/O may begin; nil: nobody.
    nonisolated var limiter: RateLimiter? {
        get { currentLimiter.withLock { $0 } }
        set { currentLimiter.withLock { $0 = newValue } }
    }
    nonisolated var isRemoved: Bool { removing.load(ordering: .acquiring) }

    func insertAlias(_ alias: String) { aliases.insert(alias) }
    func removeAlias(_ alias: String) { aliases.remove(alias) }

    // MARK: Descriptors

    func add(_ descriptor: BdevDescriptor) throws(BdevError) {
        if state != .ready { throw BdevError(.removed, bdev: name, "cannot open: the bdev is being removed") }
        if descriptor.mode == .readWrite, let held = claims.first {
            throw BdevError(
                .claimed, bdev: name, "cannot open for writing: \(held.claim) has claimed it",
                advice: "open it with mode .readOnly")
        }
        descriptors.append(descriptor)
    }

    /// Its channels are closed. Those that are being made are waited for: the driver is destroyed after them.
    func didClose(_ descriptor: BdevDescriptor) async {
        while descriptor.openingCount > 0 { await changes.wait() }
        descriptors.removeAll { $0 === descriptor }
        endClaim(of: descriptor)
    }

    /// A descriptor has been closed meanwhile, and waits for this.
    func lateOpeningEnded() { changes.signal() }

    // MARK: Examination

    /// False when it is going away.
    func begin(_ examination: Examination) -> Bool {
        if state != .ready { return false }
        descriptors.append(examination.descriptor)
        examinationCount += 1
        return true
    }

    /// Whether it is listed now, and was not before.
    func endExamination() -> Bool {
        examinationCount -= 1
        return announce()
    }

    /// Lists it, if nobody examines it. Whether it is listed now, and was not before.
    func announce() -> Bool {
        if examinationCount > 0 || isAnnounced || state != .ready { return false }
        isAnnounced = true
        return true
    }

    // MARK: Events

    /// To the first that may write. How many it took.
    func pushMediaEvents(_ events: [MediaEvent]) throws(BdevError) -> Int {
        guard let writer = descriptors.first(where: { $0.mode == .readWrite }) else {
            throw BdevError(.noSuchBdev, bdev: name, "cannot tell of media events: nobody has it open for writing")
        }
        return writer.sendMedia(events)
    }

    // MARK: Going away

    func beginRemoval() throws(BdevError) {
        if state != .ready { throw BdevError(.busy, bdev: name, "the bdev is being removed already") }
        state = .unregistering
        removing.store(true, ordering: .releasing)
    }

    /// Tells those who have it open, and returns when nobody has any more.
    func waitUntilClosed() async {
        state = .removing
        for descriptor in descriptors { descriptor.send(.removed) }
        while !descriptors.isEmpty { await changes.wait() }
        state = .removed
    }

    // MARK: Size

    /// Those to tell; nil when it has that size already.
    func resize(_ blockCount: UInt64) throws(BdevError) -> [BdevDescriptor]? {
        if blockCount == self.blockCount { return nil }
        var resized = geometry
        resized.blockCount = blockCount
        try resized.validateBlockCount { what in
            BdevError(.invalidGeometry, bdev: name, "cannot resize a bdev to \(what)")
        }
        if blockCount < self.blockCount, !descriptors.isEmpty {
            throw BdevError(
                .busy, bdev: name, "cannot shrink from \(self.blockCount) to \(blockCount) blocks while it is open",
                advice: "close it everywhere first")
        }
        currentBlockCount.store(blockCount, ordering: .releasing)
        return descriptors
    }

    func info() -> BdevInfo {
        var geometry = geometry
        geometry.blockCount = blockCount
        return BdevInfo(
            name: name, aliases: aliases.sorted(), uuid: uuid, productName: productName, moduleName: moduleName,
            geometry: geometry, supportedTypes: supportedTypes, isOpen: !descriptors.isEmpty,
            claims: claims.map(\.claim))
    }
}

/// A bdev as its engine describes it.
public struct BdevInfo: Sendable {
    public let name: String
    public let aliases: [String]
    public let uuid: BdevUUID
    public let productName: String
    public let moduleName: String
    public let geometry: BdevGeometry
    /// What the module itself does; write zeroes is offered wherever write is.
    public let supportedTypes: IOTypes
    public let isOpen: Bool
    /// In the order they were made. All of one kind; several only of `readManyWriteNone` and `readManyWriteShared`.
    public let claims: [BdevClaim]
}
