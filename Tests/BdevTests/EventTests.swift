import Bdev
import Reactors
import SimulatedReactors
import Testing

struct EventTests {
    @Test(arguments: UInt64(0)..<20)
    func `events come to the reactor that was named, in their order`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            let heard = Shared<[BdevEvent]>([]), places = Shared<[Int]>([])
            let descriptor = try await scene.engine.open("disk", on: scene.reactors[2]) { local, event in
                local.assertIsolated("a handler runs on the reactor it was given")
                places.value.append(Reactor.current!.index)
                heard.value.append(event)
            }
            let host = scene.module.host.value
            for count: UInt64 in [2048, 4096, 8192] { try await host.resize("disk", blockCount: count) }
            let removal = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.engine.remove("disk")
            }
            while heard.value.count < 4 { await here.yield() }
            #expect(
                heard.value == [
                    .resized(blockCount: 2048), .resized(blockCount: 4096), .resized(blockCount: 8192), .removed,
                ], "seed \(seed)")
            #expect(places.value == [2, 2, 2, 2], "seed \(seed)")
            await descriptor.close()
            try await removal.value
        }
    }

    @Test func `a handler is on the right thread of real reactors too`() async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: [0, 1], options: options)
        let engine = BdevEngine(group: group), module = TestModule()
        try await engine.register(module)
        try await module.create("disk", TestDevice(.test, types: .everything))
        let heard = ThreadLock<[Int]>([]), isHeldUp = ThreadLock(false), isInside = ThreadLock(false)
        let reactor = group.reactors[1]
        let descriptor = try await engine.open("disk", on: reactor) { _, event in
            isInside.withLock { $0 = true }
            while isHeldUp.withLock({ $0 }) {}
            heard.withLock { $0.append(Reactor.current?.index ?? -1) }
        }
        let host = module.host.value
        for count: UInt64 in [2048, 4096] { try await host.resize("disk", blockCount: count) }
        // A message behind theirs.
        await reactor.run { _ in }
        #expect(heard.withLock { $0 } == [1, 1])
        // A close that comes while the handler runs waits for it.
        isHeldUp.withLock { $0 = true }
        isInside.withLock { $0 = false }
        try await host.resize("disk", blockCount: 8192)
        while !isInside.withLock({ $0 }) {}
        let close = Task(executorPreference: group.reactors[0].taskExecutor) {
            await descriptor.close()
            return heard.withLock { $0 }
        }
        await group.reactors[0].local.rest(.milliseconds(20))
        isHeldUp.withLock { $0 = false }
        #expect(await close.value == [1, 1, 1])
        await engine.stop()
        await group.shutDown()
    }

    @Test(arguments: UInt64(0)..<40)
    func `no event is told once its descriptor is being closed`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let isClosed = Shared(false), late = Shared(0), told = Shared(0)
            let descriptor = try await scene.engine.open("disk", on: scene.reactors[1]) { _, _ in
                told.value += 1
                if isClosed.value { late.value += 1 }
            }
            let host = scene.module.host.value, home = here.reactor
            let resizing = Task(executorPreference: home.taskExecutor) {
                for count in 1...20 { try await host.resize("disk", blockCount: UInt64(2000 + count)) }
            }
            for _ in 0..<Int(seed) { await here.yield() }
            // From the call on: what is on its way then is dropped.
            isClosed.value = true
            await descriptor.close()
            try await resizing.value
            for _ in 0..<50 { await here.yield() }
            #expect(late.value == 0, "seed \(seed)")
            #expect(told.value <= 20)
        }
    }

    @Test func `a stream tells nothing that was left when its descriptor was closed`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let events = descriptor.events
            for count: UInt64 in [2048, 4096] {
                try await scene.module.host.value.resize("disk", blockCount: count)
            }
            var iterator = events.makeAsyncIterator()
            #expect(await iterator.next() == .resized(blockCount: 2048))
            await descriptor.close()
            #expect(await iterator.next() == nil)
        }
    }

    // MARK: Media events

    private static func events(_ count: Int, from start: Int = 0) -> [MediaEvent] {
        (start..<start + count).map { MediaEvent(startBlock: UInt64($0), blockCount: 1) }
    }

    @Test func `media events go to the first descriptor that may write, and to no other`() throws {
        try simulate { here, scene in
            let engine = scene.engine, host = scene.module.host.value, reactor = here.reactor
            let heard = Shared<[String: [BdevEvent]]>([:])
            @Sendable func open(_ name: String, _ mode: BdevDescriptor.Mode) async throws -> BdevDescriptor {
                try await engine.open("disk", mode: mode, on: reactor) { heard.value[name, default: []].append($1) }
            }
            let reader = try await open("reader", .readOnly)
            #expect(
                await code { () throws(BdevError) in _ = try await host.pushMediaEvents(Self.events(1), of: "disk") }
                    == .noSuchBdev)
            let first = try await open("first", .readWrite), second = try await open("second", .readWrite)
            #expect(try await host.pushMediaEvents(Self.events(2), of: "disk") == 2)
            while heard.value.isEmpty { await here.yield() }
            #expect(heard.value == ["first": [.mediaManagement(Self.events(2))]])
            await first.close()
            #expect(try await host.pushMediaEvents(Self.events(1), of: "disk") == 1)
            while heard.value["second"] == nil { await here.yield() }
            #expect(heard.value["second"] == [.mediaManagement(Self.events(1))])
            await second.close()
            // A claim makes writers as well.
            try await host.claim(reader, .exclusiveWrite)
            #expect(try await host.pushMediaEvents(Self.events(1), of: "disk") == 1)
            while heard.value["reader"] == nil { await here.yield() }
            #expect(heard.value["reader"]?.count == 1)
            let other = TestModule(name: "other")
            try await engine.register(other)
            #expect(
                await code { () throws(BdevError) in
                    _ = try await other.host.value.pushMediaEvents(Self.events(1), of: "disk")
                } == .noSuchBdev)
            await reader.close()
        }
    }

    @Test func `a descriptor has at most 64 media events to look at, and room again when it has looked`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let host = scene.module.host.value, heard = Shared<[BdevEvent]>([])
            let descriptor = try await scene.engine.open("disk", mode: .readWrite, on: here.reactor) { _, event in
                heard.value.append(event)
            }
            // Nothing else runs on this reactor meanwhile: the engine is on the same one.
            #expect(try await host.pushMediaEvents(Self.events(60), of: "disk") == 60)
            #expect(try await host.pushMediaEvents(Self.events(10, from: 60), of: "disk") == 4)
            #expect(try await host.pushMediaEvents(Self.events(1), of: "disk") == 0)
            while heard.value.count < 2 { await here.yield() }
            #expect(
                heard.value == [
                    .mediaManagement(Self.events(60)), .mediaManagement(Self.events(4, from: 60)),
                ])
            #expect(try await host.pushMediaEvents(Self.events(100), of: "disk") == 64)
            await descriptor.close()
        }
    }

    @Test func `a consumer of the stream makes room too, and a descriptor that does not listen takes nothing`() throws {
        try simulate { _, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            #expect(try await host.pushMediaEvents(Self.events(3), of: "disk") == 0)
            var iterator = descriptor.events.makeAsyncIterator()
            #expect(try await host.pushMediaEvents(Self.events(100), of: "disk") == 64)
            #expect(try await host.pushMediaEvents(Self.events(1), of: "disk") == 0)
            #expect(await iterator.next() == .mediaManagement(Self.events(64)))
            #expect(try await host.pushMediaEvents(Self.events(1), of: "disk") == 1)
            await descriptor.close()
        }
    }
}
