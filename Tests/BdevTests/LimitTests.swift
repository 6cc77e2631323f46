import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Limits on what a bdev may do in a second.
struct LimitTests {
    /// Keeps `depth` reads going on each reactor for `duration`; how many each reactor completed.
    private static func load(
        _ here: isolated LocalReactor, _ scene: Scene, depth: Int, for duration: Duration, blocks: Int = 1
    ) async throws -> [Int] {
        let descriptor = try await scene.engine.open("disk", mode: .readWrite)
        let counts = Shared(Array(repeating: 0, count: scene.reactors.count))
        let end = here.now.advanced(by: duration)
        await withTaskGroup(of: Void.self) { group in
            for (index, reactor) in scene.reactors.enumerated() {
                for _ in 0..<depth {
                    group.addTask(executorPreference: reactor.taskExecutor) {
                        guard let channel = try? await descriptor.channel(on: reactor) else { return }
                        var buffer = await channel.buffer(byteCount: 512 * blocks)
                        while await reactor.run({ local in local.now < end }) {
                            do { try await channel.read(at: .block(0), into: &buffer) } catch { return }
                            if await reactor.run({ local in local.now < end }) { counts.value[index] += 1 }
                        }
                        await channel.close()
                    }
                }
            }
        }
        await descriptor.close()
        return counts.value
    }

    private static func isWithin(_ share: Double, _ count: Int, of expected: Double) -> Bool {
        abs(Double(count) - expected) <= expected * share
    }

    private static func limits(_ operationsPerSecond: UInt64) -> QoSLimits {
        var limits = QoSLimits(burst: .zero)
        limits.operationsPerSecond = operationsPerSecond
        return limits
    }

