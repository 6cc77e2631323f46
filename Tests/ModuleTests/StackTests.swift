import Bdev
import BdevConformance
import CMallocCount
import DelayBdev
import ErrorBdev
import MallocBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import SplitBdev
import Testing

/// What stands on what: each module alone, and all of them three deep, in every order of which two neighbours differ.
enum Layer: String, CaseIterable, Sendable {
    case passthru, split, delay, error

    /// Makes this layer on `base`; the name of its bdev.
    func make(on base: String, _ bench: Bench) async throws -> String {
        switch self {
        case .passthru:
            try await bench.passthru.create("P-\(base)", on: base)
            return "P-\(base)"
        case .split:
            try await bench.split.create(on: base, count: 2)
            return "\(base)p1"
        case .delay:
            var options = DelayModule.Options(name: "D-\(base)", base: base)
            options.averageRead = .microseconds(3)
            options.p99Read = .microseconds(200)
            options.averageWrite = .microseconds(5)
            options.p99Write = .microseconds(300)
            try await bench.delay.create(options)
            return "D-\(base)"
        case .error:
            try await bench.error.create(on: base)
            return ErrorModule.name(on: base)
        }
    }

    static let stacks: [[Layer]] =
        allCases.map { [$0] }
        + allCases.map { [$0, $0, $0] }
        + [
            [.passthru, .split, .delay], [.split, .delay, .error], [.delay, .error, .passthru],
            [.error, .passthru, .split], [.delay, .split, .passthru], [.error, .delay, .split],
        ]
}

@Suite("Stacks of virtual bdevs", .serialized)
struct StackTests {
    /// Makes a stack of layers on a RAM disk; the name of its top.
    private static func make(
        _ layers: [Layer], _ bench: Bench, blockByteCount: Int = 512, byteCount: UInt64 = 64 << 20
    ) async throws -> String {
        let count = byteCount / UInt64(blockByteCount)
        var top = "M"
        // Uppermost first: what stands on it waits for it.
        for layer in layers { top = try await layer.make(on: top, bench) }
        try await bench.malloc.create(.init(name: "M", blockCount: count, blockByteCount: blockByteCount))
        await bench.engine.waitForExamine()
        return top
    }

    /// Under a sanitizer the suite takes ten times as long, and smaller blocks show it nothing else.
    private static let blockByteCounts = malloc_count_is_possible() ? [512, 4096] : [4096]

    @Test(arguments: Layer.stacks, blockByteCounts)
    func `alone and three deep they pass the conformance suite`(layers: [Layer], blockByteCount: Int) async throws {
        try await Bench.run { bench in
            let top = try await Self.make(layers, bench, blockByteCount: blockByteCount)
            var options = ConformanceSuite.Options()
            options.zeroesUnmappedBlocks = true
            options.seed = UInt64.random(in: 1...UInt64.max)
            try await ConformanceSuite(engine: bench.engine, bdev: top, options: options).run()
            #expect(await bench.engine.leaves().map(\.name).contains(top))
        }
    }

    @Test(arguments: Layer.stacks)
    func `a stack announces no more than is done`(layers: [Layer]) async throws {
        try await Bench.run { bench in
            let top = try await Self.make(layers, bench)
            let info = try await bench.engine.info(top), base = try await bench.engine.info("M")
            #expect(info.supportedTypes.subtracting(base.supportedTypes.withEmulated).isEmpty)
            #expect(info.supportedTypes.isSuperset(of: base.supportedTypes))
        }
    }

    // MARK: Under load

