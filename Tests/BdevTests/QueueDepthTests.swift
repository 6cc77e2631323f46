import Bdev
import Reactors
import SimulatedReactors
import Testing

struct QueueDepthTests {
    /// Submits `count` reads on a channel.
    private static func submit(
        _ count: Int, _ channel: BdevChannel, _ handler: sending RecordingHandler = RecordingHandler()
    ) async throws {
        try await channel.submitReads(count, handler)
    }

    @Test func `the depth is that of the device, on all reactors`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            #expect(try await scene.engine.queueDepth(of: "disk") == 0)
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            for (count, reactor) in zip([3, 4], scene.reactors) {
                try await Self.submit(count, try await descriptor.channel(on: reactor))
            }
            #expect(try await scene.engine.queueDepth(of: "disk") == 7)
            scene.device.depth = 5
            // What waits for room is not with the device.
            try await Self.submit(4, try await descriptor.channel(on: here.reactor))
            #expect(try await scene.engine.queueDepth(of: "disk") == 7)
            scene.device.depth = .max
            while !scene.device.held.isEmpty {
                await scene.completeHeld()
                try await here.sleep(for: .milliseconds(20))
            }
            #expect(try await scene.engine.queueDepth(of: "disk") == 0)
            await descriptor.close()
            #expect(
                await code { () throws(BdevError) in _ = try await scene.engine.queueDepth(of: "no") } == .noSuchBdev)
        }
    }

    @Test func `bdevs that share a module's channel are counted apart`() throws {
        try simulate { here, scene in
            let driver = SharedDriver()
            driver.device.pace = .held
            for name in ["left", "right"] {
                try await scene.module.host.value.register(
                    BdevProperties(name: name, productName: "Half", geometry: .test, supportedTypes: [.read]),
                    driver: driver)
            }
            let left = try await scene.engine.open("left"), right = try await scene.engine.open("right")
            try await Self.submit(2, try await left.channel(on: here.reactor))
            try await Self.submit(3, try await right.channel(on: here.reactor))
            #expect(try await scene.engine.queueDepth(of: "left") == 2)
            #expect(try await scene.engine.queueDepth(of: "right") == 3)
            driver.device.completeAll()
            #expect(try await scene.engine.queueDepth(of: "right") == 0)
            await left.close()
            await right.close()
        }
    }

    @Test func `busy and weighted time are summed up from samples`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(10))
            func samples() async throws -> QueueDepthSamples? { try await scene.engine.queueDepthSamples(of: "disk") }
            #expect(try await samples()?.period == .milliseconds(10))
            #expect(try await samples()?.depth == nil)
            try await here.sleep(for: .milliseconds(15))
            // One sample, of nothing.
            #expect(try await samples()?.depth == 0)
            #expect(try await samples()?.busyTime == .zero)
            try await Self.submit(1, try await descriptor.channel(on: scene.reactors[0]))
            try await Self.submit(3, try await descriptor.channel(on: scene.reactors[1]))
            try await here.sleep(for: .milliseconds(20))
            // Two samples, of 4.
            #expect(try await samples()?.depth == 4)
            #expect(try await samples()?.busyTime == .milliseconds(20))
            #expect(try await samples()?.weightedTime == .milliseconds(80))
            await scene.completeHeld(2)
            try await here.sleep(for: .milliseconds(10))
            // One of 2.
            #expect(try await samples()?.weightedTime == .milliseconds(100))
            await scene.completeHeld()
            try await here.sleep(for: .milliseconds(30))
            #expect(try await samples()?.depth == 0)
            #expect(try await samples()?.busyTime == .milliseconds(30))
            #expect(try await samples()?.weightedTime == .milliseconds(100))
            await descriptor.close()
        }
    }

    @Test func `another period forgets the depth, keeps the sums, and takes the place of the one before`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            try await Self.submit(2, try await descriptor.channel(on: here.reactor))
            func samples() async throws -> QueueDepthSamples? { try await scene.engine.queueDepthSamples(of: "disk") }
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(10))
            try await here.sleep(for: .milliseconds(25))
            // Twice at once: one of them samples.
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(7))
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(100))
            let changed = try #require(try await samples())
            #expect((changed.period, changed.depth) == (.milliseconds(100), nil))
            #expect((changed.busyTime, changed.weightedTime) == (.milliseconds(20), .milliseconds(40)))
            try await here.sleep(for: .milliseconds(101))
            #expect(try await samples()?.depth == 2)
            #expect(try await samples()?.busyTime == .milliseconds(120))
            try await scene.engine.sampleQueueDepth(of: "disk", every: nil)
            #expect(try await samples() == nil)
            try await here.sleep(for: .milliseconds(200))
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(10))
            #expect(try await samples()?.busyTime == .milliseconds(120))
            scene.device.completeAll()
            await descriptor.close()
        }
    }

    @Test func `sampling does not hold a removal up, and ends with the bdev`() throws {
        try simulate { here, scene in
            try await scene.engine.sampleQueueDepth(of: "disk", every: .seconds(100))
            try await here.sleep(for: .seconds(1))
            let start = scene.simulation.now
            try await scene.engine.remove("disk")
            #expect(scene.simulation.now == start)
            #expect(
                await code { () throws(BdevError) in
                    try await scene.engine.sampleQueueDepth(of: "disk", every: .seconds(1))
                } == .noSuchBdev)
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `a sample may fall together with a change of the registry`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            try await scene.engine.sampleQueueDepth(of: "disk", every: .milliseconds(1))
            let other = scene.reactors[1]
            let changes = Task(executorPreference: other.taskExecutor) {
                for _ in 0..<20 {
                    try await other.local.sleep(for: .milliseconds(1))
                    try await scene.engine.addAlias("alias", to: "disk")
                    try await scene.engine.removeAlias("alias")
                }
            }
            try await changes.value
            #expect(try await scene.engine.queueDepthSamples(of: "disk")?.depth == 0, "seed \(seed)")
        }
    }

    @Test(arguments: [Duration.zero, .nanoseconds(999), .seconds(-1)])
    func `a period is a microsecond or more`(period: Duration) throws {
        try simulate { here, scene in
            #expect(
                await code { () throws(BdevError) in
                    try await scene.engine.sampleQueueDepth(of: "disk", every: period)
                } == .invalidArgument)
            #expect(try await scene.engine.queueDepthSamples(of: "disk") == nil)
            try await scene.engine.sampleQueueDepth(of: "disk", every: .seconds(Int64.max))
            try await here.sleep(for: .seconds(1))
            #expect(try await scene.engine.queueDepthSamples(of: "disk")?.depth == nil)
        }
    }
}

extension Scene {
    /// Completes what the device holds, or `count` of it, each on its reactor.
    func completeHeld(_ count: Int = .max) async {
        for _ in 0..<min(count, device.held.count) {
            let reactor = device.held[0].channel.reactor
            await reactor.run { _ in device.complete() }
        }
    }
}

extension BdevChannel {
    /// Submits `count` reads of a block each at once, whose completions `handler` is told.
    func submitReads(_ count: Int, from first: UInt64 = 0, _ handler: sending RecordingHandler) throws {
        for tag in first..<first + UInt64(count) {
            var buffer: IOBuffer? = try allocateBuffer(byteCount: 512)
            try engine.read(into: &buffer, at: .block(tag), tag: tag, handler: handler)
        }
    }
}
