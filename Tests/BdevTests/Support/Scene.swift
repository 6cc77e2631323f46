import Bdev
import Reactors
import SimulatedReactors
import Testing

extension BdevGeometry {
    /// 1,024 blocks of 512 bytes, no limits.
    static let test = BdevGeometry(blockByteCount: 512, blockCount: 1024)

    /// A copy that differs in what `change` changes.
    func with(_ change: (inout BdevGeometry) -> Void) -> BdevGeometry {
        var copy = self
        change(&copy)
        return copy
    }
}

extension IOTypes {
    static let everything: IOTypes = [.read, .write, .unmap, .flush, .reset, .writeZeroes]
    /// What the layer does for devices that cannot, too.
    static let native: IOTypes = everything.union([
        .compare, .compareAndWrite, .copy, .seekData, .seekHole, .writeUncorrectable,
    ])
}

/// An engine in a simulation, with one bdev of a test device named "disk".
struct Scene: Sendable {
    let simulation: Simulation
    let engine: BdevEngine
    let module: TestModule
    let device: TestDevice

    var reactors: [Reactor] { simulation.reactors }

    /// Opens "disk", runs `body` with a channel of the first reactor, closes.
    func withChannel<Result: Sendable>(
        _ mode: BdevDescriptor.Mode = .readWrite,
        _ body: @Sendable (isolated BdevChannel) async throws -> Result
    ) async throws -> Result {
        let descriptor = try await engine.open("disk", mode: mode)
        do {
            let result = try await descriptor.withChannel(on: reactors[0], body)
            await descriptor.close()
            return result
        } catch {
            await descriptor.close()
            throw error
        }
    }
}

/// Simulates `body` with an engine over `reactorCount` reactors, stops the engine, and checks that nothing is left
/// behind and that
/// nothing reached the device which should not have.
func simulate(
    seed: UInt64 = 1, reactorCount: Int = 1, geometry: BdevGeometry = .test, types: IOTypes = .everything,
    memory: BufferPool.Options = BufferPool.Options(), resetDrainTimeout: Duration = .zero,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (isolated LocalReactor, Scene) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed, reactorCount: reactorCount, memory: memory)
    let device = TestDevice(geometry, types: types)
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors), module = TestModule()
        try await engine.register(module)
        try await module.create("disk", device, resetDrainTimeout: resetDrainTimeout)
        try await body(here, Scene(simulation: simulation, engine: engine, module: module, device: device))
        await engine.stop()
    }
    #expect(device.violations == [], "seed \(seed)", sourceLocation: sourceLocation)
    #expect(device.inside == 0, "seed \(seed)", sourceLocation: sourceLocation)
    #expect(device.channelsMade == device.channelsClosed, "seed \(seed)", sourceLocation: sourceLocation)
    #expect(device.wasDestroyed, "seed \(seed)", sourceLocation: sourceLocation)
    #expect(simulation.parkedTaskCount == 0, "seed \(seed)", sourceLocation: sourceLocation)
}

/// What kind of error `body` throws; nil when it throws none.
func code(_ body: () async throws(BdevError) -> Void) async -> BdevError.Code? {
    do throws(BdevError) {
        try await body()
        return nil
    } catch {
        return error.code
    }
}

/// The error that `body` throws; nil when it throws none.
func failure(_ body: () async throws(BdevError) -> Void) async -> BdevError? {
    do throws(BdevError) {
        try await body()
        return nil
    } catch {
        return error
    }
}

extension LocalReactor {
    /// Returns when everything that can happen without time moving has happened, and a microsecond has passed.
    func settle(_ duration: Duration = .microseconds(1)) async {
        // Nobody cancels the task of a test's body.
        try? await sleep(for: duration)
    }

    /// A task on this reactor that `body` runs in.
    func task<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) -> Task<Result, Never> {
        Task(executorPreference: reactor.taskExecutor) { await body() }
    }
}

extension IOBuffer {
    /// Random bytes.
    mutating func fill(using random: inout SeededRandom) {
        var bytes = mutableBytes
        for place in 0..<bytes.byteCount {
            bytes.storeBytes(of: UInt8.random(in: .min ... .max, using: &random), toByteOffset: place, as: UInt8.self)
        }
    }

    var array: [UInt8] { bytes.array }
}

extension RawSpan {
    var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }
}

/// Remembers its completions.
class RecordingHandler: IOHandler {
    private(set) var completions: [(tag: UInt64, status: IOStatus)] = []
    /// Buffers that came back.
    private(set) var buffersBack = 0
    var isInsideSubmit = false
    private(set) var calledInsideSubmit = false
    var onCompletion: ((UInt64) -> Void)?

    var tags: [UInt64] { completions.map(\.tag) }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        if isInsideSubmit { calledInsideSubmit = true }
        completions.append((completion.tag, completion.status))
        if let buffer = completion.buffer.take() {
            buffersBack += 1
            _ = consume buffer
        }
        onCompletion?(completions.last!.tag)
    }
}