    /// Reads and writes at random through the top on both reactors until `stop` says so; what I/O ended with.
    private static func load(
        _ bench: Bench, _ top: String, _ load: Load
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, reactor) in bench.group.reactors.enumerated() {
                for worker in 0..<4 {
                    group.addTask { await load.run(bench.engine, top, reactor, seed: UInt64(10 * index + worker)) }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test(arguments: Layer.stacks)
    func `a base that is removed under load takes the stack with it, and brings it back`(layers: [Layer]) async throws {
        try await Bench.run { bench in
            let top = try await Self.make(layers, bench)
            for _ in 0..<3 {
                let load = Load()
                async let work: Void = Self.load(bench, top, load)
                try await load.waitForCompletions(200)
                try await bench.malloc.delete("M")
                try await work
                #expect(load.unexpected == [])
                #expect(await bench.engine.list().map(\.name) == [])
                try await bench.malloc.create(.init(name: "M", blockCount: 131_072))
                await bench.engine.waitForExamine()
                #expect(await bench.engine.list().map(\.name).contains(top))
            }
        }
    }

    @Test(arguments: Layer.stacks)
    func `resets under load end everything that was in flight`(layers: [Layer]) async throws {
        try await Bench.run { bench in
            let top = try await Self.make(layers, bench)
            let load = Load()
            async let work: Void = Self.load(bench, top, load)
            let resetter = try await bench.engine.open(top)
            for index in 0..<20 {
                try await load.waitForCompletions(50 * index)
                try await resetter.withChannel(on: bench.group.reactors[index % 2]) { channel in
                    try await channel.reset()
                }
            }
            await resetter.close()
            load.stop()
            try await work
            #expect(load.unexpected == [])
        }
    }

    @Test(arguments: Layer.stacks.filter { $0.contains(.error) })
    func `injected failures under load are told, and nothing else is`(layers: [Layer]) async throws {
        try await Bench.run { bench in
            let top = try await Self.make(layers, bench)
            let load = Load()
            load.toleratesFailures = true
            async let work: Void = Self.load(bench, top, load)
            let names = await bench.engine.list().filter { $0.moduleName == "error" }.map(\.name)
            for index in 0..<20 {
                let effect: ErrorInjection.Effect = index % 2 == 0 ? .failure : .noMemory
                for name in names {
                    try await bench.error.inject(ErrorInjection(effect, of: .all, count: 10), into: name)
                }
                try await load.waitForCompletions(100 * index)
            }
            for name in names { try await bench.error.clear(name) }
            load.stop()
            try await work
            #expect(load.unexpected == [])
            #expect(load.failures > 0)
        }
    }

    // MARK: In the simulator

    /// I/O on two reactors through three layers over a disk whose requests come back late, while something happens to
    /// the disk.
    @Test(arguments: UInt64(0)..<40)
    func `a stack survives what happens to its base`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { here, stage in
            var random = SeededRandom(seed: seed)
            var slow = DelayModule.Options(name: "D", base: "EE_diskp0")
            slow.averageRead = .microseconds(20)
            slow.p99Read = .microseconds(70)
            try await stage.passthru.create("top", on: "D")
            try await stage.delay.create(slow)
            try await stage.error.create(on: "diskp0")
            try await stage.split.create(on: "disk", count: 1)
            for _ in 0..<3 {
                let disk = try await stage.disks.create("disk")
                await stage.engine.waitForExamine()
                let isOver = Shared(false), done = Shared(0)
                let users = (0..<4).map { index in
                    stage.spawn {
                        try await Self.use(stage, on: index % 2, seed: seed &+ UInt64(index), isOver, done)
                    }
                }
                for _ in 0..<6 {
                    try await here.sleep(for: .microseconds(Int64.random(in: 0..<200, using: &random)))
                    switch Int.random(in: 0..<5, using: &random) {
                    case 0:
                        disk.isHeld = true
                        try await here.sleep(for: .microseconds(50))
                        disk.release()
                    case 1: disk.answer = { $0.type != .reset && $0.start % 3 == 0 ? .failed : .success }
                    case 2: try await stage.withChannel("top", mode: .readOnly) { try await $0.reset() }
                    case 3:
                        let count = try await stage.engine.info("disk").geometry.blockCount
                        try await stage.disks.host.value.resize("disk", blockCount: count + 64)
                    default:
                        try await stage.error.inject(ErrorInjection(.pending, of: .read, count: 2), into: "EE_diskp0")
                        try await here.sleep(for: .microseconds(30))
                        try await stage.error.resumePending(of: "EE_diskp0")
                    }
                }
                try await stage.disks.remove("disk")
                isOver.value = true
                for user in users { try await user.value }
                #expect(await stage.names() == [], "seed \(seed)")
                #expect(disk.isDestroyed && disk.openChannelCount == 0, "seed \(seed)")
            }
        }
    }

    /// Reads and writes until the bdev goes.
    private static func use(
        _ stage: Stage, on index: Int, seed: UInt64, _ isOver: Shared<Bool>, _ done: Shared<Int>
    ) async throws {
        let descriptor = try await stage.engine.open("top", mode: .readWrite)
        try await descriptor.withChannel(on: stage.simulation.reactors[index]) { channel in
            var random = SeededRandom(seed: seed)
            var buffer = try channel.allocateBuffer(byteCount: 512)
            while true {
                let block = BdevOffset.block(UInt64.random(in: 0..<1024, using: &random))
                do throws(BdevError) {
                    if Bool.random(using: &random) {
                        try await channel.read(at: block, into: &buffer)
                    } else {
                        try await channel.write(from: buffer, at: block)
                    }
                    done.value += 1
                } catch {
                    if error.code == .removed { return }
                    #expect([.aborted, .deviceFailed].contains(error.code), "\(error)")
                }
                try await channel.reactor.local.sleep(for: .microseconds(1))
            }
        }
        await descriptor.close()
    }
}

/// Workers that do I/O until they are told to stop, or the bdev is removed.
private final class Load: Sendable {
    private struct State {
        var isStopped = false
        var completions = 0
        var failures = 0
        var unexpected: [String] = []
    }

