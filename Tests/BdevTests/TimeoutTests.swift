import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Descriptors that are told of I/O that takes too long.
struct TimeoutTests {
    /// What was reported, and when.
    final class Reports: @unchecked Sendable {
        let simulation: Simulation
        private(set) var all: [(at: Duration, io: TimedOutIO)] = []
        var then: ((TimedOutIO) -> Void)?

        init(_ scene: Scene) { simulation = scene.simulation }

        func add(_ io: TimedOutIO) {
            #expect(io.reactor.isCurrent)
            all.append((simulation.now, io))
            then?(io)
        }

        var seconds: [Int64] { all.map(\.at.components.seconds) }
        var blocks: [UInt64] { all.map(\.io.startBlock) }
    }

    @Test func `an I/O is reported each second once it is older than the limit, until it is complete`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            try await descriptor.setTimeout(.seconds(3)) { reports.add($0) }
            let channel = try await descriptor.channel(on: here.reactor)
            try await channel.submitReads(1, from: 7, RecordingHandler())
            try await here.sleep(for: .milliseconds(5500))
            scene.device.complete()
            try await here.sleep(for: .seconds(5))
            #expect(reports.seconds == [3, 4, 5])
            let first = try #require(reports.all.first?.io)
            #expect((first.bdev, first.type, first.startBlock, first.blockCount) == ("disk", .read, 7, 1))
            #expect((first.tag, first.age) == (7, .seconds(3)))
            #expect(reports.all.map(\.io.age) == [.seconds(3), .seconds(4), .seconds(5)])
            #expect(Set(reports.all.map(\.io.id)).count == 1)
            await descriptor.close()
        }
    }

    @Test func `an I/O that completes in time is not reported, nor one of another descriptor`() throws {
        try simulate { here, scene in
            scene.device.pace = .later { .milliseconds($0.start == 1 ? 9_000 : 1_900) }
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk"), other = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor),
                beside = try await other.channel(on: here.reactor)
            try await descriptor.setTimeout(.seconds(2)) { reports.add($0) }
            try await beside.submitReads(1, from: 1, RecordingHandler())
            for _ in 0..<5 { #expect(await channel.readOnce(at: 0) == nil) }
            #expect(reports.all.isEmpty)
            await descriptor.close()
            await other.close()
        }
    }

    @Test func `a split read is reported as a whole, and not its parts`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 2 }) { here, scene in
            scene.device.pace = .held
            let reports = Reports(scene)
            try await scene.withChannel { channel in
                let descriptor = try await scene.engine.open("disk")
                let mine = try await descriptor.channel(on: channel.reactor)
                try await descriptor.setTimeout(.seconds(1)) { reports.add($0) }
                let read = Task(executorPreference: channel.reactor.taskExecutor) {
                    _ = try await mine.read(at: 4, segments: [6 * 512])
                }
                try await channel.reactor.local.sleep(for: .milliseconds(2100))
                #expect(scene.device.held.count == 3)
                #expect(reports.all.map(\.io.blockCount) == [6, 6])
                #expect(reports.blocks == [4, 4])
                scene.device.completeAll()
                try await read.value
                await descriptor.close()
            }
        }
    }

    @Test func `a reset is reported, and what waits in the layer`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            scene.device.depth = 1
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            try await descriptor.setTimeout(.seconds(1)) { reports.add($0) }
            let channel = try await descriptor.channel(on: here.reactor)
            try await channel.submitReads(3, RecordingHandler())
            try await here.sleep(for: .milliseconds(1100))
            #expect(reports.blocks == [0, 1, 2])
            scene.device.depth = .max
            scene.device.completeAll()
            while !scene.device.held.isEmpty { scene.device.completeAll() }
            let before = reports.all.count
            let reset = Task(executorPreference: here.reactor.taskExecutor) { try await channel.reset() }
            try await here.sleep(for: .milliseconds(2000))
            #expect(reports.all.dropFirst(before).map(\.io.type) == [.reset])
            scene.device.completeAll()
            try await reset.value
            await descriptor.close()
        }
    }

    @Test func `each channel is looked through on its own reactor, also one that is opened later`() throws {
        try simulate(reactorCount: 3) { here, scene in
            scene.device.pace = .held
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk")
            let first = try await descriptor.channel(on: scene.reactors[1])
            try await descriptor.setTimeout(.milliseconds(500)) { reports.add($0) }
            let second = try await descriptor.channel(on: scene.reactors[2])
            try await first.submitReads(1, from: 1, RecordingHandler())
            try await second.submitReads(1, from: 2, RecordingHandler())
            try await here.sleep(for: .milliseconds(1500))
            #expect(Set(reports.blocks) == [1, 2])
            #expect(reports.all.count == 2)
            #expect(reports.all.allSatisfy { $0.io.reactor === scene.reactors[Int($0.io.startBlock)] })
            await scene.completeHeld()
            await descriptor.close()
        }
    }

    @Test func `another limit takes the place of the one before, and none ends it`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let early = Reports(scene), late = Reports(scene)
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            try await channel.submitReads(1, RecordingHandler())
            try await descriptor.setTimeout(.seconds(1)) { early.add($0) }
            try await here.sleep(for: .milliseconds(2500))
            try await descriptor.setTimeout(.seconds(5)) { late.add($0) }
            try await here.sleep(for: .milliseconds(4200))
            try await descriptor.setTimeout(nil)
            try await here.sleep(for: .seconds(5))
            #expect(early.seconds == [1, 2])
            #expect(late.all.map(\.at) == [.milliseconds(5500), .milliseconds(6500)])
            scene.device.completeAll()
            await descriptor.close()
        }
    }

    @Test func `the oldest is reported first, and those that a handler ends are not`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            try await descriptor.setTimeout(.seconds(1)) { reports.add($0) }
            // Slots are used again in the reverse of their order.
            try await channel.submitReads(4, RecordingHandler())
            scene.device.completeAll()
            try await here.sleep(for: .milliseconds(10))
            for block in UInt64(0)..<4 {
                try await channel.submitReads(1, from: block, RecordingHandler())
                try await here.sleep(for: .milliseconds(1))
            }
            reports.then = { io in if io.startBlock == 1 { scene.device.complete(2) } }
            try await here.sleep(for: .seconds(2))
            #expect(reports.blocks == [0, 1, 3])
            scene.device.completeAll()
            await descriptor.close()
        }
    }

    @Test func `a descriptor that is closed under a late I/O waits for it, and reports it meanwhile`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let reports = Reports(scene)
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            try await channel.submitReads(1, RecordingHandler())
            try await descriptor.setTimeout(.seconds(1)) { reports.add($0) }
            // The handler has the descriptor closed and the bdev removed.
            reports.then = { _ in
                if reports.all.count > 1 { return }
                Task(executorPreference: scene.reactors[0].taskExecutor) { await descriptor.close() }
                Task(executorPreference: scene.reactors[0].taskExecutor) { try await scene.engine.remove("disk") }
            }
            try await here.sleep(for: .milliseconds(3500))
            #expect(reports.seconds == [1, 2, 3])
            scene.device.complete()
            try await here.sleep(for: .seconds(3))
            #expect(reports.all.count == 3)
            #expect(scene.device.wasDestroyed)
            #expect(
                await code { () throws(BdevError) in try await descriptor.setTimeout(.seconds(1)) } == .closed)
        }
    }

    @Test func `a limit is more than 0`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            for limit in [Duration.zero, .seconds(-1)] {
                #expect(
                    await code { () throws(BdevError) in try await descriptor.setTimeout(limit) } == .invalidArgument)
            }
            await descriptor.close()
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `what is reported is what a clock says`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            var random = SeededRandom(seed: seed)
            let reports = Reports(scene)
            let limit = Int.random(in: 1...3000, using: &random)
            // No time falls together with a scan.
            var expected: [String] = []
            var delays: [UInt64: Int] = [:], starts: [UInt64: Int] = [:]
            var now = 0
            for block in UInt64(0)..<20 {
                now += Int.random(in: 0...40, using: &random) * 10
                (starts[block], delays[block]) = (now, Int.random(in: 1...600, using: &random) * 10 + 5)
                for scan in 1...20 where scan * 1000 >= now + limit && scan * 1000 < now + delays[block]! {
                    expected.append("\(block) at \(scan)")
                }
            }
            let plan = delays
            scene.device.pace = .later { .milliseconds(plan[$0.start]!) }
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            let zero = scene.simulation.now
            try await descriptor.setTimeout(.milliseconds(limit)) { reports.add($0) }
            for block in UInt64(0)..<20 {
                let left = .milliseconds(starts[block]!) - (scene.simulation.now - zero)
                try await here.sleep(for: left)
                try await channel.submitReads(1, from: block, RecordingHandler())
            }
            try await here.sleep(for: .seconds(8))
            let found = reports.all.map { "\($0.io.startBlock) at \(($0.at - zero).components.seconds)" }
            #expect(found.sorted() == expected.sorted(), "seed \(seed)")
            await descriptor.close()
        }
    }
}
