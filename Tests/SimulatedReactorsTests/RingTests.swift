import Bdev
import Glibc
import Reactors
import SimulatedReactors
import SystemPackage
import Testing
import UringBdev

/// Real files in virtual time.
struct RingTests {
    @Test func `operations end at instants the seed decides, in any order`() throws {
        var orders: Set<[UInt64]> = []
        for seed in UInt64(0)..<40 {
            var digests: Set<UInt64> = []
            for _ in 0..<2 {
                let simulation = Simulation(seed: seed)
                let order = try simulation.run { here in
                    let client = Collector(), ring = try here.loop.startRing()
                    ring.add(client)
                    for token in UInt64(0)..<6 { #expect(ring.nop(token: token, for: client)) }
                    while client.order.count < 6 { try await here.sleep(for: .microseconds(10)) }
                    ring.remove(client)
                    return client.order
                }
                orders.insert(order)
                digests.insert(simulation.digest)
                #expect(Set(order) == Set(0..<6), "seed \(seed)")
            }
            #expect(digests.count == 1, "seed \(seed)")
        }
        #expect(orders.count > 30)
    }

    @Test func `an operation takes its time, and a task that waits for nothing else lets it pass`() throws {
        let simulation = Simulation(seed: 2)
        simulation.ringBehavior.latency = .milliseconds(7) ... .milliseconds(7)
        simulation.ringBehavior.slowFraction = 0
        try simulation.run { here in
            let client = Collector(), ring = try here.loop.startRing()
            ring.add(client)
            #expect(ring.features.engine == .simulation)
            #expect(ring.nop(token: 1, for: client))
            while client.order.isEmpty { await here.yield() }
            #expect(simulation.now == .milliseconds(7))
            ring.remove(client)
        }
    }

    @Test func `a full ring tells who waits when there is room`() throws {
        let simulation = Simulation(seed: 3)
        try simulation.run { here in
            let client = Collector(), ring = try here.loop.startRing()
            ring.add(client)
            var started = 0
            while ring.nop(token: UInt64(started), for: client) { started += 1 }
            #expect(started == ring.capacity)
            while !client.wasToldOfRoom || ring.outstanding > 0 { try await here.sleep(for: .microseconds(50)) }
            #expect(client.order.count == started)
            ring.remove(client)
        }
    }

    @Test func `a cancelled operation ends, done or not`() throws {
        var results: Set<Int32> = []
        for seed in UInt64(0)..<20 {
            let simulation = Simulation(seed: seed)
            try simulation.run { here in
                let client = Collector(), ring = try here.loop.startRing()
                ring.add(client)
                #expect(ring.nop(token: 1, for: client))
                #expect(ring.cancel(token: 1, for: client))
                while ring.outstanding > 0 { await here.yield() }
                #expect(client.order == [1])
                ring.remove(client)
                return client.results[1]!
            }.insert(into: &results)
        }
        #expect(results == [0, -Errno.canceled.rawValue])
    }

    @Test func `a ring that is forbidden says so`() throws {
        let simulation = Simulation(seed: 4)
        simulation.ringBehavior.isForbidden = true
        try simulation.run { here in
            #expect(throws: RingError.self) { try here.loop.startRing() }
            let (ring, refusal) = here.loop.ringOrThreads()
            #expect(refusal != nil)
            #expect(ring.capacity > 0)
        }
    }

    // MARK: The file module on it

    @Test(arguments: UInt64(0)..<15)
    func `a file bdev keeps its data through short and interrupted transfers`(seed: UInt64) throws {
        let simulation = Simulation(seed: seed, reactorCount: 2)
        simulation.ringBehavior.shortFraction = 0.3
        simulation.ringBehavior.interruptedFraction = 0.1
        try onFile(simulation) { channel, path in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in UInt64(0)..<6 {
                    group.addTask { try await rewrite(channel, worker: worker, seed: seed) }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test(arguments: UInt64(0)..<15)
    func `a failing file is an error, never lost or torn data of others`(seed: UInt64) throws {
        let simulation = Simulation(seed: seed)
        simulation.ringBehavior.failureFraction = 0.2
        simulation.ringBehavior.failures = [.ioError, .noSpace]
        let failed = Shared(0)
        try onFile(simulation) { channel, path in
            await withTaskGroup(of: Void.self) { group in
                for worker in UInt64(0)..<6 {
                    group.addTask {
                        for attempt in UInt64(0)..<10 {
                            do {
                                try await rewrite(channel, worker: worker, seed: seed &+ attempt)
                            } catch let error as BdevError {
                                failed.value += 1
                                #expect([.mediaError, .noSpace].contains(error.code), "seed \(seed): \(error)")
                            } catch {
                                Issue.record(error)
                            }
                        }
                    }
                }
            }
        }
        #expect(failed.value > 0)
    }

    @Test func `a run with files repeats with its seed`() throws {
        for seed in UInt64(0)..<5 {
            var digests: Set<UInt64> = []
            for _ in 0..<2 {
                let simulation = Simulation(seed: seed)
                simulation.ringBehavior.shortFraction = 0.2
                try onFile(simulation) { channel, path in try await rewrite(channel, worker: 0, seed: seed) }
                digests.insert(simulation.digest)
            }
            #expect(digests.count == 1, "seed \(seed)")
        }
    }
}

/// Writes and reads back a stretch that is the worker's own.
private func rewrite(_ channel: BdevChannel, worker: UInt64, seed: UInt64) async throws {
    var random = SeededRandom(seed: seed &* 31 &+ worker)
    for _ in 0..<5 {
        let count = Int.random(in: 1...16, using: &random),
            block = worker * 32 + UInt64.random(in: 0..<16, using: &random)
        let byte = UInt8.random(in: 0...255, using: &random)
        var buffer = await channel.buffer(byteCount: count * 512)
        buffer.fill(with: byte)
        try await channel.write(from: buffer, at: .block(block))
        buffer.fill(with: byte &+ 1)
        try await channel.read(at: .block(block), into: &buffer)
        let isRight = (0..<count * 512).allSatisfy {
            unsafe buffer.bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) == byte
        }
        #expect(isRight, "seed \(seed), worker \(worker)")
    }
}

/// Runs `body` with a channel of a bdev over a new file of 192 KiB.
private func onFile(
    _ simulation: Simulation, _ body: @escaping @Sendable (BdevChannel, String) async throws -> Void
) throws {
    let path = "/dev/shm/swift-bdev-simulated-\(UInt64.random(in: .min ... .max))"
    defer { _ = unsafe path.withPlatformString { unsafe unlink($0) } }
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors), module = UringModule()
        try await engine.register(module)
        var options = UringModule.Options(name: "file", path: path)
        (options.byteCount, options.usesDirectIO, options.transferMode) = (192 << 10, false, .ring)
        try await module.create(options)
        let descriptor = try await engine.open("file", mode: .readWrite)
        let channel = try await descriptor.channel(on: here.reactor)
        try await body(channel, path)
        await descriptor.close()
        await engine.stop()
    }
}

private final class Collector: RingClient {
    private(set) var order: [UInt64] = []
    private(set) var results: [UInt64: Int32] = [:]
    private(set) var wasToldOfRoom = false

    override func ringCompleted(token: UInt64, result: Int32) {
        order.append(token)
        results[token] = result
    }

    override func ringHasRoom() { wasToldOfRoom = true }
}

extension Int32 {
    fileprivate func insert(into set: inout Set<Int32>) { set.insert(self) }
}
