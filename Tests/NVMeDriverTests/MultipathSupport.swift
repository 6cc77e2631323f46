import Bdev
import Logging
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import SimulatedReactors
import Synchronization
import Testing

/// An engine with the NVMe module, and soft controllers of one subsystem that share one namespace of 4 MiB.
struct Fleet: Sendable {
    let engine: BdevEngine
    let module: NVMeModule
    let softs: [SoftController]
    let seed: UInt64

    /// Attaches controller `index` as a path to `Nvme0`.
    @discardableResult
    func attach(
        _ index: Int, as name: String = "Nvme0", options: NVMeModule.AttachOptions = .init()
    ) async throws -> [String] {
        let soft = softs[index]
        return try await module.attach(name, on: engine.reactors[0], options: options) {
            (reactor, driver) async throws(NVMeError) in
            try await soft.attach(on: reactor, options: driver)
        }
    }

    func attachAll(options: NVMeModule.AttachOptions = .init()) async throws {
        for index in softs.indices { #expect(try await attach(index, options: options) == ["Nvme0n1"]) }
    }

    /// The controller that the next I/O of `Nvme0n1` takes, on the first reactor that has it open.
    func currentController() async throws -> UInt16? {
        try await module.paths(of: "Nvme0n1").first { $0.isCurrent }?.controllerID
    }

    /// In steps: a simulation in which only a controller polls for a second counts as stuck.
    nonisolated(nonsending) func sleep(_ duration: Duration, on local: LocalReactor) async throws {
        let end = await local.now.advanced(by: duration)
        while await local.now < end { try await local.sleep(for: .milliseconds(100)) }
    }

    /// What `body` throws, while time goes on.
    func failure(on local: LocalReactor, _ body: @escaping @Sendable () async throws -> Void) async throws -> BdevError?
    {
        let outcome = Outcome()
        let task = Task(executorPreference: local.reactor.taskExecutor) {
            do {
                try await body()
                outcome.end(nil)
            } catch { outcome.end(error as? BdevError) }
        }
        try await wait("an end", on: local) { outcome.isOver }
        await task.value
        return outcome.error
    }

    /// Until `isTrue`, for as long as a test may take.
    nonisolated(nonsending) func wait(
        _ what: String, on local: LocalReactor, until isTrue: () async throws -> Bool
    ) async throws {
        for _ in 0..<60_000 {
            if try await isTrue() { return }
            try await local.sleep(for: .milliseconds(1))
        }
        Issue.record("a minute has passed, and not: \(what) (seed \(seed))")
    }
}

private final class Outcome: Sendable {
    private let state = Mutex<(isOver: Bool, error: BdevError?)>((false, nil))
    var isOver: Bool { state.withLock { $0.isOver } }
    var error: BdevError? { state.withLock { $0.error } }
    func end(_ error: BdevError?) { state.withLock { $0 = (true, error) } }
}

/// What is special about the controllers of a fleet, by their places.
typealias SoftChange = (inout SoftController.Options, Int) -> Void

/// Runs `body` in a simulation of `reactorCount` reactors with a fleet of `count` controllers, none of them attached.
func simulateFleet(
    seed: UInt64 = .random(in: 1 ... .max), count: Int = 2, reactorCount: Int = 1, reportsAccess: Bool = false,
    module options: NVMeModule.Options = .init(), change: SoftChange = { _, _ in },
    _ body: @escaping @Sendable (isolated LocalReactor, Fleet) async throws -> Void
) throws {
    var all: [SoftController.Options] = []
    for index in 0..<count {
        var soft = SoftController.Options()
        soft.name = "soft\(index)"
        soft.serialNumber = "SOFT\(index)"
        soft.seed = seed &+ UInt64(index)
        soft.subsystem.hasMultipleControllers = true
        soft.subsystem.controllerID = UInt16(index + 1)
        soft.subsystem.reportsAccess = reportsAccess
        if index == 0 {
            soft.namespaces = [SoftNamespaceOptions(blockCount: 8192)]
            soft.namespaces[0].uuid = (1...16).map { UInt8($0) }
            soft.namespaces[0].isShared = true
        }
        change(&soft, index)
        all.append(soft)
    }
    let simulation = Simulation(seed: seed, reactorCount: reactorCount)
    try simulation.run { [all] local in
        var softs: [SoftController] = []
        for each in all { softs.append(try SoftController(each, on: local)) }
        for soft in softs.dropFirst() { await soft.share(softs[0]) }
        let engine = BdevEngine(reactors: simulation.reactors),
            module = NVMeModule(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await engine.register(module)
        try module.setOptions(options)
        try await body(local, Fleet(engine: engine, module: module, softs: softs, seed: seed))
        await engine.stop()
        for soft in softs { await soft.powerOff() }
    }
}

/// Workers that write blocks of their own, read them back, and remember what they wrote.
final class ShadowLoad: Sendable {
    private let isOver = Atomic(false)
    private let count = Atomic(0)
    private let state = Mutex(State())

    private struct State {
        var failures: [String] = []
        var workers: [Task<Void, Never>] = []
    }

    /// Each of `workers` workers has blocks of its own on the bdev; they are spread over `reactors`.
    init(on descriptor: BdevDescriptor, reactors: [Reactor], workers: Int = 12, seed: UInt64) {
        for index in 0..<workers {
            let reactor = reactors[index % reactors.count]
            let worker = Task(executorPreference: reactor.taskExecutor) { [self] in
                do {
                    try await descriptor.withChannel(on: reactor) { channel in
                        try await self.work(channel, index, seed &+ UInt64(index))
                    }
                } catch {
                    state.withLock { $0.failures.append("worker \(index): \(error)") }
                }
            }
            state.withLock { $0.workers.append(worker) }
        }
    }

    /// I/O that has ended.
    var operationCount: Int { count.load(ordering: .relaxed) }
    var failures: [String] { state.withLock { $0.failures } }

    /// Ends the workers, and returns what went wrong.
    func finish() async -> [String] {
        isOver.store(true, ordering: .relaxed)
        for worker in state.withLock({ $0.workers }) { await worker.value }
        return failures
    }

    private func work(_ channel: isolated BdevChannel, _ index: Int, _ seed: UInt64) async throws {
        let first = UInt64(index) * 64, blockCount = 48
        var random = SplitMix(state: seed)
        var versions = Array(repeating: UInt64(0), count: blockCount)
        var data = try channel.allocateBuffer(byteCount: 8 * 512),
            found = try channel.allocateBuffer(byteCount: 8 * 512)
        try await channel.writeZeroes(at: .block(first), count: .blocks(UInt64(blockCount)))
        while !isOver.load(ordering: .relaxed) {
            let start = Int(random.next() % UInt64(blockCount - 8))
            if random.next() & 1 == 0 {
                for block in 0..<8 {
                    versions[start + block] = random.next()
                    for word in 0..<64 {
                        data.store(versions[start + block] &+ UInt64(word), at: block * 512 + word * 8)
                    }
                }
                try await channel.write(from: data, at: .block(first + UInt64(start)))
            } else {
                found.fill(with: 0xEE)
                try await channel.read(at: .block(first + UInt64(start)), into: &found)
                for block in 0..<8 {
                    let version = versions[start + block]
                    for word in 0..<64 {
                        let expected = version == 0 ? 0 : version &+ UInt64(word)
                        let value: UInt64 = found.load(at: block * 512 + word * 8)
                        if value != expected {
                            state.withLock {
                                $0.failures.append("worker \(index): block \(start + block) is not what was written")
                            }
                            return
                        }
                    }
                }
            }
            count.add(1, ordering: .relaxed)
        }
    }
}

struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
