import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Resets with time for the device to finish, on several reactors, and beside opening, closing and removing.
struct ResetDrainTests {
    // MARK: Time to finish

    @Test func `with time to finish and nothing outstanding the device is never told`() throws {
        try simulate(resetDrainTimeout: .seconds(5)) { _, scene in
            try await scene.withChannel { channel in
                try await channel.reset()
                #expect(scene.device.submissionCount == 0)
                #expect(scene.simulation.now == .zero)
                #expect(await channel.readOnce(at: 0) == nil)
            }
        }
    }

    @Test func `what ends in time is looked for every second, and the device is never told`() throws {
        try simulate(reactorCount: 2, resetDrainTimeout: .seconds(5)) { here, scene in
            scene.device.pace = .later { _ in .milliseconds(2500) }
            let descriptor = try await scene.engine.open("disk")
            let busy = try await descriptor.channel(on: scene.reactors[1])
            let channel = try await descriptor.channel(on: here.reactor)
            let read = here.task { await busy.readOnce(at: 0) }
            await here.settle()
            try await channel.reset()
            #expect(Self.isAbout(scene.simulation.now, .seconds(3)))
            #expect(await read.value == nil)
            #expect(scene.device.arrivals.map(\.type) == [.read])
            await descriptor.close()
        }
    }

    @Test(arguments: [Duration.milliseconds(300), .seconds(1), .milliseconds(1500), .seconds(5)])
    func `what does not end in time has the device told, after that time`(timeout: Duration) throws {
        try simulate(resetDrainTimeout: timeout) { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let toldAt = Shared<Duration?>(nil)
                scene.device.onArrival = { if $0.type == .reset { toldAt.value = scene.simulation.now } }
                let read = Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                await channel.reactor.local.settle()
                let reset = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.reset, at: 0)
                }
                await channel.reactor.local.settle(.seconds(6))
                #expect(scene.device.held.map(\.arrival.type) == [.read, .reset])
                #expect(toldAt.value.map { Self.isAbout($0, timeout) } == true)
                scene.device.completeAll()
                #expect(await read.value == nil)
                #expect(await reset.value == nil)
            }
        }
    }

    private static func isAbout(_ time: Duration, _ expected: Duration) -> Bool {
        time >= expected && time < expected + .milliseconds(1)
    }

    // MARK: All reactors

    @Test(arguments: UInt64(0)..<20)
    func `a reset is one of all reactors`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3) { here, scene in
            scene.device.pace = .held
            scene.device.depth = 1
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            var channels: [BdevChannel] = []
            for reactor in scene.reactors { channels.append(try await descriptor.channel(on: reactor)) }
            let all = channels
            let inDevice = here.task { await all[1].readOnce(at: 0) }
            await here.settle(.milliseconds(1))
            let waiting = all.map { channel in here.task { await channel.writeOnce(at: 1) } }
            await here.settle(.milliseconds(1))
            let reset = here.task { await all[2].attempt(.reset, at: 0) }
            for task in waiting { #expect(await task.value == .aborted) }
            await here.settle(.milliseconds(1))
            for channel in all { #expect(await channel.writeOnce(at: 2) == .aborted) }
            #expect(scene.device.arrivals.map(\.type) == [.read, .reset])
            await scene.device.completeFirst { $0.type == .reset }
            #expect(await reset.value == nil)
            await scene.device.completeFirst()
            #expect(await inDevice.value == nil)
            scene.device.pace = .atOnce
            for channel in all { #expect(await channel.writeOnce(at: 2) == nil) }
            await descriptor.close()
        }
    }

    @Test(arguments: UInt64(0)..<200)
    func `a compare-and-write is given up also on its way to its range`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let quiescence = try await host.quiesce("disk")
            let isStarted = Shared(false), result = Shared<BdevError.Code?>(nil)
            let swap = here.task {
                try? await descriptor.withChannel(on: scene.reactors[1]) { channel in
                    // Nothing comes in between: it is there when the reset begins.
                    isStarted.value = true
                    result.value = await channel.attempt(.compareAndWrite, at: 0)
                }
            }
            while !isStarted.value { await here.yield() }
            try await channel.reset()
            await here.settle(.milliseconds(1))
            #expect(result.value == .aborted, "seed \(seed)")
            try await host.unquiesce(quiescence)
            await swap.value
            #expect(scene.device.arrivals.map(\.type) == [.reset], "seed \(seed)")
            await descriptor.close()
        }
    }

    @Test func `a channel that is opened during a reset is frozen too, until it is over`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            let reset = here.task { await channel.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            let late = try await descriptor.channel(on: scene.reactors[1])
            #expect(await late.readOnce(at: 0) == .aborted)
            scene.device.complete()
            #expect(await reset.value == nil)
            scene.device.pace = .atOnce
            #expect(await late.readOnce(at: 0) == nil)
            await descriptor.close()
        }
    }

    // MARK: Beside closing and removing

    @Test(arguments: UInt64(0)..<10)
    func `a removal waits for the reset, which ends well`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let reset = here.task { await channel.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            let removal = here.task { await code { () throws(BdevError) in try await scene.engine.remove("disk") } }
            await here.settle(.milliseconds(1))
            #expect(await channel.attempt(.reset, at: 0) == .removed)
            let close = here.task { await descriptor.close() }
            await here.settle(.milliseconds(1))
            #expect(!scene.device.wasDestroyed)
            await scene.device.completeFirst()
            #expect(await reset.value == nil)
            await close.value
            #expect(await removal.value == nil)
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `a channel can be closed during its reset: closing waits for it`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let other = try await descriptor.channel(on: here.reactor)
            let reset = here.task { await channel.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            let follower = here.task { await other.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            let isClosed = Shared(false)
            let close = here.task {
                await channel.close()
                await other.close()
                isClosed.value = true
            }
            await here.settle(.milliseconds(1))
            #expect(!isClosed.value)
            await scene.device.completeFirst()
            #expect(await reset.value == nil)
            #expect(await follower.value == nil)
            await close.value
            // Nothing of the reset is left on either reactor.
            scene.device.pace = .atOnce
            for reactor in scene.reactors {
                let fresh = try await descriptor.channel(on: reactor)
                #expect(await fresh.readOnce(at: 0) == nil)
            }
            await descriptor.close()
        }
    }

    @Test(arguments: UInt64(0)..<50)
    func `resets among reads and writes leave nothing behind, and the device at rest while it resets`(seed: UInt64)
        throws
    {
        try simulate(seed: seed, reactorCount: 3, resetDrainTimeout: seed % 2 == 0 ? .zero : .microseconds(30)) {
            here, scene in
            let delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...100, using: &delays.value)) }
            scene.device.depth = 4
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<9 {
                    group.addTask {
                        var random = SeededRandom(seed: seed &* 31 &+ UInt64(index))
                        guard let channel = try? await descriptor.channel(on: scene.reactors[index % 3]) else { return }
                        for _ in 0..<20 {
                            let block = UInt64.random(in: 0..<1000, using: &random)
                            let types: [IOType] = [.read, .write, .unmap, .copy, .compareAndWrite, .reset]
                            let type = types.randomElement(using: &random)!
                            let code = await channel.attempt(type, at: block, source: 1020)
                            #expect(code == nil || code == .aborted, "seed \(seed)")
                            #expect(type != .reset || code == nil, "seed \(seed)")
                        }
                    }
                }
            }
            await descriptor.close()
        }
    }
}