    @Test(arguments: [(1_000, 2_000), (10_000, 500), (100_000, 100)])
    func `the rate is kept to within two percent on two reactors`(rate: Int, milliseconds: Int) throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .later { _ in .microseconds(3) }
            var limits = QoSLimits()
            limits.operationsPerSecond = UInt64(rate)
            try await scene.engine.setLimits(limits, of: "disk")
            let counts = try await Self.load(here, scene, depth: 4, for: .milliseconds(milliseconds))
            let expected = Double(rate) * Double(milliseconds) / 1000
            #expect(Self.isWithin(0.02, counts.reduce(0, +), of: expected), "\(counts) of \(expected)")
            // Neither of the two is ahead of the other.
            #expect(Self.isWithin(0.02, counts[0], of: expected / 2), "\(counts)")
        }
    }

    @Test func `bytes are limited too, and by direction`() throws {
        try simulate { here, scene in
            var limits = QoSLimits()
            limits.bytesPerSecond = 100 * 4096
            try await scene.engine.setLimits(limits, of: "disk")
            let all = try await Self.load(here, scene, depth: 2, for: .seconds(1), blocks: 8)
            #expect(Self.isWithin(0.02, all[0], of: 100), "\(all)")
            limits.bytesPerSecond = nil
            limits.readBytesPerSecond = 50 * 4096
            try await scene.engine.setLimits(limits, of: "disk")
            let reads = try await Self.load(here, scene, depth: 2, for: .seconds(1), blocks: 8)
            #expect(Self.isWithin(0.03, reads[0], of: 50), "\(reads)")
            limits.readBytesPerSecond = nil
            limits.writeBytesPerSecond = 4096
            try await scene.engine.setLimits(limits, of: "disk")
            // Reads are free then.
            let start = here.now
            try await scene.withChannel { channel in
                for _ in 0..<100 { #expect(await channel.readOnce(at: 0) == nil) }
            }
            #expect(start.duration(to: here.now) < .milliseconds(10))
        }
    }

    @Test func `what waits keeps its order`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1000), of: "disk")
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in UInt64(0)..<20 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    if tag % 3 == 0 {
                        try channel.engine.write(from: &buffer, at: .block(tag), tag: tag, handler: handler)
                    } else {
                        try channel.engine.read(into: &buffer, at: .block(tag), tag: tag, handler: handler)
                    }
                }
                while handler.completions.count < 20 { try await channel.reactor.local.sleep(for: .milliseconds(1)) }
                #expect(handler.tags == Array(0..<20))
                #expect(scene.device.arrivals.map(\.start) == Array(0..<20))
            }
        }
    }

    @Test func `other limits, or none, let those go on that wait`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1), of: "disk")
            #expect(try await scene.engine.limits(of: "disk") == Self.limits(1))
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in UInt64(0)..<10 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(tag), tag: tag, handler: handler)
                }
                let here: LocalReactor = channel.reactor.local
                try await here.sleep(for: .milliseconds(1))
                #expect(handler.completions.count == 1)
                try await scene.engine.setLimits(Self.limits(1000), of: "disk")
                try await here.sleep(for: .milliseconds(5))
                #expect((5...7).contains(handler.completions.count))
                try await scene.engine.setLimits(QoSLimits(), of: "disk")
                try await here.sleep(for: .microseconds(10))
                #expect(handler.tags == Array(0..<10))
            }
        }
    }

    @Test func `what waits can be given up, and a reset aborts it`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1), of: "disk")
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            #expect(await channel.readOnce(at: 0) == nil)
            let waiting = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 1) }
            try await here.sleep(for: .milliseconds(1))
            waiting.cancel()
            #expect(await waiting.value == .aborted)
            let other = Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 2) }
            try await here.sleep(for: .milliseconds(1))
            try await channel.reset()
            #expect(await other.value == .aborted)
            #expect(scene.device.arrivals.map(\.type) == [.read, .reset])
            await descriptor.close()
        }
    }

    @Test func `the parts of a long read are charged, not the read`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 8 }) { here, scene in
            try await scene.engine.setLimits(Self.limits(1000), of: "disk")
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                let before = await here.now
                _ = try await channel.read(at: 0, segments: [80 * 512])
                let elapsed = before.duration(to: await here.now)
                #expect(elapsed >= .milliseconds(9) && elapsed < .milliseconds(11), "\(elapsed)")
                #expect(scene.device.arrivals.count == 10)
            }
        }
    }

    @Test func `zero-copy is charged when it begins, by its direction, and not again when it ends`() throws {
        try simulateMedium(.test, types: [.read, .write, .zeroCopy]) { here, engine, _ in
            var limits = QoSLimits(burst: .zero)
            limits.readBytesPerSecond = 512 * 1000
            try await engine.setLimits(limits, of: "medium")
            let descriptor = try await engine.open("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let here: LocalReactor = channel.reactor.local
                for (isRead, milliseconds) in [(true, 9..<11), (false, 0..<1)] {
                    let before = await here.now
                    for _ in 0..<10 {
                        let io = try await channel.startZeroCopy(
                            at: .block(4), count: .blocks(1), populated: isRead)
                        try await io.end(commit: !isRead)
                    }
                    let elapsed = Int(before.duration(to: await here.now) / .milliseconds(1))
                    #expect(milliseconds.contains(elapsed), "\(isRead): \(elapsed)")
                    await here.settle(.milliseconds(1))
                }
            }
            await descriptor.close()
        }
    }

    @Test func `unmap and flush are free`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1), of: "disk")
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                let before = await here.now
                for _ in 0..<50 {
                    try await channel.unmap(at: .block(0), count: .blocks(1))
                    try await channel.flush()
                }
                #expect(before.duration(to: await here.now) < .milliseconds(1))
            }
        }
    }

    @Test func `limits without meaning are refused`() throws {
        try simulate { here, scene in
            var limits = QoSLimits()
            limits.operationsPerSecond = 0
            #expect(
                await code { () throws(BdevError) in try await scene.engine.setLimits(limits, of: "disk") }
                    == .invalidArgument)
            limits = QoSLimits(burst: .seconds(2))
            limits.bytesPerSecond = 1
            #expect(
                await code { () throws(BdevError) in try await scene.engine.setLimits(limits, of: "disk") }
                    == .invalidArgument)
            #expect(
                await code { () throws(BdevError) in try await scene.engine.setLimits(QoSLimits(), of: "no") }
                    == .noSuchBdev)
        }
    }

    @Test func `a channel that is closed while its timer is set leaves none behind`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1), of: "disk")
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor), handler = RecordingHandler()
            for tag in 0..<3 {
                var buffer: IOBuffer? = await channel.buffer(byteCount: 512)
                try here.engine(of: channel).read(into: &buffer, at: .block(0), tag: UInt64(tag), handler: handler)
            }
            for tag in 1..<3 { here.engine(of: channel).abort(tag: UInt64(tag), of: handler) }
            await descriptor.close()
            #expect(handler.completions.count == 3)
            await here.settle(.seconds(5))
        }
    }

    @Test func `handlers that submit again while others wait leave no timer behind`() throws {
        try simulate { here, scene in
            try await scene.engine.setLimits(Self.limits(1000), of: "disk")
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let chains = (0..<4).map { _ in Chain(here.engine(of: channel), length: 20) }
            for chain in chains { chain.submit(await channel.buffer(byteCount: 512)) }
            while chains.contains(where: { $0.left > 0 }) { await here.settle(.milliseconds(1)) }
            await descriptor.close()
            await here.settle(.seconds(1))
        }
    }
}
