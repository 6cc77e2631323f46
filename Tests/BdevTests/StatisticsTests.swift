import Bdev
import NullBdev
import Reactors
import SimulatedReactors
import Testing

struct StatisticsTests {
    @Test func `what is done is counted by kind, with its latencies`() throws {
        try simulate { here, scene in
            let delays = [10, 30, 20]
            let next = Shared(0)
            scene.device.pace = .later { _ in
                next.value += 1
                return .microseconds(delays[(next.value - 1) % 3])
            }
            try await scene.withChannel { channel in
                for block in UInt64(0)..<3 { #expect(await channel.readOnce(at: block) == nil) }
                _ = try await channel.read(at: 0, segments: [5 * 512])
                #expect(await channel.writeOnce(at: 0) == nil)
                try await channel.unmap(at: .block(0), count: .blocks(9))
                try await channel.flush()
                let statistics = channel.statistics
                #expect(statistics.ticksPerSecond == 1_000_000_000)
                #expect(statistics.read.operationCount == 4)
                #expect(statistics.read.blockCount == 8)
                #expect(statistics.read.byteCount == 8 * 512)
                #expect(statistics.read.latencyTicks == 70_000)
                #expect(statistics.read.minimumLatencyTicks == 10_000)
                #expect(statistics.read.maximumLatencyTicks == 30_000)
                #expect(statistics.write.operationCount == 1)
                #expect(statistics.unmap.blockCount == 9)
                #expect(statistics.other.operationCount == 1)
                #expect(statistics.total.operationCount == 7)
                #expect(statistics.total.minimumLatencyTicks == 10_000)
                #expect(statistics.total.byteCount == (8 + 1 + 9 + 1024) * 512)
                #expect(statistics.averageLatency(\.read) == .nanoseconds(17_500))
                #expect(statistics.averageLatency(\.copy) == nil)
            }
        }
    }

    @Test func `failures are counted by status and nowhere else`() throws {
        try simulate { here, scene in
            scene.device.answer = { $0.start == 1 ? .failed : $0.start == 2 ? .aborted : .success }
            try await scene.withChannel { channel in
                for block in [0, 1, 1, 2] as [UInt64] { _ = await channel.readOnce(at: block) }
                #expect(channel.statistics.errors == [.failed: 2, .aborted: 1])
                #expect(channel.statistics.read.operationCount == 1)
                // What a check refuses is not an I/O.
                #expect(await channel.readOnce(at: 5000) == .outOfRange)
                #expect(channel.statistics.errors.values.reduce(0, +) == 3)
            }
        }
    }

    @Test func `a bdev's figures sum its reactors and outlive its channels`() throws {
        try simulate(reactorCount: 3) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            for (index, reactor) in scene.reactors.enumerated() {
                let channel = try await descriptor.channel(on: reactor)
                for block in 0...UInt64(index) { #expect(await channel.readOnce(at: block) == nil) }
                if index == 1 { await channel.close() }
            }
            #expect(try await scene.engine.statistics("disk").read.operationCount == 6)
            await descriptor.close()
            let statistics = try await scene.engine.statistics("disk")
            #expect(statistics.read.operationCount == 6)
            #expect(statistics.ticksPerSecond == 1_000_000_000)
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.statistics("no") } == .noSuchBdev)
        }
    }

    @Test(arguments: [false, true])
    func `a copy counts as one, and an emulated one as what it became`(isNative: Bool) throws {
        try simulate(types: isNative ? .everything.union(.copy) : .everything) { here, scene in
            try await scene.withChannel { channel in
                try await channel.copy(from: .block(0), to: .block(100), count: .blocks(6))
                let statistics = channel.statistics
                #expect(statistics.copy.byteCount == (isNative ? 6 * 512 : 0))
                #expect(statistics.read.byteCount == (isNative ? 0 : 6 * 512))
                #expect(statistics.write.byteCount == (isNative ? 0 : 6 * 512))
                #expect(statistics.total.operationCount == (isNative ? 1 : 2))
            }
        }
    }

    @Test(arguments: [false, true])
    func `zero-copy counts as a read or a write when it begins, and not when it ends`(isPopulated: Bool) throws {
        try simulateMedium(.test, types: [.read, .write, .zeroCopy], delay: .microseconds(5)) { here, engine, medium in
            let descriptor = try await engine.open("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let io = try await channel.startZeroCopy(at: .block(4), count: .blocks(2), populated: isPopulated)
                try await io.end(commit: !isPopulated)
                let counters = isPopulated ? channel.statistics.read : channel.statistics.write
                #expect(counters.operationCount == 1)
                #expect(counters.byteCount == 1024)
                #expect(counters.latencyTicks == 5_000)
                #expect(channel.statistics.total == counters)
            }
            await descriptor.close()
        }
    }

    @Test func `the parts of a split read count, and the whole does not`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 4 }) { here, scene in
            try await scene.withChannel { channel in
                _ = try await channel.read(at: 0, segments: [10 * 512])
                #expect(channel.statistics.read.operationCount == 3)
                #expect(channel.statistics.total.blockCount == 10)
            }
        }
    }

    @Test func `submissions repeated for want of room are counted`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                scene.device.refusals = 3
                #expect(await channel.readOnce(at: 0) == nil)
            }
            let statistics = try await scene.engine.statistics("disk")
            #expect(statistics.retryCount == 3)
            #expect(statistics.errorCount == 0)
            #expect(statistics.read.operationCount == 1)
        }
    }

    // MARK: Beginning anew

    /// Reads with latencies of 10 and 30 µs and a failure, on each reactor; those of the last one have been closed.
    private static func work(_ scene: Scene) async throws -> BdevDescriptor {
        let descriptor = try await scene.engine.open("disk", mode: .readWrite)
        scene.device.pace = .later { .microseconds($0.start == 1 ? 30 : 10) }
        scene.device.answer = { $0.start == 2 ? .failed : .success }
        for (index, reactor) in scene.reactors.enumerated() {
            let channel = try await descriptor.channel(on: reactor)
            for block in UInt64(0)..<3 { _ = await channel.readOnce(at: block) }
            if index == scene.reactors.count - 1 { await channel.close() }
        }
        return descriptor
    }

    @Test(arguments: [StatisticsReset.none, .all, .extremes, .errors])
    func `a reset begins anew with what it names, also of channels that were closed`(reset: StatisticsReset) throws {
        try simulate(reactorCount: 3) { here, scene in
            let descriptor = try await Self.work(scene)
            let before = try await scene.engine.statistics("disk", reset: reset)
            #expect(before.read.operationCount == 6)
            #expect(before.read.latencyTicks == 120_000)
            #expect(before.read.minimumLatencyTicks == 10_000)
            #expect(before.read.maximumLatencyTicks == 30_000)
            #expect(before.errors == [.failed: 3])
            let after = try await scene.engine.statistics("disk")
            let isAll = reset == .all, forgetsExtremes = isAll || reset == .extremes
            #expect(after.read.operationCount == (isAll ? 0 : 6))
            #expect(after.read.byteCount == (isAll ? 0 : 6 * 512))
            #expect(after.read.latencyTicks == (isAll ? 0 : 120_000))
            #expect(after.read.minimumLatencyTicks == (forgetsExtremes ? .max : 10_000))
            #expect(after.read.maximumLatencyTicks == (forgetsExtremes ? 0 : 30_000))
            #expect(after.errors == (isAll || reset == .errors ? [:] : [.failed: 3]))
            #expect(after.ticksPerSecond == 1_000_000_000)
            await descriptor.close()
        }
    }

    @Test func `resetting is of everything unless something is named`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let descriptor = try await Self.work(scene)
            try await scene.engine.resetStatistics("disk", .errors)
            #expect(try await scene.engine.statistics("disk").errorCount == 0)
            #expect(try await scene.engine.statistics("disk").read.operationCount == 4)
            try await scene.engine.resetStatistics("disk")
            #expect(try await scene.engine.statistics("disk").total.operationCount == 0)
            await descriptor.close()
            #expect(
                await code { () throws(BdevError) in try await scene.engine.resetStatistics("no") } == .noSuchBdev)
        }
    }

    @Test func `each channel that there is has figures of its own`() throws {
        try simulate(reactorCount: 3) { here, scene in
            let descriptor = try await Self.work(scene)
            _ = await (try descriptor.channel(on: scene.reactors[0])).readOnce(at: 0)
            let first = try await scene.engine.channelStatistics("disk", reset: .all)
            #expect(first.map(\.reactor.index) == [0, 1])
            #expect(first.map(\.statistics.read.operationCount) == [3, 2])
            let second = try await scene.engine.channelStatistics("disk")
            #expect(second.map(\.statistics.total.operationCount) == [0, 0])
            // The one that was closed has not been asked.
            #expect(try await scene.engine.statistics("disk").read.operationCount == 2)
            await descriptor.close()
            #expect(try await scene.engine.channelStatistics("disk").isEmpty)
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `readings that begin anew have every I/O once, whatever is opened and closed meanwhile`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let random = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 1...40, using: &random.value)) }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let done = Shared(0), running = Shared(4)
            for index in 0..<4 {
                let reactor = scene.reactors[index % 2]
                Task(executorPreference: reactor.taskExecutor) {
                    for _ in 0..<Int.random(in: 1...6, using: &random.value) {
                        let channel = try await descriptor.channel(on: reactor)
                        for _ in 0..<Int.random(in: 0...9, using: &random.value) {
                            if await channel.readOnce(at: 0) == nil { done.value += 1 }
                        }
                        await channel.close()
                    }
                    running.value -= 1
                }
            }
            var read: UInt64 = 0
            var stream = scene.engine.statisticsStream(every: .microseconds(7)).makeAsyncIterator()
            var streamed: UInt64 = 0
            while running.value > 0 {
                read += try await scene.engine.statistics("disk", reset: .all).read.operationCount
                streamed += await stream.next()?.bdevs.first?.read.operationCount ?? 0
                try await here.sleep(for: .microseconds(Int.random(in: 0...50, using: &random.value)))
            }
            read += try await scene.engine.statistics("disk", reset: .all).read.operationCount
            streamed += await stream.next()?.bdevs.first?.read.operationCount ?? 0
            #expect(read == done.value, "seed \(seed)")
            #expect(streamed <= read, "seed \(seed)")
            // The stream began a little later than the work.
            #expect(streamed + 4 >= read, "seed \(seed)")
            await descriptor.close()
        }
    }

    @Test func `on two threads too, with everything else switched on and off`() async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: .all, options: options)
        let engine = BdevEngine(group: group), null = NullModule()
        try await engine.register(null)
        try await null.create(NullModule.Options(name: "Null0", blockCount: 64))
        let descriptor = try await engine.open("Null0")
        try await descriptor.setTimeout(.seconds(60)) { Issue.record("\($0)") }
        var read: UInt64 = 0
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for reactor in group.reactors {
                tasks.addTask(executorPreference: reactor.taskExecutor) {
                    for _ in 0..<50 {
                        try await descriptor.withChannel(on: reactor) { channel in
                            var buffer = try channel.allocateBuffer(byteCount: 512)
                            for _ in 0..<100 { try await channel.read(at: .block(0), into: &buffer) }
                        }
                    }
                }
            }
            for round in 0..<50 {
                read += try await engine.statistics("Null0", reset: .all).read.operationCount
                try await engine.recordLatencies(of: "Null0", types: round % 2 == 0 ? .read : [])
                try await engine.sampleQueueDepth(of: "Null0", every: round % 3 == 0 ? nil : .microseconds(10))
                _ = try await engine.channelStatistics("Null0", reset: .extremes)
            }
            try await tasks.waitForAll()
        }
        read += try await engine.statistics("Null0").read.operationCount
        #expect(read == 10_000)
        await descriptor.close()
        await engine.stop()
        await group.shutDown()
    }

    // MARK: The stream

    @Test func `a stream has rates and mean latencies, whatever is reset`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .later { $0.type == .read ? .milliseconds(2) : .milliseconds(3) }
            scene.device.answer = { $0.start == 9 ? .failed : .success }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let here = here.reactor
            let first = try await descriptor.channel(on: here),
                second = try await descriptor.channel(on: scene.reactors[1])
            var stream = scene.engine.statisticsStream(of: ["disk"], every: .milliseconds(100)).makeAsyncIterator()
            let work = Task(executorPreference: here.taskExecutor) {
                try await here.local.sleep(for: .milliseconds(110))
                for _ in 0..<5 { _ = await first.readOnce(at: 0) }
                for _ in 0..<3 { _ = await second.writeOnce(at: 0) }
                _ = await second.readOnce(at: 9)
                try await scene.engine.resetStatistics("disk")
            }
            let idle = try #require(await stream.next()), busy = try #require(await stream.next())
            #expect(idle.elapsed == .milliseconds(100))
            #expect(idle.bdevs.map(\.name) == ["disk"])
            #expect(idle.bdevs[0].total.operationCount == 0)
            #expect(idle.bdevs[0].total.averageLatency == nil)
            #expect(idle.instant.duration(to: busy.instant) == .milliseconds(100))
            let disk = busy.bdevs[0]
            #expect(disk.read.operationCount == 5)
            #expect(disk.read.operationsPerSecond == 50)
            #expect(disk.read.bytesPerSecond == 50 * 512)
            #expect(disk.read.averageLatency == .milliseconds(2))
            #expect(disk.write.operationsPerSecond == 30)
            #expect(disk.write.averageLatency == .milliseconds(3))
            #expect(disk.total.operationCount == 8)
            #expect(disk.total.averageLatency == .microseconds(2375))
            #expect(disk.errorCount == 1)
            #expect(await stream.next()?.bdevs[0].total.operationCount == 0)
            try await work.value
            await descriptor.close()
        }
    }

    @Test func `a late consumer is given the time since its last snapshot`() throws {
        try simulate { here, scene in
            var stream = scene.engine.statisticsStream(every: .milliseconds(10)).makeAsyncIterator()
            _ = await stream.next()
            try await here.sleep(for: .milliseconds(35))
            let late = try #require(await stream.next())
            #expect(late.elapsed == .milliseconds(35))
            #expect(await stream.next()?.elapsed == .milliseconds(10))
        }
    }

    @Test func `bdevs come into a stream and leave it`() throws {
        try simulate { here, scene in
            var all = scene.engine.statisticsStream(every: .milliseconds(10)).makeAsyncIterator()
            var some = scene.engine.statisticsStream(of: ["late", "no"], every: .milliseconds(10)).makeAsyncIterator()
            #expect(await all.next()?.bdevs.map(\.name) == ["disk"])
            #expect(await some.next()?.bdevs.map(\.name) == [])
            try await scene.module.create("late", TestDevice(.test, types: .everything), aliases: ["other"])
            let descriptor = try await scene.engine.open("late")
            let channel = try await descriptor.channel(on: here.reactor)
            for _ in 0..<4 { #expect(await channel.readOnce(at: 0) == nil) }
            await descriptor.close()
            let both = try #require(await all.next())
            #expect(both.bdevs.map(\.name) == ["disk", "late"])
            #expect(both.bdevs[1].read.operationCount == 4)
            #expect(await some.next()?.bdevs.first?.read.operationCount == 4)
            try await scene.engine.remove("late")
            #expect(await all.next()?.bdevs.map(\.name) == ["disk"])
            #expect(await some.next()?.bdevs.map(\.name) == [])
        }
    }

    @Test func `a stream ends when the engine stops, and with its consumer`() throws {
        try simulate { here, scene in
            let stream = scene.engine.statisticsStream(every: .seconds(1000))
            let start = scene.simulation.now
            func consume(_ limit: Int = .max) -> Task<Int, Never> {
                Task(executorPreference: here.reactor.taskExecutor) {
                    var count = 0
                    for await _ in stream {
                        count += 1
                        if count == limit { break }
                    }
                    return count
                }
            }
            let leaver = consume(1), cancelled = consume(), stayer = consume()
            #expect(await leaver.value == 1)
            #expect(scene.simulation.now - start == .seconds(1000))
            cancelled.cancel()
            #expect(await cancelled.value == 1)
            #expect(scene.simulation.now - start <= .milliseconds(1_000_100))
            await scene.engine.stop()
            #expect(await stayer.value == 1)
            #expect(scene.simulation.now - start <= .milliseconds(1_000_100))
            var after = stream.makeAsyncIterator()
            #expect(await after.next() == nil)
        }
    }
}
