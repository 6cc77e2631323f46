import Bdev
import Reactors
import SimulatedReactors

typealias Examine = @Sendable (BdevInfo, BdevModuleHost) async throws(BdevError) -> Void

/// A module that writes down what the engine does with it, and does what the test says.
class RecordedModule: BdevModule, @unchecked Sendable {
    let name: String
    let host = HostSlot()
    let log: Shared<[String]>
    /// Names of bdevs that it registers when it is started.
    var bdevs: [String] = []
    var startFailure: BdevError?
    var onWillStop: (@Sendable () async -> Void)?

    init(_ name: String, _ log: Shared<[String]>, bdevs: [String] = []) {
        self.name = name
        self.log = log
        self.bdevs = bdevs
    }

    func note(_ what: String) { log.value.append("\(name): \(what)") }

    func start(_ host: BdevModuleHost) async throws(BdevError) {
        note("start")
        self.host.fill(host)
        for bdev in bdevs { try await register(bdev) }
        if let startFailure { throw startFailure }
    }

    func startCompleted() async { note("startCompleted") }

    func willStop() async {
        note("willStop")
        await onWillStop?()
    }

    func stop() async { note("stop") }

    /// Registers a bdev, which closes `base` when it is destroyed.
    func register(
        _ name: String, types: IOTypes = .everything, aliases: [String] = [], on base: BdevDescriptor? = nil
    ) async throws(BdevError) {
        var properties = BdevProperties(name: name, productName: "Disk", geometry: .test, supportedTypes: types)
        properties.aliases = aliases
        try await host.value.register(properties, driver: RecordedDriver(name, log, base))
    }

    /// Opens and claims `base`, and registers a bdev on it that goes when `base` is to go.
    func stack(_ name: String, on base: String, _ kind: ClaimKind = .exclusiveWrite) async throws(BdevError) {
        let host = host.value
        let reactor = host.engine.reactors[0]
        let descriptor = try await host.engine.open(base, on: reactor) { local, event in
            guard event == .removed else { return }
            Task(executorPreference: reactor.taskExecutor) { try? await host.unregister(name) }
        }
        do {
            try await host.claim(descriptor, kind)
            try await register(name, on: descriptor)
        } catch {
            await descriptor.close()
            throw error
        }
    }
}

/// The same for a module that examines.
final class VirtualModule: RecordedModule, VirtualBdevModule, @unchecked Sendable {
    var onConfiguration: Examine?
    var onDisk: Examine?

    func examineConfiguration(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {
        note("configuration of \(bdev.name)")
        try await onConfiguration?(bdev, host)
    }

    func examineDisk(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {
        note("disk of \(bdev.name)")
        try await onDisk?(bdev, host)
    }
}

/// Writes down that it was destroyed.
final class RecordedDriver: BdevDriver {
    private let name: String
    private let log: Shared<[String]>
    private let base: BdevDescriptor?

    init(_ name: String, _ log: Shared<[String]>, _ base: BdevDescriptor? = nil) {
        self.name = name
        self.log = log
        self.base = base
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        throw BdevError(.notSupported, "no channels here")
    }

    func destroy() async {
        log.value.append("destroy \(name)")
        await base?.close()
    }
}

/// Simulates `body` with an engine that has no module; what it starts is stopped afterwards.
func simulateEngine(
    seed: UInt64 = 1, reactorCount: Int = 1, automaticallyExamines: Bool = true,
    _ body: @escaping @Sendable (isolated LocalReactor, BdevEngine, Shared<[String]>) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed, reactorCount: reactorCount)
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors, automaticallyExamines: automaticallyExamines)
        try await body(here, engine, Shared([]))
        await engine.stop()
    }
    if simulation.parkedTaskCount != 0 { throw LeftOver(seed: seed, parkedTaskCount: simulation.parkedTaskCount) }
}

/// Tasks still wait after the engine has stopped.
struct LeftOver: Error {
    let seed: UInt64
    let parkedTaskCount: Int
}
