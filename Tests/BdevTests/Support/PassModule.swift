import Bdev
import Reactors

/// A module whose bdevs hand everything on to another.
///
/// Sendable unchecked: a simulation has one thread.
final class PassModule: BdevModule, @unchecked Sendable {
    let name = "pass"
    let host = HostSlot()
    /// How many blocks further down everything goes.
    var shift: UInt64 = 0
    /// Of its bdevs; nil: those of the base.
    var types: IOTypes?
    var blockCount: UInt64?
    var baseMode = BdevDescriptor.Mode.readWrite
    /// Sees what comes back; nil: nobody does.
    var observer: ((consuming IORequest, IOStatus, EngineChannel) -> Void)?

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    /// A bdev on `base`, which goes away with it.
    func create(_ name: String, on base: String, _ here: isolated LocalReactor) async throws(BdevError) {
        let host = host.value
        let below = try await host.engine.open(base, mode: baseMode)
        var properties = BdevProperties(name: name, passingOnTo: below, productName: "pass")
        if let types { properties.supportedTypes = types }
        if let blockCount { properties.geometry.blockCount = blockCount }
        try await host.register(properties, driver: PassDriver(self, below))
        Task(executorPreference: here.reactor.taskExecutor) {
            for await event in below.events where event == .removed { try? await host.unregister(name) }
        }
    }
}

private final class PassDriver: BdevDriver {
    private let module: PassModule
    private let below: BdevDescriptor

    init(_ module: PassModule, _ below: BdevDescriptor) {
        self.module = module
        self.below = below
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = try await below.channel(on: local.reactor)
        return PassChannel(module, channel, local.engine(of: channel))
    }

    func destroy() async { await below.close() }
}

private final class PassChannel: BdevModuleChannel {
    private let module: PassModule
    private let below: BdevChannel
    private let engine: EngineChannel

    init(_ module: PassModule, _ below: BdevChannel, _ engine: EngineChannel) {
        self.module = module
        self.below = below
        self.engine = engine
    }

    override func submit(_ request: consuming IORequest) {
        // A reset or a flush of all has no place.
        let start = request.blockCount == 0 ? nil : request.startBlock + module.shift
        engine.forward(request, at: start, observed: module.observer != nil)
    }

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        module.observer!(request, status, engine)
    }

    override func close() async { await below.close() }
}

extension Scene {
    /// Registers the module and stacks `depth` bdevs of it on "disk". The name of the topmost.
    func stack(
        _ module: PassModule, depth: Int = 1, _ here: isolated LocalReactor
    ) async throws(BdevError) -> String {
        try await engine.register(module)
        var name = "disk"
        for level in 1...depth {
            try await module.create("pass\(level)", on: name, here)
            name = "pass\(level)"
        }
        return name
    }
}
