import Bdev
import Reactors
import SimulatedReactors
import Testing

struct CancellationTests {
    @Test(arguments: UInt64(0)..<20)
    func `a cancelled read is aborted within 10 ms, and its buffer comes back`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            scene.device.pace = .held
            let random = Shared(SeededRandom(seed: seed))
            try await scene.withChannel { channel in
                let read = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                while scene.device.held.isEmpty { await here.yield() }
                try await here.sleep(for: .microseconds(Int.random(in: 0...25_000, using: &random.value)))
                let start = scene.simulation.now
                read.cancel()
                #expect(await read.value == .aborted)
                #expect(scene.simulation.now - start <= .milliseconds(10))
                #expect(scene.device.aborted.count == 1)
            }
        }
    }

    @Test func `a device that does not obey keeps the buffer until it is done, and the read succeeds`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            scene.device.obeysAbort = false
            try await scene.withChannel { channel in
                let done = Shared(false)
                let read = Task(executorPreference: here.reactor.taskExecutor) {
                    let code = await channel.readOnce(at: 0)
                    done.value = true
                    return code
                }
                while scene.device.held.isEmpty { await here.yield() }
                read.cancel()
                try await here.sleep(for: .milliseconds(100))
                #expect(!done.value)
                // Asked once, not every 10 ms.
                #expect(scene.device.aborted.count == 1)
                scene.device.complete()
                #expect(await read.value == nil)
            }
        }
    }

    @Test func `a read that waits for room is given up when its task is cancelled`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            scene.device.depth = 1
            try await scene.withChannel { channel in
                let first = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                while scene.device.held.isEmpty { await here.yield() }
                let second = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 1) }
                let third = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 2) }
                for _ in 0..<20 { await here.yield() }
                second.cancel()
                #expect(await second.value == .aborted)
                #expect(scene.device.aborted.isEmpty)
                scene.device.complete()
                #expect(await first.value == nil)
                while scene.device.held.isEmpty { await here.yield() }
                scene.device.complete()
                #expect(await third.value == nil)
                #expect(scene.device.arrivals.map(\.start) == [0, 2])
            }
        }
    }

    @Test func `a task that is cancelled already is told so too`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let read = Task(executorPreference: here.reactor.taskExecutor) {
                    while !Task.isCancelled { await channel.reactor.run { local in await local.yield() } }
                    return await channel.readOnce(at: 0)
                }
                read.cancel()
                #expect(await read.value == .aborted)
            }
        }
    }

    @Test func `only the cancelled task's I-O is aborted`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let reads = (UInt64(0)..<8).map { block in
                    Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: block) }
                }
                while scene.device.held.count < 8 { await here.yield() }
                reads[3].cancel()
                reads[6].cancel()
                #expect(await reads[3].value == .aborted)
                #expect(await reads[6].value == .aborted)
                #expect(scene.device.held.count == 6)
                #expect(Set(scene.device.held.map(\.arrival.start)) == [0, 1, 2, 4, 5, 7])
                scene.device.completeAll()
                for index in [0, 1, 2, 4, 5, 7] { #expect(await reads[index].value == nil) }
            }
        }
    }

    @Test func `a cancelled batch is aborted whole`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let task = Task(executorPreference: here.reactor.taskExecutor) {
                    await channel.readBatch(count: 4)
                }
                while scene.device.held.count < 4 { await here.yield() }
                let start = scene.simulation.now
                task.cancel()
                let result = await task.value
                #expect(result.code == .aborted)
                #expect(result.statuses == [.aborted, .aborted, .aborted, .aborted])
                #expect(scene.simulation.now - start <= .milliseconds(10))
            }
        }
    }

    @Test func `a cancelled task of another reactor is noticed too`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let read = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 0) }
            while scene.device.held.isEmpty { await here.yield() }
            read.cancel()
            #expect(await read.value == .aborted)
            await descriptor.close()
        }
    }
}

extension BdevChannel {
    /// Reads `count` blocks in a batch.
    func readBatch(count: Int) async -> (code: BdevError.Code?, statuses: [IOStatus]) {
        var batch = IOBatch(capacity: count)
        var code: BdevError.Code?
        do throws(BdevError) {
            for index in 0..<count { batch.read(into: try allocateBuffer(byteCount: 512), at: .block(UInt64(index))) }
            try await perform(&batch)
        } catch {
            code = error.code
        }
        return (code, (0..<count).map { batch.status($0) })
    }
}
