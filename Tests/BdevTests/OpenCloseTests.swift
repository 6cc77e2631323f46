import Bdev
import Reactors
import SimulatedReactors
import Testing

struct OpenCloseTests {
    @Test func `what is not there cannot be opened, and the error says what is`() throws {
        try simulate { _, scene in
            let error = await failure { () throws(BdevError) in _ = try await scene.engine.open("dusk") }
            #expect(error?.code == .noSuchBdev)
            #expect(error?.description.contains("dusk") == true)
            #expect(error?.advice?.contains("disk") == true)
        }
    }

    @Test func `a descriptor tells what it is of`() throws {
        try simulate { _, scene in
            let descriptor = try await scene.engine.open("disk")
            #expect(descriptor.name == "disk")
            #expect(descriptor.mode == .readOnly)
            #expect(descriptor.blockByteCount == 512)
            #expect(descriptor.blockCount == 1024)
            let filled = BdevGeometry.test.with {
                ($0.compareAndWriteBlockCountLimit, $0.physicalBlockByteCount) = (1, 512)
            }
            #expect(descriptor.geometry == filled)
            #expect(descriptor.supports(.unmap))
            #expect(!descriptor.supports(.abort))
            #expect(try await scene.engine.info("disk").isOpen)
            await descriptor.close()
            #expect(try await !scene.engine.info("disk").isOpen)
        }
    }

    private struct Failure: Error {}

