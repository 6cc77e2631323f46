import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Who has a range, when, and who may not.
struct QuiesceRuleTests {
    /// Asks for a range; notes it under `name` when it is there.
    private static func ask(
        _ name: String, _ blocks: Range<UInt64>, _ scene: Scene, _ here: isolated LocalReactor, _ log: Shared<[String]>
    ) async -> Task<Quiescence, any Error> {
        let task = Task(executorPreference: here.reactor.taskExecutor) {
            let quiescence = try await scene.module.host.value.quiesce("disk", blocks: blocks)
            log.value.append(name)
            return quiescence
        }
        await here.settle(.milliseconds(1))
        return task
    }

    @Test(arguments: [true, false])
    func `blocks 35 to 44 wait for 25 to 39 and for 40 to 59, whichever ends first`(lowerFirst: Bool) throws {
        try simulate(reactorCount: 2) { here, scene in
            let log = Shared<[String]>([]), host = scene.module.host.value
            let lower = await Self.ask("25", 25..<40, scene, here, log)
            let upper = await Self.ask("40", 40..<60, scene, here, log)
            let middle = await Self.ask("35", 35..<45, scene, here, log)
            // Nobody is in the way of this one but who has 25 to 39, and of this one but who waits before it.
            let beside = await Self.ask("30", 30..<34, scene, here, log)
            let behind = await Self.ask("44", 44..<45, scene, here, log)
            #expect(log.value == ["25", "40"])
            try await host.unquiesce(try await (lowerFirst ? lower : upper).value)
            await here.settle(.milliseconds(1))
            #expect(log.value == (lowerFirst ? ["25", "40", "30"] : ["25", "40"]))
            try await host.unquiesce(try await (lowerFirst ? upper : lower).value)
            await here.settle(.milliseconds(1))
            #expect(Set(log.value) == ["25", "40", "30", "35"])
            try await host.unquiesce(try await middle.value)
            await here.settle(.milliseconds(1))
            #expect(log.value.last == "44")
            try await host.unquiesce(try await behind.value)
            try await host.unquiesce(try await beside.value)
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `the same range goes round in the order it was asked for`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            let log = Shared<[String]>([]), host = scene.module.host.value
            var tasks: [Task<Quiescence, any Error>] = []
            for name in ["a", "b", "c", "d"] { tasks.append(await Self.ask(name, 0..<100, scene, here, log)) }
            for (index, task) in tasks.enumerated() {
                #expect(log.value.count == index + 1)
                try await host.unquiesce(try await task.value)
                await here.settle(.milliseconds(1))
            }
            #expect(log.value == ["a", "b", "c", "d"])
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a quiescence is ended once: a second time is refused, also at the same time`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            let host = scene.module.host.value
            let quiescence = try await host.quiesce("disk", blocks: 1..<2)
            let ends = (0..<4).map { _ in
                here.task { await code { () throws(BdevError) in try await host.unquiesce(quiescence) } }
            }
            var codes: [BdevError.Code?] = []
            for end in ends { codes.append(await end.value) }
            #expect(codes.count { $0 == nil } == 1)
            #expect(codes.count { $0 == .invalidArgument } == 3)
            #expect(await code { () throws(BdevError) in try await host.unquiesce(quiescence) } == .invalidArgument)
            // Another of the same blocks is another quiescence.
            let next = try await host.quiesce("disk", blocks: 1..<2)
            #expect(await code { () throws(BdevError) in try await host.unquiesce(quiescence) } == .invalidArgument)
            try await host.unquiesce(next)
        }
    }

    @Test func `only the bdev's own module may, and only blocks that are there`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            func refusal(_ name: String, _ blocks: Range<UInt64>?) async -> BdevError.Code? {
                await code { () throws(BdevError) in
                    try await host.unquiesce(try await host.quiesce(name, blocks: blocks))
                }
            }
            #expect(await refusal("disk", nil) == nil)
            #expect(await refusal("disk", 0..<1024) == nil)
            #expect(await refusal("disk", 1023..<1024) == nil)
            #expect(await refusal("disk", 1023..<1025) == .outOfRange)
            #expect(await refusal("disk", 1024..<1025) == .outOfRange)
            #expect(await refusal("disk", 0..<UInt64.max) == .outOfRange)
            #expect(await refusal("disk", 7..<7) == .invalidArgument)
            #expect(await refusal("nowhere", nil) == .noSuchBdev)
            let other = TestModule(name: "other")
            try await scene.engine.register(other)
            #expect(
                await code { () throws(BdevError) in _ = try await other.host.value.quiesce("disk") } == .noSuchBdev)
        }
    }

    @Test func `a removal waits until the range is free, and gives up what waits for it`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let quiescence = try await host.quiesce("disk", blocks: 0..<10)
            let waiting = [IOType.read, .write, .compareAndWrite].map { type in
                here.task { await channel.attempt(type, at: 5) }
            }
            await here.settle(.milliseconds(1))
            let isGone = Shared(false)
            let removal = here.task {
                let code = await code { () throws(BdevError) in try await scene.engine.remove("disk") }
                isGone.value = true
                return code
            }
            for task in waiting { #expect(await task.value == .aborted) }
            await descriptor.close()
            await here.settle(.seconds(1))
            #expect(!isGone.value && !scene.device.wasDestroyed)
            #expect(await code { () throws(BdevError) in _ = try await host.quiesce("disk") } == .removed)
            try await host.unquiesce(quiescence)
            #expect(await removal.value == nil)
            #expect(scene.device.submissionCount == 0)
        }
    }

    @Test(arguments: UInt64(0)..<40)
    func `a quiescence is either before a removal, which waits for it, or refused`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let host = scene.module.host.value
            let isHeld = Shared(false)
            let quiesce: Task<BdevError.Code?, Never> = here.task {
                for _ in 0..<seed % 8 { await scene.reactors[1].run { _ in } }
                return await code { () throws(BdevError) in
                    let quiescence = try await host.quiesce("disk")
                    isHeld.value = true
                    for _ in 0..<20 { await scene.reactors[1].run { _ in } }
                    #expect(!scene.device.wasDestroyed)
                    isHeld.value = false
                    try await host.unquiesce(quiescence)
                }
            }
            try await scene.engine.remove("disk")
            #expect(!isHeld.value)
            let refusal = await quiesce.value
            #expect(refusal == nil || refusal == .removed || refusal == .noSuchBdev)
        }
    }

    @Test(arguments: UInt64(0)..<40)
    func `while somebody has a range, nothing of anybody else arrives there`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            let host = scene.module.host.value
            let held = Shared<[Range<UInt64>]>([]), delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...200, using: &delays.value)) }
            scene.device.depth = 3
            scene.device.onArrival = { arrival in
                #expect(!held.value.contains { $0.overlaps(arrival.blocks) }, "seed \(seed)")
            }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<6 {
                    group.addTask {
                        var random = SeededRandom(seed: seed &* 17 &+ UInt64(index))
                        guard let channel = try? await descriptor.channel(on: scene.reactors[index % 3]) else { return }
                        for _ in 0..<25 {
                            let type = [IOType.read, .write, .unmap, .compareAndWrite].randomElement(using: &random)!
                            let block = UInt64.random(in: 0..<60, using: &random)
                            #expect(await channel.attempt(type, at: block) == nil, "seed \(seed)")
                        }
                    }
                }
                for index in 0..<3 {
                    group.addTask {
                        var random = SeededRandom(seed: seed &* 19 &+ UInt64(index))
                        for _ in 0..<5 {
                            let start = UInt64.random(in: 0..<50, using: &random)
                            let blocks = start..<start + UInt64.random(in: 1...10, using: &random)
                            guard let quiescence = try? await host.quiesce("disk", blocks: blocks) else { return }
                            #expect(!held.value.contains { $0.overlaps(blocks) }, "seed \(seed)")
                            held.value.append(blocks)
                            try? await scene.reactors[index].local.sleep(for: .microseconds(150))
                            held.value.removeAll { $0 == blocks }
                            try? await host.unquiesce(quiescence)
                        }
                    }
                }
            }
            await descriptor.close()
        }
    }
}