    private let state = ThreadLock(State())
    private let tolerates = ThreadLock(false)

    var toleratesFailures: Bool {
        get { tolerates.withLock { $0 } }
        set { tolerates.withLock { $0 = newValue } }
    }
    var unexpected: [String] { state.withLock { $0.unexpected } }
    var failures: Int { state.withLock { $0.failures } }

    func stop() { state.withLock { $0.isStopped = true } }

    func waitForCompletions(_ count: Int) async throws {
        for _ in 0..<10_000 where state.withLock({ $0.completions }) < count {
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    func run(_ engine: BdevEngine, _ name: String, _ reactor: Reactor, seed: UInt64) async {
        // A worker may come so late that the bdev is on its way out.
        guard let descriptor = try? await engine.open(name, mode: .readWrite) else { return }
        try? await descriptor.withChannel(on: reactor) { channel in
            var random = SeededRandom(seed: seed)
            var buffer = try channel.allocateBuffer(byteCount: 8192)
            let last = channel.engine.blockCount - UInt64(8192 / channel.engine.blockByteCount)
            while !self.state.withLock({ $0.isStopped }) {
                let block = BdevOffset.block(UInt64.random(in: 0...last, using: &random))
                do throws(BdevError) {
                    if Bool.random(using: &random) {
                        try await channel.read(at: block, into: &buffer)
                    } else {
                        try await channel.write(from: buffer, at: block)
                    }
                    self.note(nil)
                } catch {
                    if error.code == .removed { return }
                    self.note(error)
                }
                await channel.reactor.local.yield()
            }
        }
        await descriptor.close()
    }

    private func note(_ error: BdevError?) {
        let tolerates = toleratesFailures
        state.withLock { state in
            state.completions += 1
            guard let error else { return }
            state.failures += 1
            // A reset aborts.
            if error.code != .aborted && !(tolerates && error.code == .deviceFailed) {
                state.unexpected.append(error.description)
            }
        }
    }
}
