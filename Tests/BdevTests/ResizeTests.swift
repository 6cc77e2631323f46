import Bdev
import Reactors
import SimulatedReactors
import Testing

struct ResizeTests {
    @Test func `a bdev that grows tells whoever has it open, and the new blocks can be used`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let heard = Shared<[BdevEvent]>([])
            let events = descriptor.events
            let listener = Task(executorPreference: here.reactor.taskExecutor) {
                for await event in events { heard.value.append(event) }
            }
            let old = try await descriptor.channel(on: scene.reactors[0])
            #expect(await old.readOnce(at: 1024) == .outOfRange)
            try await host.resize("disk", blockCount: 2048)
            while heard.value.isEmpty { await here.yield() }
            #expect(heard.value == [.resized(blockCount: 2048)])
            #expect(descriptor.blockCount == 2048)
            #expect(descriptor.geometry.blockCount == 2048)
            #expect(try await scene.engine.info("disk").geometry.blockCount == 2048)
            let new = try await descriptor.channel(on: scene.reactors[1])
            for channel in [old, new] {
                #expect(await channel.blocks == 2048)
                #expect(await channel.readOnce(at: 2047) == nil)
                #expect(await channel.readOnce(at: 2048) == .outOfRange)
            }
            await descriptor.close()
            await listener.value
        }
    }

    @Test func `a bdev does not shrink while it is open`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            #expect(await code { () throws(BdevError) in try await host.resize("disk", blockCount: 512) } == .busy)
            #expect(descriptor.blockCount == 1024)
            await descriptor.close()
            try await host.resize("disk", blockCount: 512)
            try await scene.withChannel { channel in
                #expect(channel.engine.blockCount == 512)
                #expect(await channel.readOnce(at: 511) == nil)
                #expect(await channel.readOnce(at: 512) == .outOfRange)
            }
        }
    }

    @Test func `the same size is no event`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let events = descriptor.events
            let count = Task(executorPreference: here.reactor.taskExecutor) {
                await events.reduce(into: 0) { count, _ in count += 1 }
            }
            try await scene.module.host.value.resize("disk", blockCount: 1024)
            for _ in 0..<20 { await here.yield() }
            await descriptor.close()
            #expect(await count.value == 0)
        }
    }

    @Test func `impossible sizes and other modules' bdevs are refused`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            #expect(
                await code { () throws(BdevError) in try await host.resize("disk", blockCount: 0) } == .invalidGeometry)
            #expect(
                await code { () throws(BdevError) in try await host.resize("disk", blockCount: 1 << 60) }
                    == .invalidGeometry)
            #expect(await code { () throws(BdevError) in try await host.resize("none", blockCount: 5) } == .noSuchBdev)
            let zoned = TestDevice(.test.with { $0.zones = ZoneGeometry(blockCount: 256) }, types: .everything)
            try await scene.module.create("zoned", zoned)
            let error = await failure { () throws(BdevError) in try await host.resize("zoned", blockCount: 1300) }
            #expect(error?.code == .invalidGeometry)
            #expect(error?.message.contains("cannot resize a bdev to 1300 blocks in zones of 256") == true)
            try await host.resize("zoned", blockCount: 1280)
            let other = TestModule(name: "other")
            try await scene.engine.register(other)
            #expect(
                await code { () throws(BdevError) in try await other.host.value.resize("disk", blockCount: 2048) }
                    == .noSuchBdev)
            #expect(try await scene.engine.info("disk").geometry.blockCount == 1024)
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `a channel made during a resize knows the new size`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let opener = Task(executorPreference: here.reactor.taskExecutor) {
                try await descriptor.channel(on: scene.reactors[1])
            }
            let resize = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.module.host.value.resize("disk", blockCount: 4096)
            }
            try await resize.value
            let channel = try await opener.value
            #expect(await channel.blocks == 4096)
            await descriptor.close()
        }
    }
}

extension BdevChannel {
    fileprivate var blocks: UInt64 { engine.blockCount }
}
