import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Synchronization
import Testing

@Suite("Compare-and-write of a bdev")
struct FusedBdevTests {
    @Test(arguments: [false, true])
    func `is the controller's own: exactly one of many wins each round, over two paths`(hasSGL: Bool) throws {
        var module = NVMeModule.Options()
        module.pathPolicy = .roundRobin(count: 1)
        let change: SoftChange = { options, _ in options.hasSGL = hasSGL }
        try simulateFleet(reactorCount: 2, module: module, change: change) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(.zero ... .microseconds(100)) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            #expect(descriptor.supportsNatively(.compareAndWrite))
            #expect(descriptor.geometry.compareAndWriteBlockCountLimit == 8)
            for round in UInt8(0)..<6 {
                let wins = Atomic(0)
                let count = Counts(wins: wins)
                await withTaskGroup(of: Void.self) { group in
                    for index in 0..<12 {
                        let reactor = fleet.engine.reactors[index % 2]
                        group.addTask(executorPreference: reactor.taskExecutor) {
                            await Self.race(descriptor, reactor, round, count)
                        }
                    }
                }
                #expect(count.wins.load(ordering: .relaxed) == 1, "seed \(fleet.seed), round \(round)")
            }
            await descriptor.close()
        }
    }

    private final class Counts: Sendable {
        let wins: Atomic<Int>
        init(wins: consuming Atomic<Int>) { self.wins = wins }
    }

    private static func race(_ descriptor: BdevDescriptor, _ reactor: Reactor, _ round: UInt8, _ count: Counts) async {
        do {
            try await descriptor.withChannel(on: reactor) { channel in
                var expected = try channel.allocateBuffer(byteCount: 4096)
                var new = try channel.allocateBuffer(byteCount: 4096)
                expected.fill(with: round)
                new.fill(with: round + 1)
                try await channel.compareAndWrite(expected, new, at: .block(16))
                count.wins.add(1, ordering: .relaxed)
            }
        } catch { #expect((error as? BdevError)?.code == .miscompare, "\(error)") }
    }

    @Test func `writes nothing where there is a difference, and refuses what is too long`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await descriptor.withChannel(on: local.reactor) { channel in
                var zeros = try channel.allocateBuffer(byteCount: 8 * 512),
                    ones = try channel.allocateBuffer(byteCount: 8 * 512)
                zeros.fill(with: 0)
                ones.fill(with: 1)
                try await channel.compareAndWrite(zeros, ones, at: .block(0))
                do {
                    try await channel.compareAndWrite(zeros, zeros, at: .block(0))
                    Issue.record("a difference was not seen")
                } catch let error as BdevError { #expect(error.code == .miscompare) }
                try await channel.read(at: .block(0), into: &zeros)
                #expect(zeros.copied().allSatisfy { $0 == 1 })
                let long = try channel.allocateBuffer(byteCount: 9 * 512)
                do {
                    try await channel.compareAndWrite(long, long, at: .block(0))
                    Issue.record("nine blocks were not refused")
                } catch let error as BdevError { #expect(error.code == .invalidArgument) }
            }
            await descriptor.close()
        }
    }

    /// Metadata, zones, a controller that does not fuse: the layer does it.
    @Test(arguments: 0..<3)
    func `is the layer's where the controller cannot`(kind: Int) throws {
        let change: SoftChange = { options, index in
            if kind == 0 { options.fusedBlockCountLimit = 0 }
            if kind == 1 { options.namespaces[0].metadataByteCount = 8 }
            if kind == 2 { options.namespaces[0].zones = SoftZoneOptions(blockCount: 1024) }
        }
        try simulateFleet(count: 1, change: change) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            #expect(!descriptor.supportsNatively(.compareAndWrite))
            await descriptor.close()
        }
    }

    @Test func `two paths that do not agree on it are no paths to one bdev`() throws {
        let change: SoftChange = { options, index in if index == 1 { options.fusedBlockCountLimit = 2 } }
        try simulateFleet(change: change) { local, fleet in
            try await fleet.attach(0)
            let error = await #expect(throws: BdevError.self) { try await fleet.attach(1) }
            #expect(error?.code == .invalidArgument)
            #expect(await fleet.engine.list().map(\.name) == ["Nvme0n1"])
        }
    }

    @Test func `ends once when a reset or an abort comes first, and is not done again`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            await fleet.softs[0].setLatency(.seconds(5) ... .seconds(5))
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let reactor = local.reactor
            let task = Task(executorPreference: reactor.taskExecutor) {
                try await descriptor.withChannel(on: reactor) { channel -> BdevError.Code? in
                    let buffer = try channel.allocateBuffer(byteCount: 512)
                    do {
                        try await channel.compareAndWrite(buffer, buffer, at: .block(0))
                        return nil
                    } catch let error as BdevError { return error.code }
                }
            }
            try await fleet.sleep(.milliseconds(300), on: local)
            try await fleet.module.reset("Nvme0")
            #expect(try await task.value == .aborted)
            await descriptor.close()
        }
    }
}
