public import Logging
public import Reactors
import SystemPackage

/// One NVMe controller, driven from this process.
///
/// An actor on the reactor it was attached on, its *home*: the admin queue is polled there. I/O goes through queue
/// pairs, one for each reactor that wants one (`LocalReactor.makeQueuePair(of:)`); nothing of it passes through here.
public actor NVMeController {
    /// How a controller is driven.
    public struct Options: Sendable {
        /// Entries of the admin queue, 2 to 4,096.
        public var adminEntryCount = 64
        /// Entries of an I/O queue: at least 2, at most what the controller takes. One fewer commands are in flight.
        public var queueEntryCount = 256
        /// Commands that a queue pair accepts, in flight and waiting: 1 to 65,535.
        public var requestCount = 512
        /// I/O queue pairs that are asked for; the controller may give fewer.
        public var queuePairCount = 64
        /// How long an admin command may take. Then the controller is reset.
        public var adminTimeout = Duration.seconds(30)
        /// How long a Format may take, at most 250 times ``adminTimeout``. Then the controller is reset.
        public var formatTimeout = Duration.seconds(3600)
        /// How long an I/O command may take, in steps of 100 ms; nil: as long as it wants.
        public var commandTimeout: Duration?
        /// What happens to one that takes longer.
        public var timeoutAction = TimeoutAction.none
        /// Whether the controller's interrupts wake the reactor, so that it sleeps while I/O is under way. Otherwise it
        /// polls.
        public var usesInterrupts = false
        /// Whether commands that a reset interrupts are given again after it; otherwise they end as aborted.
        public var resumesAfterReset = false
        /// How long a controller with a keep-alive timer waits for a sign of life before it gives the host up; half as
        /// often it is given one. Zero: never.
        public var keepAliveTimeout = Duration.seconds(10)
        /// Whether doorbells in memory are used where the controller has them (emulated ones do). They save stores to
        /// registers, and have the controller look at memory four times for each command: nil is for where no IOMMU
        /// translates that, since one of software costs more than they save.
        public var usesShadowDoorbells: Bool?
        /// What lies in the controller's own memory, where it has some for that (CMB).
        public var controllerMemory: ControllerMemoryUse = []
        /// Whether a controller is taken that no IOMMU looks after. **Unsafe**: a fault of the device or of this driver
        /// may then overwrite any memory of the machine. Wants root, the kernel's `enable_unsafe_noiommu_mode`, and
        /// hugepages for the reactors' memory.
        public var allowsNoIOMMU = false
        public var logger = Logger(label: "swift-bdev.nvme")

        public init() {}
    }

    /// What happens to a command that takes too long. It is logged in any case.
    public enum TimeoutAction: Sendable, Hashable {
        case none
        /// The controller is asked to abort it; when that does not help in as long again, it is reset.
        case abort
        /// The controller is reset.
        case reset
    }

    /// What a controller is about.
    public enum State: Sendable, Hashable {
        case starting, ready, resetting, shuttingDown
        /// It could not be started again, or has failed in a way that needs a reset.
        case failed
        /// It was pulled out.
        case removed
        case detached
    }

    /// What people call the device: `0000:3b:00.0`.
    public nonisolated let name: String
    /// The NUMA node it is attached to; nil: unknown, or there is but one.
    public nonisolated let node: Int?
    /// Its home.
    public nonisolated let reactor: Reactor
    public nonisolated let options: Options
    public nonisolated let capabilities: ControllerCapabilities
    public nonisolated let version: NVMeVersion

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }

    public internal(set) var state = State.starting
    /// What it says of itself.
    public internal(set) var identity = IdentifyController(data: [])
    /// Its active namespaces by their identifiers, in rising order.
    public internal(set) var namespaces: [NVMeNamespace] = []

    nonisolated let transport: any ControllerTransport
    nonisolated let logger: Logger
    let admin: AdminQueue
    /// I/O queue pairs, as their own reactors hold them.
    var pairs: [PairEntry] = []
    var controllerMemory: ControllerMemory?
    /// Queues that are being made.
    var reserved: Set<UInt16> = []
    /// Queues that are being deleted: a reset does not make them again.
    var leaving: Set<UInt16> = []
    /// The start, or the reset, that is under way cannot succeed any more.
    var isStartLost = false
    /// How many I/O queue pairs the controller gives.
    var pairLimit = 0
    /// By vector; empty: completions are polled for.
    var interruptEvents: [FileDescriptor] = []
    /// Periods of the scan between signs of life, and to the next one; nil: the controller wants none.
    var keepAlivePeriods: (all: Int64, left: Int64)?
    var shadowDoorbells: ShadowDoorbells?
    /// Whether queue pairs store to memory in place of most stores to doorbells (``Options/usesShadowDoorbells``).
    public internal(set) var usesShadowDoorbells = false
    var eventRequests: EventRequests?
    var eventHandler: (@Sendable (NVMeEvent) -> Void)?
    /// Made-up errors of I/O queue pairs.
    var injections: [ErrorInjection] = []
    /// Abort commands under way.
    var abortCount = 0

    struct PairEntry {
        let reactor: Reactor
        let pair: ReactorConfined<NVMeQueuePair>
        let layout: QueueLayout
    }

    init(_ transport: any ControllerTransport, on reactor: Reactor, options: Options) throws(NVMeError) {
        let registers = transport.registers
        if ControllerStatus(rawValue: registers.load32(RegisterOffset.status)).isGone {
            throw NVMeError(
                .removed, device: transport.name, "the controller does not answer: its registers read as ones")
        }
        let capabilities = ControllerCapabilities(rawValue: registers.load64(RegisterOffset.capabilities))
        // Bit 7 alone says nothing: there are controllers that set it beside the others.
        if !capabilities.hasNVMCommandSet {
            throw NVMeError(.notSupported, device: transport.name, "the controller has no NVM command set")
        }
        self.transport = transport
        self.reactor = reactor
        self.options = options
        self.capabilities = capabilities
        name = transport.name
        node = transport.node
        logger = options.logger
        version = NVMeVersion(rawValue: registers.load32(RegisterOffset.version))
        do {
            admin = try AdminQueue(transport, on: reactor, capabilities: capabilities, options: options)
        } catch {
            throw error.of(transport.name)
        }
    }

    /// Brings a controller up on this reactor: resets it, identifies it and its namespaces.
    ///
    /// Several may be attached side by side, each by a task of its own.
    /// - Throws: `removed`, `notSupported`, `timedOut` when it does not become ready in the time that it names itself,
    ///   `controllerFailed`, `commandFailed`, `outOfMemory`. The device is given back then.
    package static func attach(
        _ transport: any ControllerTransport, on reactor: Reactor, options: Options = Options()
    ) async throws(NVMeError) -> NVMeController {
        do throws(NVMeError) {
            let controller = try await reactor.run { _ throws(NVMeError) in
                try NVMeController(transport, on: reactor, options: options)
            }
            try await controller.start()
            return controller
        } catch {
            transport.domain.close()
            transport.close()
            throw error
        }
    }

    // MARK: Starting

    private func start() async throws(NVMeError) {
        await startAdmin()
        if transport.quirks.contains(.startsLate) { await sleep(NVMeQuirks.startPause) }
        do throws(NVMeError) {
            try await disable()
            try await enable()
            try await identify()
            state = .ready
        } catch {
            state = .failed
            await stopAdmin()
            throw error
        }
    }

    func identify() async throws(NVMeError) {
        identity = try await identifyController()
        admin.pair.retryDelays = retryDelays
        try await agreeOnQueues()
        try await agreeOnBehavior()
        try await agreeOnKeepAlive()
        try await agreeOnShadowDoorbells()
        try agreeOnControllerMemory()
        try enableInterrupts()
        if eventRequests == nil { namespaces = try await identifyNamespaces() } else { try await rescan() }
        try await requestEvents()
    }

    /// CRDT1 to 3, which count in the periods of the scan. Nobody waits for hours because a controller says so.
    var retryDelays: [Int] {
        let limit = max(1, Int(clamping: options.adminTimeout.periods))
        return identity.retryDelays.map { min(max(1, Int($0)), limit) }
    }

    /// The most bytes of one command.
    public var transferByteLimit: Int {
        // What the list of one request names, whatever its first page lacks.
        let own = min(QueueMemory.listEntryCount * 4096, transport.transferByteLimit ?? .max)
        guard let shift = identity.transferPageShift, shift < 20 else { return own }
        return min(own, capabilities.pageByteCounts.lowerBound << shift)
    }
}

/// Where an I/O queue pair's queues lie.
struct QueueLayout: Sendable {
    let id: UInt16
    let entryCount: Int
    let submission: IOVA
    let completion: IOVA
    /// nil: completions are polled for.
    let vector: Int?
}
