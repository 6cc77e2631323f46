import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// What a reset does to a bdev: nothing goes in, what waits is given up, the device is told, all goes on.
struct ResetTests {
    // MARK: The order of events

    @Test func `a reset gives up what waits, refuses what comes, tells the device, and then lets I-O through again`()
        throws
    {
        try simulate { here, scene in
            scene.device.pace = .held
            scene.device.depth = 2
            try await scene.withChannel { channel in
                let events = Shared<[String]>([])
                func read(_ block: UInt64) -> Task<BdevError.Code?, Never> {
                    Task(executorPreference: channel.reactor.taskExecutor) {
                        let code = await channel.readOnce(at: block)
                        events.value.append("read \(block) \(code.map { "\($0)" } ?? "done")")
                        return code
                    }
                }
                let inDevice = read(0)
                await channel.reactor.local.settle()
                let other = read(1)
                await channel.reactor.local.settle()
                let waiting = read(2)
                await channel.reactor.local.settle()
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    try await channel.reset()
                    events.value.append("reset done")
                }
                #expect(await waiting.value == .aborted)
                await channel.reactor.local.settle()
                #expect(await channel.readOnce(at: 3) == .aborted)
                #expect(events.value == ["read 2 aborted"])
                // The device has been told at once, beside the two it has.
                #expect(scene.device.held.map(\.arrival.type) == [.read, .read, .reset])
                scene.device.complete(2)
                try await reset.value
                scene.device.completeAll()
                #expect(await inDevice.value == nil)
                #expect(await other.value == nil)
                #expect(events.value.prefix(2) == ["read 2 aborted", "reset done"])
                #expect(Set(events.value.suffix(2)) == ["read 0 done", "read 1 done"])
                let again = read(4)
                await channel.reactor.local.settle()
                scene.device.completeAll()
                #expect(await again.value == nil)
                #expect(channel.statistics.errors == [.aborted: 2])
            }
        }
    }

    @Test(arguments: [true, false], UInt64(0)..<10)
    func `resets that come during one end with it, and with its result`(succeeds: Bool, seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            scene.device.pace = .held
            scene.device.answer = { _ in succeeds ? .success : .system(.ioError) }
            let descriptor = try await scene.engine.open("disk")
            let order = Shared<[Int]>([])
            let first = try await descriptor.channel(on: scene.reactors[2])
            var resets: [Task<BdevError.Code?, Never>] = []
            for number in 0..<6 {
                let channel = number == 0 ? first : try await descriptor.channel(on: scene.reactors[number % 3])
                resets.append(
                    here.task {
                        let code = await channel.attempt(.reset, at: 0)
                        order.value.append(number)
                        return code
                    })
                await here.settle(.milliseconds(1))
            }
            #expect(scene.device.arrivals.map(\.type) == [.reset])
            #expect(order.value.isEmpty)
            await scene.device.completeFirst()
            for reset in resets { #expect(await reset.value == (succeeds ? nil : .mediaError)) }
            #expect(scene.device.arrivals.count == 1)
            // One that comes afterwards is one of its own.
            let late = here.task { await first.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            scene.device.answer = { _ in .success }
            await scene.device.completeFirst()
            #expect(await late.value == nil)
            #expect(scene.device.arrivals.count == 2)
            await descriptor.close()
        }
    }

    @Test func `the resets that waited end before the one that was done`() throws {
        try simulate { _, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in UInt64(0)..<3 {
                    try channel.engine.submit(.reset, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                    await channel.reactor.local.settle()
                }
                scene.device.complete()
                await channel.reactor.local.settle()
                #expect(handler.tags == [1, 2, 0])
                #expect(handler.completions.allSatisfy { $0.status.isSuccess })
            }
        }
    }

    @Test func `a device that fails the reset fails it, and I-O goes on`() throws {
        try simulate { _, scene in
            scene.device.answer = { $0.type == .reset ? IOStatus(.failed) : .success }
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.reset, at: 0) == .deviceFailed)
                #expect(await channel.writeOnce(at: 0, 7) == nil)
                #expect(await channel.readOnce(at: 0) == nil)
            }
        }
    }

    @Test func `resets of a batch are like any other`() throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                var batch = IOBatch(capacity: 2)
                batch.add(.reset, at: .block(0), count: .blocks(0))
                batch.add(.reset, at: .block(0), count: .blocks(0))
                try await channel.perform(&batch)
                #expect(batch.status(0).isSuccess && batch.status(1).isSuccess)
            }
        }
    }

    @Test func `a cancelled reset goes on, and its task waits for it`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle()
                reset.cancel()
                await channel.reactor.local.settle(.milliseconds(50))
                #expect(scene.device.aborted.isEmpty)
                scene.device.complete()
                #expect(await reset.value == nil)
            }
        }
    }

    // MARK: What waits

    @Test func `what waits for memory is given up`() throws {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 1)]
        memory.byteCountLimit = 4096
        try simulate(memory: memory) { here, scene in
            try await scene.withChannel { channel in
                // The one buffer there is: comparing by reading needs another.
                let buffer = try channel.buffer(Array(repeating: 0, count: 512))
                let code = Shared<BdevError.Code?>(nil)
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.reactor.local.settle(.milliseconds(1))
                    return await channel.attempt(.reset, at: 0)
                }
                code.value = await failure { () throws(BdevError) in
                    try await channel.compare(buffer, at: .block(0))
                }?.code
                #expect(code.value == .aborted)
                #expect(await reset.value == nil)
                #expect(scene.device.arrivals.map(\.type) == [.reset])
            }
        }
    }

    @Test(arguments: [IOType.write, .read, .compareAndWrite])
    func `what waits for a range is given up, and never reaches the device`(type: IOType) throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let quiescence = try await scene.module.host.value.quiesce("disk", blocks: 0..<10)
                let waiting = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(type, at: 5)
                }
                await channel.reactor.local.settle(.milliseconds(1))
                try await channel.reset()
                #expect(await waiting.value == .aborted)
                try await scene.module.host.value.unquiesce(quiescence)
                await channel.reactor.local.settle(.milliseconds(1))
                #expect(scene.device.arrivals.map(\.type) == [.reset])
            }
        }
    }

    @Test func `what waits for its turn under a limit is given up`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var limits = QoSLimits()
                limits.operationsPerSecond = 10
                try await scene.engine.setLimits(limits, of: "disk")
                let reads = (UInt64(0)..<30).map { block in
                    Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: block) }
                }
                await channel.reactor.local.settle()
                let before = scene.device.arrivals.count
                try await channel.reset()
                var abortedCount = 0
                for read in reads where await read.value == .aborted { abortedCount += 1 }
                #expect(before < 30 && abortedCount == 30 - before)
                #expect(scene.simulation.now < .milliseconds(1))
            }
        }
    }

    @Test func `of a request in parts, those with the device end by themselves and no others follow`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 1 }) { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let write = Task(executorPreference: channel.reactor.taskExecutor) {
                    await code { () throws(BdevError) in
                        try await channel.write(
                            Array(repeating: 1, count: 40 * 512), at: 0, segments: Array(repeating: 512, count: 40))
                    }
                }
                await channel.reactor.local.settle()
                #expect(scene.device.held.count == 32)
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle()
                for _ in 0..<32 { scene.device.complete() }
                #expect(await write.value == .aborted)
                #expect(scene.device.held.map(\.arrival.type) == [.reset])
                scene.device.complete()
                #expect(await reset.value == nil)
            }
        }
    }

    @Test func `what the device gives back for want of room does not go there again`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let read = Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                await channel.reactor.local.settle()
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle()
                scene.device.complete(0, with: .noMemory)
                #expect(await read.value == .aborted)
                await channel.reactor.local.settle(.milliseconds(50))
                #expect(scene.device.held.map(\.arrival.type) == [.reset])
                scene.device.complete()
                #expect(await reset.value == nil)
            }
        }
    }

    @Test func `a copy whose data has been read is not written, and so is a compare-and-write`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let copy = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.copy, at: 100, count: 4, source: 0)
                }
                let swap = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.compareAndWrite, at: 200)
                }
                await channel.reactor.local.settle(.milliseconds(1))
                #expect(scene.device.held.map(\.arrival.type) == [.read, .read])
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle()
                scene.device.complete()
                scene.device.complete()
                #expect(await copy.value == .aborted)
                #expect(await swap.value == .aborted)
                #expect(scene.device.arrivals.map(\.type) == [.read, .read, .reset])
                scene.device.complete()
                #expect(await reset.value == nil)
                // The range is free again.
                scene.device.pace = .atOnce
                #expect(await channel.attempt(.compareAndWrite, at: 200) == nil)
            }
        }
    }

    @Test func `a reset does not wait behind what another bdev on the same device channel has in the queue`() throws {
        try simulate { here, scene in
            let second = TestDevice(.test, types: .everything)
            second.sharesChannel(of: scene.device)
            try await scene.module.create("second", second)
            try await scene.withChannel { channel in
                let descriptor = try await scene.engine.open("second")
                let other = try await descriptor.channel(on: here.reactor)
                scene.device.pace = .held
                scene.device.depth = 0
                let stuck = Task(executorPreference: channel.reactor.taskExecutor) { await other.readOnce(at: 0) }
                await channel.reactor.local.settle()
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle(.milliseconds(1))
                #expect(scene.device.held.map(\.arrival.type) == [.reset])
                scene.device.completeAll()
                #expect(await reset.value == nil)
                scene.device.depth = 1
                scene.device.pace = .atOnce
                #expect(await stuck.value == nil)
                await descriptor.close()
            }
        }
    }
}
