import Bdev
import Reactors
import SimulatedReactors
import Testing

struct RemovalTests {
    @Test func `a removal tells whoever has the bdev open, refuses new opens and waits`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let home = here.reactor
            let channel = try await descriptor.channel(on: home)
            let events = descriptor.events
            let heard = Shared<[BdevEvent]>([])
            let listener = Task(executorPreference: home.taskExecutor) {
                for await event in events { heard.value.append(event) }
            }
            let removed = Shared(false)
            let removal = Task(executorPreference: home.taskExecutor) {
                try await scene.engine.remove("disk")
                removed.value = true
            }
            while heard.value.isEmpty { await here.yield() }
            for _ in 0..<20 { await here.yield() }
            #expect(heard.value == [.removed])
            #expect(!removed.value)
            #expect(!scene.device.wasDestroyed)
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.open("disk") } == .removed)
            #expect(await code { () throws(BdevError) in try await scene.engine.remove("disk") } == .busy)
            #expect(
                await code { () throws(BdevError) in try await scene.module.host.value.unregister("disk") } == .busy)
            // Its name is taken until it is gone.
            #expect(
                await code { () throws(BdevError) in
                    try await scene.module.create("disk", TestDevice(.test, types: .everything))
                } == .nameInUse)
            #expect(await channel.readOnce(at: 0) == .removed)
            #expect(await code { () throws(BdevError) in _ = try await descriptor.channel(on: home) } == .removed)
            #expect(scene.device.submissionCount == 0)
            await descriptor.close()
            try await removal.value
            await listener.value
            #expect(scene.device.wasDestroyed)
            #expect(await scene.engine.list().isEmpty)
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.open("disk") } == .noSuchBdev)
            try await scene.module.create("disk", TestDevice(.test, types: .everything))
        }
    }

    @Test func `a removal waits for what the device has`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let read = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 0) }
            while scene.device.held.isEmpty { await here.yield() }
            let removal = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.engine.remove("disk")
            }
            let close = Task(executorPreference: here.reactor.taskExecutor) { await descriptor.close() }
            for _ in 0..<50 { await here.yield() }
            #expect(!scene.device.wasDestroyed)
            #expect(scene.device.channelsClosed == 0)
            await scene.reactors[1].run { _ in scene.device.complete() }
            #expect(await read.value == nil)
            await close.value
            try await removal.value
        }
    }

    @Test(arguments: UInt64(0)..<40)
    func `closing and removing at once end well in every order`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            let random = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 1...50, using: &random.value)) }
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<6 {
                    group.addTask {
                        guard let descriptor = try? await scene.engine.open("disk", mode: .readWrite) else { return }
                        let reactor = scene.reactors[index % 3]
                        if let channel = try? await descriptor.channel(on: reactor) {
                            for block in 0..<5 {
                                let failure = await channel.readOnce(at: UInt64(block))
                                #expect(failure == nil || failure == .removed || failure == .aborted)
                            }
                        }
                        await descriptor.close()
                    }
                }
                group.addTask {
                    try? await here.sleep(for: .microseconds(Int.random(in: 0...100, using: &random.value)))
                    let failure = await code { () throws(BdevError) in try await scene.engine.remove("disk") }
                    #expect(failure == nil)
                }
            }
            #expect(scene.device.wasDestroyed)
        }
    }

    @Test func `an engine that stops waits for a removal that has begun`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let ended = Shared<[String]>([])
            let removal = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.engine.remove("disk")
                ended.value.append("removal")
            }
            for _ in 0..<20 { await here.yield() }
            let stop = Task(executorPreference: here.reactor.taskExecutor) {
                await scene.engine.stop()
                ended.value.append("stop")
            }
            for _ in 0..<20 { await here.yield() }
            #expect(ended.value == [])
            await descriptor.close()
            await stop.value
            try await removal.value
            #expect(Set(ended.value) == ["removal", "stop"])
            #expect(scene.module.log.value == ["start", "stop"])
            #expect(scene.device.wasDestroyed)
        }
    }

    @Test func `a stopping engine removes the newest bdev first and takes in nothing`() throws {
        try simulate { here, scene in
            let order = Shared<[String]>([])
            for name in ["second", "third"] {
                try await scene.module.host.value.register(
                    BdevProperties(name: name, productName: "Disk", geometry: .test, supportedTypes: [.read]),
                    driver: NamedDriver(name, order))
            }
            let descriptor = try await scene.engine.open("disk")
            let stop = Task(executorPreference: here.reactor.taskExecutor) { await scene.engine.stop() }
            while order.value.count < 2 { await here.yield() }
            #expect(order.value == ["third", "second"])
            #expect(
                await code { () throws(BdevError) in
                    try await scene.module.create("fourth", TestDevice(.test, types: .everything))
                } == .closed)
            #expect(scene.module.log.value == ["start"])
            await descriptor.close()
            await stop.value
            #expect(scene.module.log.value == ["start", "stop"])
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a channel that is being made while its bdev is removed takes no I-O`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let opener = Task(executorPreference: here.reactor.taskExecutor) {
                try? await descriptor.channel(on: scene.reactors[1])
            }
            let removal = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.engine.remove("disk")
            }
            if let channel = await opener.value {
                while await code({ () throws(BdevError) in _ = try await scene.engine.open("disk").close() })
                    != .removed
                {}
                for _ in 0..<50 { await here.yield() }
                #expect(await channel.readOnce(at: 0) == .removed, "seed \(seed)")
            }
            await descriptor.close()
            try await removal.value
        }
    }
}

private final class NamedDriver: BdevDriver {
    private let name: String
    private let order: Shared<[String]>

    init(_ name: String, _ order: Shared<[String]>) {
        self.name = name
        self.order = order
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        throw BdevError(.notSupported, "no channels here")
    }

    func destroy() async { order.value.append(name) }
}