    @Test func `what is opened for a while is closed afterwards, whatever happens`() throws {
        try simulate { _, scene in
            let name = try await scene.engine.withDescriptor(of: "disk", mode: .readWrite) { descriptor in
                #expect(descriptor.mode == .readWrite)
                let info = try await scene.engine.info("disk")
                #expect(info.isOpen)
                return info.name
            }
            #expect(name == "disk")
            #expect(try await !scene.engine.info("disk").isOpen)
            await #expect(throws: Failure.self) {
                try await scene.engine.withDescriptor(of: "disk") { _ in throw Failure() }
            }
            #expect(try await !scene.engine.info("disk").isOpen)
            await #expect(throws: BdevError.self) {
                try await scene.engine.withDescriptor(of: "dusk") { _ in Issue.record("it has been opened") }
            }
        }
    }

    @Test func `write zeroes are offered wherever write is`() throws {
        try simulate(types: [.read, .write]) { _, scene in
            let descriptor = try await scene.engine.open("disk")
            #expect(descriptor.supports(.writeZeroes))
            #expect(!descriptor.supports(.unmap))
            await descriptor.close()
        }
        try simulate(types: [.read]) { _, scene in
            let descriptor = try await scene.engine.open("disk")
            #expect(!descriptor.supports(.writeZeroes))
            await descriptor.close()
        }
    }

    @Test func `all channels of a bdev on a reactor share one channel of the module`() throws {
        try simulate(reactorCount: 2) { _, scene in
            let first = try await scene.engine.open("disk"), second = try await scene.engine.open("disk")
            let a = try await first.channel(on: scene.reactors[0])
            let b = try await second.channel(on: scene.reactors[0])
            let c = try await first.channel(on: scene.reactors[0])
            #expect(scene.device.channelsMade == 1)
            let d = try await first.channel(on: scene.reactors[1])
            #expect(scene.device.channelsMade == 2)
            #expect(d.reactor === scene.reactors[1])
            await a.close()
            await b.close()
            #expect(scene.device.channelsClosed == 0)
            await c.close()
            #expect(scene.device.channelsClosed == 1)
            let e = try await second.channel(on: scene.reactors[0])
            #expect(scene.device.channelsMade == 3)
            await e.close()
            // Closing again does nothing.
            await c.close()
            await first.close()
            await second.close()
            #expect(scene.device.channelsClosed == 3)
            _ = d
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `channels opened at the same time share one channel of the module`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { _, scene in
            let descriptor = try await scene.engine.open("disk")
            try await withThrowingTaskGroup(of: Void.self) { group in
                for index in 0..<6 {
                    group.addTask { _ = try await descriptor.channel(on: scene.reactors[index % 2]) }
                }
                try await group.waitForAll()
            }
            // Whoever came too late has closed what it made.
            #expect(scene.device.channelsMade - scene.device.channelsClosed == 2)
            await descriptor.close()
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `a channel that is opened while its descriptor closes is closed too`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let opener = Task(executorPreference: here.reactor.taskExecutor) {
                await code { () throws(BdevError) in _ = try await descriptor.channel(on: scene.reactors[1]) }
            }
            let closer = Task(executorPreference: here.reactor.taskExecutor) { await descriptor.close() }
            let refusal = await opener.value
            await closer.value
            #expect(refusal == nil || refusal == .closed)
            #expect(scene.device.channelsMade == scene.device.channelsClosed)
        }
    }

    @Test func `a module that cannot make a channel lets the open fail, and is asked again`() throws {
        try simulate { _, scene in
            let descriptor = try await scene.engine.open("disk")
            scene.device.makeFailure = BdevError(.deviceFailed, "no queue pair is left")
            #expect(
                await code { () throws(BdevError) in _ = try await descriptor.channel(on: scene.reactors[0]) }
                    == .deviceFailed)
            scene.device.makeFailure = nil
            _ = try await descriptor.channel(on: scene.reactors[0])
            await descriptor.close()
        }
    }

    @Test func `closing a channel waits for what is in flight and refuses what comes after`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let home = here.reactor
            let read = Task(executorPreference: home.taskExecutor) {
                await channel.readOnce(at: 3)
            }
            while scene.device.held.isEmpty { await here.yield() }
            let closed = Shared(false)
            let close = Task(executorPreference: home.taskExecutor) {
                await channel.close()
                closed.value = true
            }
            for _ in 0..<20 { await here.yield() }
            #expect(!closed.value)
            #expect(await channel.readOnce(at: 4) == .closed)
            #expect(await code { () throws(BdevError) in try await channel.flush() } == .closed)
            #expect(scene.device.channelsClosed == 0)
            scene.device.complete()
            #expect(await read.value == nil)
            await close.value
            #expect(scene.device.channelsClosed == 1)
            #expect(scene.device.arrivals.count == 1)
            await descriptor.close()
        }
    }

    @Test func `closing a descriptor closes its channels on every reactor`() throws {
        try simulate(reactorCount: 3) { _, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            var channels: [BdevChannel] = []
            for reactor in scene.reactors { channels.append(try await descriptor.channel(on: reactor)) }
            await descriptor.close()
            await descriptor.close()
            #expect(scene.device.channelsClosed == 3)
            for channel in channels { #expect(await channel.readOnce(at: 0) == .closed) }
            #expect(
                await code { () throws(BdevError) in _ = try await descriptor.channel(on: scene.reactors[0]) }
                    == .closed)
        }
    }

    @Test func `a channel of a scope is closed when the scope ends, and when it throws`() throws {
        struct Failure: Error {}
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let number = try await descriptor.withChannel(on: here.reactor) { channel in
                channel.engine.blockCount
            }
            #expect(number == 1024)
            #expect(scene.device.channelsClosed == 1)
            await #expect(throws: Failure.self) {
                try await descriptor.withChannel(on: here.reactor) { _ in throw Failure() }
            }
            #expect(scene.device.channelsClosed == 2)
            await descriptor.close()
        }
    }
}

extension BdevChannel {
    /// Reads one block; what went wrong.
    func readOnce(at block: UInt64) async -> BdevError.Code? {
        await code { () throws(BdevError) in
            var buffer = try allocateBuffer(byteCount: engine.blockByteCount)
            try await read(at: .block(block), into: &buffer)
        }
    }

    /// Writes one block full of `byte`; what went wrong.
    func writeOnce(at block: UInt64, _ byte: UInt8 = 0) async -> BdevError.Code? {
        await code { () throws(BdevError) in
            var buffer = try allocateBuffer(byteCount: engine.blockByteCount)
            buffer.fill(with: byte)
            try await write(from: buffer, at: .block(block))
        }
    }
}
