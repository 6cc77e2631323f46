import Bdev
import Reactors
import SimulatedReactors
import Testing

/// When requests or memory run out.
struct PoolTests {
    private static let capacity: UInt64 = 65_536

    @Test func `when every request of a reactor is in use the next is refused, until one comes back`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in 0..<Self.capacity {
                    try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                }
                let engine = channel.engine
                func submit() -> BdevError.Code? {
                    do throws(BdevError) {
                        try engine.submit(.flush, at: .block(0), count: .blocks(0), handler: handler)
                        return nil
                    } catch { return error.code }
                }
                #expect(submit() == .noMemory)
                scene.device.complete(Int(Self.capacity) - 1)
                #expect(submit() == nil)
                #expect(submit() == .noMemory)
                scene.device.completeAllFromTheEnd()
                #expect(handler.completions.count == Int(Self.capacity) + 1)
            }
        }
    }

    @Test func `when every request is in use async calls wait, and are served in the order they came`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler(), order = Shared<[Int]>([]), arrived = Shared<[Int]>([])
                for tag in 0..<Self.capacity {
                    try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                }
                let waiting = (0..<3).map { number in
                    Task {
                        arrived.value.append(number)
                        try await channel.flush()
                        order.value.append(number)
                    }
                }
                for _ in 0..<10 { await channel.reactor.local.yield() }
                #expect(order.value.isEmpty)
                #expect(scene.device.submissionCount == Int(Self.capacity))
                while order.value.count < 3 {
                    if scene.device.inside > 0 { scene.device.complete() }
                    await channel.reactor.local.yield()
                }
                #expect(order.value == arrived.value)
                scene.device.completeAllFromTheEnd()
                for task in waiting { try await task.value }
            }
        }
    }

    @Test func `a batch waits in turn for the requests it lacks`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in 0..<Self.capacity - 2 {
                    try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                }
                let batches = (0..<2).map { _ in
                    Task(executorPreference: here.reactor.taskExecutor) { await channel.readBatch(count: 6) }
                }
                for _ in 0..<10 { await channel.reactor.local.yield() }
                #expect(scene.device.submissionCount == Int(Self.capacity))
                // One comes back, one goes out.
                scene.device.complete()
                while scene.device.submissionCount == Int(Self.capacity) { await channel.reactor.local.yield() }
                for _ in 0..<10 { await channel.reactor.local.yield() }
                #expect(scene.device.submissionCount == Int(Self.capacity) + 1)
                while scene.device.submissionCount < Int(Self.capacity) + 10 {
                    if scene.device.inside > 0 { scene.device.complete() }
                    await channel.reactor.local.yield()
                }
                scene.device.completeAllFromTheEnd()
                for batch in batches {
                    let result = await batch.value
                    #expect(result.code == nil)
                    #expect(result.statuses == Array(repeating: .success, count: 6))
                }
                #expect(handler.completions.count == Int(Self.capacity) - 2)
            }
        }
    }

    @Test func `a cancelled batch that waits for requests ends once what it submitted has`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in 0..<Self.capacity - 2 {
                    try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                }
                let batch = Task(executorPreference: here.reactor.taskExecutor) { await channel.readBatch(count: 6) }
                while scene.device.submissionCount < Int(Self.capacity) { await channel.reactor.local.yield() }
                batch.cancel()
                try await channel.reactor.local.sleep(for: .milliseconds(30))
                scene.device.completeAllFromTheEnd()
                let result = await batch.value
                #expect(result.code == .aborted)
                #expect(result.statuses.suffix(4) == Array(repeating: .aborted, count: 4))
                #expect(scene.device.submissionCount == Int(Self.capacity))
            }
        }
    }

    @Test func `a queue of sixty thousand refused requests is worked off without running out of stack`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                scene.device.refusals = 1
                for tag in UInt64(0)..<60_000 {
                    try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), tag: tag, handler: handler)
                }
                #expect(scene.device.submissionCount == 1)
                while handler.completions.count < 60_000 { await channel.reactor.local.yield() }
                #expect(handler.tags == Array(0..<60_000))
                #expect(scene.simulation.now == .milliseconds(10))
            }
        }
    }

    @Test func `who waits for a buffer is served in turn`() throws {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 1)]
        memory.byteCountLimit = 4096
        try simulate(memory: memory) { here, scene in
            let order = Shared<[Int]>([])
            try await scene.withChannel { channel in
                let first = await channel.buffer(byteCount: 4096)
                let refused = await code { () throws(BdevError) in _ = try channel.allocateBuffer(byteCount: 512) }
                #expect(refused == .noMemory)
                var waiters: [Task<Void, Never>] = []
                for index in 0..<5 {
                    waiters.append(
                        Task(executorPreference: here.reactor.taskExecutor) {
                            let buffer = await channel.buffer(byteCount: 512)
                            order.value.append(index)
                            _ = consume buffer
                        })
                    for _ in 0..<10 { await channel.reactor.local.yield() }
                }
                #expect(order.value == [])
                _ = consume first
                for waiter in waiters { await waiter.value }
            }
            #expect(order.value == [0, 1, 2, 3, 4])
        }
    }
}

extension TestDevice {
    /// Completes what is held, the newest first: taking from the front of a long array takes long.
    func completeAllFromTheEnd() {
        while !held.isEmpty { complete(held.count - 1) }
    }
}
