import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Opens that wait, and visits to every bdev.
struct LookupTests {
    private static func open(
        _ engine: BdevEngine, _ name: String, _ mode: BdevDescriptor.Mode = .readOnly, upTo limit: Duration
    ) async -> BdevError.Code? {
        await code { () throws(BdevError) in
            await (try await engine.open(name, mode: mode, waitingUpTo: limit)).close()
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `an open that waits ends at its deadline, not before and not much later`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            for limit in [Duration.milliseconds(1), .milliseconds(100), .milliseconds(730), .seconds(5)] {
                let begin = here.now
                let error = await failure { () throws(BdevError) in
                    _ = try await scene.engine.open("later", waitingUpTo: limit)
                }
                #expect(error?.code == .timedOut)
                #expect(error?.message.contains("there is no bdev of this name") == true)
                let took = begin.duration(to: here.now)
                #expect(took >= limit && took <= limit + .milliseconds(1), "\(took)")
            }
        }
    }

    @Test func `an open that may not wait tries once, and says what it met`() throws {
        try simulate { here, scene in
            let begin = here.now
            #expect(await Self.open(scene.engine, "later", upTo: .zero) == .noSuchBdev)
            #expect(await Self.open(scene.engine, "disk", upTo: .zero) == nil)
            #expect(here.now == begin)
        }
    }

    @Test func `an open that waits has the bdev at the moment it is registered`() throws {
        try simulate { here, scene in
            let home = here.reactor, engine = scene.engine
            for name in ["later", "alias"] {
                let open = Task(executorPreference: home.taskExecutor) {
                    let refusal = await Self.open(engine, name, upTo: .seconds(60))
                    return (refusal, await home.local.now)
                }
                await here.rest(.milliseconds(1234))
                let begin = here.now
                switch name {
                case "later": try await scene.module.create("later", TestDevice(.test, types: .everything))
                default: try await engine.addAlias("alias", to: "later")
                }
                let (refusal, end) = await open.value
                #expect(refusal == nil)
                #expect(begin.duration(to: end) < .milliseconds(1))
            }
        }
    }

    @Test func `an open for writing waits for a claim to end`() throws {
        try simulate { here, scene in
            let home = here.reactor, engine = scene.engine
            for isClosed in [true, false] {
                let claimer = try await engine.open("disk")
                try await scene.module.host.value.claim(claimer, .readManyWriteNone)
                let open = Task(executorPreference: home.taskExecutor) {
                    await Self.open(engine, "disk", .readWrite, upTo: .seconds(60))
                }
                await here.rest(.milliseconds(1234))
                let begin = here.now
                if isClosed { await claimer.close() } else { try await scene.module.host.value.release(claimer) }
                #expect(await open.value == nil)
                #expect(begin.duration(to: here.now) < .milliseconds(1))
                await claimer.close()
            }
        }
    }

    @Test func `an open waits for a bdev that leaves to be followed by one of its name`() throws {
        try simulate { here, scene in
            let home = here.reactor, engine = scene.engine
            let descriptor = try await engine.open("disk")
            let removal = Task(executorPreference: home.taskExecutor) { try await engine.remove("disk") }
            for _ in 0..<20 { await here.yield() }
            let open = Task(executorPreference: home.taskExecutor) {
                await Self.open(engine, "disk", upTo: .seconds(60))
            }
            await here.rest(.milliseconds(50))
            await descriptor.close()
            try await removal.value
            try await scene.module.create("disk", TestDevice(.test, types: .everything))
            #expect(await open.value == nil)
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `opens that wait when the engine stops fail at once`(seed: UInt64) throws {
        try simulateEngine(seed: seed) { here, engine, log in
            let home = here.reactor
            let slow = RecordedModule("slow", log)
            slow.onWillStop = { await home.local.rest(.seconds(1)) }
            try await engine.register(slow)
            let opens = (0..<3).map { index in
                Task(executorPreference: home.taskExecutor) {
                    await Self.open(engine, "later \(index)", upTo: .seconds(60))
                }
            }
            await here.rest(.milliseconds(10))
            let begin = here.now
            let stop = Task(executorPreference: home.taskExecutor) { await engine.stop() }
            for open in opens { #expect(await open.value == .closed) }
            #expect(begin.duration(to: here.now) < .milliseconds(1))
            #expect(await Self.open(engine, "later", upTo: .seconds(60)) == .closed)
            await stop.value
        }
    }

    @Test func `an open that waits notices that its task is cancelled`() throws {
        try simulate { here, scene in
            let open = Task(executorPreference: here.reactor.taskExecutor) {
                await Self.open(scene.engine, "later", upTo: .seconds(60))
            }
            await here.rest(.milliseconds(250))
            let begin = here.now
            open.cancel()
            #expect(await open.value == .aborted)
            #expect(begin.duration(to: here.now) <= .milliseconds(100))
        }
    }

    // MARK: Every bdev

    @Test func `every bdev is visited in turn, open while it is, and without those that leave`() throws {
        try simulate { here, scene in
            let engine = scene.engine, home = here.reactor
            for name in ["second", "third", "fourth"] {
                try await scene.module.create(name, TestDevice(.test, types: .everything))
            }
            let holder = try await engine.open("third")
            let leaving = Shared<Task<Void, any Error>?>(nil)
            var visited: [String] = []
            await engine.forEachBdev { descriptor in
                visited.append(descriptor.name)
                #expect(descriptor.mode == .readOnly)
                if descriptor.name == "disk" {
                    leaving.value = Task(executorPreference: home.taskExecutor) { try await engine.remove("third") }
                    for _ in 0..<20 { await here.yield() }
                }
            }
            #expect(visited == ["disk", "second", "fourth"])
            await holder.close()
            try await leaving.value?.value
            for info in await engine.list() { #expect(!info.isOpen) }
        }
    }

    @Test func `a visit that throws ends there and leaves nothing open`() throws {
        try simulate { _, scene in
            try await scene.module.create("second", TestDevice(.test, types: .everything))
            var visited = 0
            let refusal = await code { () throws(BdevError) in
                try await scene.engine.forEachBdev { descriptor throws(BdevError) in
                    visited += 1
                    throw BdevError(.mediaError, "enough")
                }
            }
            #expect(refusal == .mediaError)
            #expect(visited == 1)
            for info in await scene.engine.list() { #expect(!info.isOpen) }
        }
    }

    @Test func `leaves are those that nobody has claimed`() throws {
        try simulate { _, scene in
            let engine = scene.engine
            try await scene.module.create("second", TestDevice(.test, types: .everything))
            let claimer = try await engine.open("disk")
            try await scene.module.host.value.claim(claimer, .readManyWriteOne)
            #expect(await engine.leaves().map(\.name) == ["second"])
            var visited: [String] = []
            await engine.forEachBdev(unclaimedOnly: true) { visited.append($0.name) }
            #expect(visited == ["second"])
            await claimer.close()
            #expect(await engine.leaves().map(\.name) == ["disk", "second"])
        }
    }
}
