import Bdev
import NullBdev
import Reactors
import Testing

/// The same on threads and the kernel's time.
@Suite(.serialized)
struct RealReactorTests {
    /// Runs `body` with an engine on one core, and shuts everything down.
    private static func withEngine(
        _ body: @escaping @Sendable (BdevEngine, Reactor) async throws -> Void
    ) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: [0], options: options)
        let engine = BdevEngine(group: group)
        try await body(engine, group.reactors[0])
        await engine.stop()
        await group.shutDown()
    }

    @Test(arguments: [false, true])
    func `ordinary tasks write to and read from a null bdev`(parks: Bool) async throws {
        try await Self.withEngine { engine, reactor in
            let null = NullModule()
            try await engine.register(null)
            var options = NullModule.Options(name: "Null0", blockCount: 1024)
            options.completesFromPoller = parks
            try await null.create(options)
            let descriptor = try await engine.open("Null0", mode: .readWrite)
            let channel = try await descriptor.channel(on: reactor)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for index in UInt64(0)..<8 {
                    group.addTask {
                        var buffer = try await channel.allocateBuffer(byteCount: 4096)
                        for _ in 0..<50 {
                            try await channel.write(from: buffer, at: .block(index * 8))
                            try await channel.read(at: .block(index * 8), into: &buffer)
                        }
                    }
                }
                try await group.waitForAll()
            }
            let statistics = try await engine.statistics("Null0")
            #expect(statistics.read.operationCount == 400)
            #expect(statistics.write.operationCount == 400)
            await descriptor.close()
        }
    }

    @Test func `many tasks on the reactor share a parked device`() async throws {
        try await Self.withEngine { engine, reactor in
            let null = NullModule()
            try await engine.register(null)
            var options = NullModule.Options(name: "Null0", blockCount: 1024)
            options.completesFromPoller = true
            try await null.create(options)
            let descriptor = try await engine.open("Null0", mode: .readWrite)
            let count = try await descriptor.withChannel(on: reactor) { channel in
                var tasks: [Task<Int, any Error>] = []
                for index in UInt64(0)..<32 {
                    tasks.append(
                        Task {
                            var buffer = try channel.allocateBuffer(byteCount: 512)
                            for _ in 0..<200 { try await channel.read(at: .block(index), into: &buffer) }
                            return 200
                        })
                }
                var sum = 0
                for task in tasks { sum += try await task.value }
                return sum
            }
            #expect(count == 6400)
            await descriptor.close()
        }
    }

    @Test func `a cancelled read is noticed on real time too`() async throws {
        try await Self.withEngine { engine, reactor in
            let module = TestModule(), device = TestDevice(.test, types: .everything)
            device.pace = .held
            try await engine.register(module)
            try await module.create("disk", device)
            let descriptor = try await engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: reactor)
            let read = Task { await channel.readOnce(at: 0) }
            while await reactor.run({ _ in device.held.isEmpty }) { await Task.yield() }
            read.cancel()
            #expect(await read.value == .aborted)
            await descriptor.close()
        }
    }

    @Test func `a refused request is tried again on real time too`() async throws {
        try await Self.withEngine { engine, reactor in
            let module = TestModule(), device = TestDevice(.test, types: .everything)
            device.refusals = 2
            try await engine.register(module)
            try await module.create("disk", device)
            let descriptor = try await engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: reactor)
            #expect(await channel.readOnce(at: 0) == nil)
            #expect(await channel.statistics.retryCount == 2)
            await descriptor.close()
        }
    }
}
