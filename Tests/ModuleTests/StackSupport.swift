import Bdev
import BdevConformance
import DelayBdev
import ErrorBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import SplitBdev
import TestSupport
import Testing

/// Simulates `body` with an engine that has the virtual modules and disks of the test's own, stops the engine, and
/// checks that nothing is left behind.
func stack(
    seed: UInt64 = 1, reactorCount: Int = 1, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (isolated LocalReactor, Stage) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed, reactorCount: reactorCount)
    let stage = Stage(simulation)
    try simulation.run { here in
        try await stage.engine.start([stage.disks, stage.passthru, stage.split, stage.delay, stage.error])
        try await body(here, stage)
        await stage.engine.stop()
    }
    #expect(simulation.parkedTaskCount == 0, "seed \(seed)", sourceLocation: sourceLocation)
    #expect(stage.disks.all.allSatisfy { $0.openChannelCount == 0 }, "seed \(seed)", sourceLocation: sourceLocation)
}

final class Stage: Sendable {
    let simulation: Simulation
    let engine: BdevEngine
    let disks = DiskModule()
    let passthru = PassthruModule()
    let notices = Notices()
    let split: SplitModule
    let delay = DelayModule()
    let error = ErrorModule()

    init(_ simulation: Simulation) {
        self.simulation = simulation
        engine = BdevEngine(reactors: simulation.reactors)
        let notices = notices
        split = SplitModule(logger: notices.logger)
    }

    /// Starts `body` in a task that stays in the simulation.
    @discardableResult
    func spawn(_ body: @escaping @Sendable () async throws -> Void) -> Task<Void, any Error> {
        Task(executorPreference: simulation.reactors[0].taskExecutor) { try await body() }
    }

    /// Runs `body` with a channel of a bdev.
    func withChannel<Result: Sendable>(
        _ name: String, on index: Int = 0, mode: BdevDescriptor.Mode = .readWrite,
        _ body: @Sendable (isolated BdevChannel) async throws -> Result
    ) async throws -> Result {
        let descriptor = try await engine.open(name, mode: mode)
        do {
            let result = try await descriptor.withChannel(on: simulation.reactors[index], body)
            await descriptor.close()
            return result
        } catch {
            await descriptor.close()
            throw error
        }
    }

    /// The bdevs that are there when all have been examined, by name.
    func names() async -> [String] {
        await engine.waitForExamine()
        return await engine.list().map(\.name).sorted()
    }

    func code(_ body: () async throws -> Void) async -> BdevError.Code? {
        do {
            try await body()
            return nil
        } catch { return (error as? BdevError)?.code }
    }
}

/// Makes disks whose every request the test sees.
final class DiskModule: BdevModule, @unchecked Sendable {
    // Sendable unchecked: a simulation has one thread.
    let name = "disks"
    let host = HostSlot()
    private(set) var all: [Disk] = []

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    @discardableResult
    func create(
        _ name: String, blockCount: UInt64 = 1024, blockByteCount: Int = 512, uuid: BdevUUID? = nil,
        types: IOTypes = [.read, .write, .unmap, .flush, .reset, .writeZeroes],
        _ change: (inout BdevGeometry) -> Void = { _ in }
    ) async throws -> Disk {
        var geometry = BdevGeometry(blockByteCount: blockByteCount, blockCount: blockCount)
        change(&geometry)
        var properties = BdevProperties(
            name: name, productName: "disk", geometry: geometry, supportedTypes: types)
        properties.uuid = uuid
        properties.aliases = ["alias-\(name)"]
        let disk = Disk(geometry)
        try await host.value.register(properties, driver: disk)
        all.append(disk)
        return disk
    }

    func remove(_ name: String) async throws { try await host.value.unregister(name) }
}

/// Sendable unchecked: a simulation has one thread.
final class Disk: BdevDriver, @unchecked Sendable {
    struct Arrival: Hashable, Sendable {
        let type: IOType
        let start: UInt64
        let count: UInt64
    }

    var data: [UInt8]
    /// Of all blocks, where it is kept apart.
    var metadata: [UInt8]
    private let geometry: BdevGeometry
    /// Requests wait until the test lets them go.
    var isHeld = false
    /// How a request ends.
    var answer: (Arrival) -> IOStatus = { _ in .success }
    private(set) var arrivals: [Arrival] = []
    private(set) var openChannelCount = 0
    private(set) var isDestroyed = false
    private var held: [(token: RequestToken, channel: DiskChannel, arrival: Arrival)] = []

