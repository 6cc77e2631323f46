import Bdev
import Reactors
import SimulatedReactors
import SystemPackage

/// RAM behind delays, and failures when the test says so.
///
/// Sendable unchecked: a simulation has one thread.
final class SlowDevice: BdevDriver, @unchecked Sendable {
    private let region: MemoryRegion
    private var random: SeededRandom
    /// Of each request at random; 0 completes inside the submit.
    var longestDelay = Duration.microseconds(50)
    /// Of requests of one kind, in place of a random one.
    var delays: [IOType: Duration] = [:]
    /// How a request ends.
    var answer: (IOType, _ start: UInt64, _ count: UInt64) -> IOStatus = { _, _, _ in .success }
    private(set) var unmaps: [Range<UInt64>] = []
    private(set) var writeCount = 0
    private(set) var inside = 0

    init(byteCount: Int, seed: UInt64) throws {
        region = try MemoryRegion(byteCount: byteCount)
        random = SeededRandom(seed: seed)
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        SlowChannel(self, loop: local.loop, requests: requests)
    }

    fileprivate func delay(_ type: IOType) -> Duration? {
        if let delay = delays[type] { return delay }
        if longestDelay == .zero { return nil }
        let longest = Int(longestDelay / .nanoseconds(1))
        return .nanoseconds(Int.random(in: 0...longest, using: &random))
    }

    fileprivate func begin() { inside += 1 }

    fileprivate func perform(_ request: borrowing IORequest) -> IOStatus {
        inside -= 1
        let status = answer(request.type, request.startBlock, request.blockCount)
        if !status.isSuccess { return status }
        var offset = Int(request.byteOffset)
        switch request.type {
        case .read, .write:
            if request.type == .write { writeCount += 1 }
            for index in 0..<request.segmentCount {
                let memory = request.memory(index), place = region.memory(from: offset, count: memory.byteCount)
                if request.type == .read { memory.copy(from: place) } else { place.copy(from: memory) }
                offset += memory.byteCount
            }
        case .unmap, .writeZeroes:
            if request.type == .unmap {
                unmaps.append(request.startBlock..<request.startBlock + request.blockCount)
            }
            region.memory(from: offset, count: Int(request.byteCount)).zero()
        default: break
        }
        return .success
    }
}

private final class SlowChannel: BdevModuleChannel {
    private let device: SlowDevice
    private let loop: ReactorLoop
    private let requests: RequestTable

    init(_ device: SlowDevice, loop: ReactorLoop, requests: RequestTable) {
        self.device = device
        self.loop = loop
        self.requests = requests
    }

    override func submit(_ request: consuming IORequest) {
        device.begin()
        guard let delay = device.delay(request.type) else {
            let status = device.perform(request)
            return request.complete(status)
        }
        let token = request.detach()
        _ = loop.schedule(after: delay) { [self] in
            let request = requests.request(token)
            let status = device.perform(request)
            request.complete(status)
        }
    }
}

/// A module whose bdevs are slow devices.
final class SlowModule: BdevModule {
    let name = "slow"
    let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(
        _ name: String, _ device: SlowDevice, blockCount: UInt64,
        types: IOTypes = [.read, .write, .unmap, .flush, .reset, .writeZeroes]
    ) async throws(BdevError) {
        let properties = BdevProperties(
            name: name, productName: "Slow disk",
            geometry: BdevGeometry(blockByteCount: 512, blockCount: blockCount), supportedTypes: types)
        try await host.value.register(properties, driver: device)
    }
}

/// Simulates `body` with an engine over some reactors and a slow device named "base" of so many blocks of 512 bytes.
/// Nothing may be left behind.
func simulateStack(
    seed: UInt64, reactorCount: Int = 1, blockCount: UInt64 = 1024,
    _ body: @escaping @Sendable (isolated LocalReactor, Stack) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed, reactorCount: reactorCount)
    let device = try SlowDevice(byteCount: Int(blockCount) * 512, seed: seed)
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors), slow = SlowModule()
        try await engine.register(slow)
        try await slow.create("base", device, blockCount: blockCount)
        try await body(here, Stack(simulation: simulation, engine: engine, slow: slow, device: device))
        await engine.stop()
    }
    if simulation.parkedTaskCount != 0 || device.inside != 0 {
        throw LeftBehind(seed: seed, parkedTaskCount: simulation.parkedTaskCount, requestCount: device.inside)
    }
}

struct Stack: Sendable {
    let simulation: Simulation
    let engine: BdevEngine
    let slow: SlowModule
    let device: SlowDevice
    var reactors: [Reactor] { simulation.reactors }

    /// A millisecond.
    func pause() async throws { try await reactors[0].local.sleep(for: .milliseconds(1)) }
}

extension IOStatus {
    /// What the medium has to say about a block it cannot read or keep.
    static let mediumFailed = IOStatus.system(.ioError)
}

/// Tasks still wait after the engine has stopped, or requests.
struct LeftBehind: Error {
    let seed: UInt64
    let parkedTaskCount: Int
    let requestCount: Int
}

extension IOBuffer {
    /// Sets every eight bytes to `value`.
    mutating func fill(words value: UInt64) {
        for offset in stride(from: 0, to: byteCount, by: 8) { store(value, at: offset) }
    }

    /// The value that every eight bytes have; nil when they differ.
    var value: UInt64? {
        let first: UInt64 = load(at: 0)
        for offset in stride(from: 8, to: byteCount, by: 8) where load(UInt64.self, at: offset) != first { return nil }
        return first
    }
}

/// The status of what `body` throws; success when it throws nothing.
func status(_ body: () async throws(BdevError) -> Void) async -> IOStatus {
    do throws(BdevError) {
        try await body()
        return .success
    } catch {
        return error.status ?? .failed
    }
}