    init(_ geometry: BdevGeometry) {
        self.geometry = geometry
        data = Array(repeating: 0, count: Int(geometry.byteCount))
        metadata = Array(
            repeating: 0,
            count: geometry.isMetadataInterleaved ? 0 : Int(geometry.blockCount) * geometry.metadataByteCount)
    }

    func types(_ type: IOType) -> Int { arrivals.count { $0.type == type } }
    var heldCount: Int { held.count }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        openChannelCount += 1
        return DiskChannel(self, requests, local.reactor)
    }

    func destroy() async { isDestroyed = true }

    /// Lets what waits go on, each on its own reactor.
    func release() {
        isHeld = false
        let released = held
        held = []
        for entry in released {
            let (token, arrival) = (entry.token, entry.arrival), channel = Shared(entry.channel)
            entry.channel.reactor.post { _ in self.finish(channel.value.requests.request(token), arrival) }
        }
    }

    fileprivate func submit(_ request: consuming IORequest, _ channel: DiskChannel) {
        let arrival = Arrival(type: request.type, start: request.startBlock, count: request.blockCount)
        arrivals.append(arrival)
        if arrival.type == .reset { return reset(request, arrival, channel) }
        if isHeld { return held.append((request.detach(), channel, arrival)) }
        finish(request, arrival)
    }

    /// As a device's, it ends when everything before it has.
    private func reset(_ request: consuming IORequest, _ arrival: Arrival, _ channel: DiskChannel) {
        let others = held.map(\.channel.reactor).filter { $0 !== channel.reactor }
        release()
        let token = request.detach(), own = Shared(channel)
        Task(executorPreference: channel.reactor.taskExecutor) {
            for other in others { await other.run { _ in } }
            await own.value.reactor.run { _ in self.finish(own.value.requests.request(token), arrival) }
        }
    }

    fileprivate func channelClosed() { openChannelCount -= 1 }

    private func finish(_ request: consuming IORequest, _ arrival: Arrival) {
        let status = answer(arrival)
        if status.isSuccess {
            switch arrival.type {
            case .read, .write: transfer(request, arrival.type == .write)
            case .unmap, .writeZeroes:
                let size = geometry.blockByteCount
                for index in Int(arrival.start) * size..<Int(arrival.start + arrival.count) * size { data[index] = 0 }
            default: break
            }
        }
        request.complete(status)
    }

    private func transfer(_ request: borrowing IORequest, _ isWrite: Bool) {
        var place = Int(request.byteOffset)
        for index in 0..<request.segmentCount {
            let memory = request.memory(index)
            Self.move(memory, &data, place, isWrite)
            place += memory.byteCount
        }
        if let memory = request.metadataMemory {
            Self.move(memory, &metadata, Int(request.startBlock) * geometry.metadataByteCount, isWrite)
        }
    }

    private static func move(_ memory: IOMemory, _ medium: inout [UInt8], _ place: Int, _ isWrite: Bool) {
        // SAFETY: the request keeps its memory until it is completed; the array is as long as the bdev.
        unsafe medium.withUnsafeMutableBytes { medium in
            let part = unsafe medium.baseAddress! + place
            if isWrite {
                unsafe part.copyMemory(from: memory.base, byteCount: memory.byteCount)
            } else {
                unsafe memory.base.copyMemory(from: part, byteCount: memory.byteCount)
            }
        }
    }
}

private final class DiskChannel: BdevModuleChannel {
    private let disk: Disk
    let requests: RequestTable
    let reactor: Reactor

    init(_ disk: Disk, _ requests: RequestTable, _ reactor: Reactor) {
        self.disk = disk
        self.requests = requests
        self.reactor = reactor
    }

    override func submit(_ request: consuming IORequest) { disk.submit(request, self) }
    override func close() async { disk.channelClosed() }
}

extension IOBuffer {
    /// Bytes that follow from `seed`.
    mutating func fill(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for place in 0..<byteCount { store(UInt8.random(in: 0 ... .max, using: &random), at: place) }
    }

    var array: [UInt8] { (0..<byteCount).map { load(UInt8.self, at: $0) } }
}

/// A value that the closures of one simulation share. Sendable unchecked: a simulation has one thread.
final class Shared<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}
