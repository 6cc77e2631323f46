import Bdev
import Reactors
import SimulatedReactors
import Testing

/// A device without room: what the layer does with the requests it keeps.
struct NoMemoryTests {
    /// Submits `count` one-block reads at blocks 0, 1, 2, … through the synchronous face.
    private static func submit(
        _ range: Range<UInt64>, _ channel: isolated BdevChannel, _ handler: RecordingHandler
    ) throws {
        for block in range {
            var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
            try channel.engine.read(into: &buffer, at: .block(block), tag: block, handler: handler)
        }
    }

    @Test func `a request that is refused once with nothing outstanding is tried again after 10 ms`() throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                scene.device.refusals = 1
                #expect(await channel.readOnce(at: 0) == nil)
                #expect(scene.simulation.now == .milliseconds(10))
                #expect(scene.device.submissionCount == 2)
                scene.device.refusals = 3
                #expect(await channel.readOnce(at: 0) == nil)
                #expect(scene.simulation.now == .milliseconds(40))
                #expect(channel.statistics.retryCount == 4)
                #expect(channel.statistics.errors.isEmpty)
            }
        }
    }

    @Test func `refused requests are submitted again in their order, and nobody overtakes`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                scene.device.pace = .held
                scene.device.depth = 4
                try Self.submit(0..<10, channel, handler)
                #expect(scene.device.arrivals.map(\.start) == [0, 1, 2, 3])
                // The fifth was refused; those after it were not even shown to the device.
                #expect(scene.device.submissionCount == 5)
                while handler.completions.count < 10 {
                    scene.device.complete()
                    if handler.completions.count == 3 { try Self.submit(10..<12, channel, handler) }
                }
                while scene.device.held.count > 0 { scene.device.complete() }
                #expect(scene.device.arrivals.map(\.start) == Array(0..<12))
                #expect(handler.tags == Array(0..<12))
            }
        }
    }

    @Test(arguments: [(1, 0), (2, 1), (4, 2), (8, 4), (16, 8), (20, 12), (64, 56)])
    func `a retry waits until half of what was outstanding, or eight, have come back`(depth: Int, threshold: Int) throws
    {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                scene.device.pace = .held
                scene.device.depth = depth
                try Self.submit(0..<UInt64(depth + 1), channel, handler)
                #expect(scene.device.submissionCount == depth + 1)
                for outstanding in stride(from: depth - 1, to: threshold, by: -1) {
                    scene.device.complete()
                    #expect(scene.device.submissionCount == depth + 1, "\(outstanding) outstanding")
                }
                scene.device.complete()
                #expect(scene.device.submissionCount == depth + 2)
                scene.device.completeAll()
                #expect(handler.completions.count == depth + 1)
            }
        }
    }

    @Test(arguments: UInt64(0)..<40)
    func `a small device serves everyone in order whatever its pace`(seed: UInt64) throws {
        try simulate(seed: seed) { here, scene in
            let random = Shared(SeededRandom(seed: seed))
            scene.device.depth = Int.random(in: 1...6, using: &random.value)
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 1...100, using: &random.value)) }
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                try Self.submit(0..<100, channel, handler)
                while handler.completions.count < 100 {
                    try await channel.reactor.run { try await $0.sleep(for: .microseconds(50)) }
                }
                #expect(scene.device.arrivals.map(\.start) == Array(0..<100))
                #expect(Set(handler.tags).count == 100)
            }
        }
    }

    @Test func `a device that refuses on the way back is given the request again`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                scene.device.pace = .held
                try Self.submit(0..<2, channel, handler)
                scene.device.complete(with: .noMemory)
                #expect(handler.completions.isEmpty)
                // Its place is before whatever comes now.
                try Self.submit(2..<3, channel, handler)
                #expect(scene.device.arrivals.map(\.start) == [0, 1])
                scene.device.complete()
                #expect(scene.device.arrivals.map(\.start) == [0, 1, 0, 2])
                scene.device.completeAll()
                #expect(handler.tags == [1, 0, 2])
            }
        }
    }

    @Test func `what waits for room is given up when the bdev is removed, and what the device has is finished`() throws
    {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let removal = Shared<Task<Void, any Error>?>(nil)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let handler = RecordingHandler()
                scene.device.pace = .held
                scene.device.depth = 2
                try Self.submit(0..<5, channel, handler)
                removal.value = Task(executorPreference: here.reactor.taskExecutor) {
                    try await scene.engine.remove("disk")
                }
                while handler.completions.count < 3 { await channel.reactor.local.yield() }
                #expect(handler.tags == [2, 3, 4])
                #expect(handler.completions.allSatisfy { $0.status == .aborted })
                #expect(handler.buffersBack == 3)
                scene.device.completeAll()
                #expect(handler.tags == [2, 3, 4, 0, 1])
                #expect(handler.completions.suffix(2).allSatisfy { $0.status.isSuccess })
                #expect(scene.device.submissionCount == 3)
            }
            await descriptor.close()
            try await removal.value?.value
        }
    }

    @Test func `a channel may go while a retry is due`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            scene.device.refusals = 1
            let read = Task(executorPreference: here.reactor.taskExecutor) {
                let channel = try await descriptor.channel(on: here.reactor)
                return await channel.readOnce(at: 0)
            }
            while scene.device.submissionCount == 0 { await here.yield() }
            let removal = Task(executorPreference: here.reactor.taskExecutor) { try await scene.engine.remove("disk") }
            #expect(try await read.value == .aborted)
            await descriptor.close()
            try await removal.value
            #expect(scene.simulation.now < .milliseconds(10))
            try await here.sleep(for: .milliseconds(20))
            #expect(scene.device.submissionCount == 1)
        }
    }

    @Test func `bdevs that share a module's channel share its queue`() throws {
        try simulate { here, scene in
            let shared = SharedDriver()
            for name in ["left", "right"] {
                try await scene.module.host.value.register(
                    BdevProperties(name: name, productName: "Half", geometry: .test, supportedTypes: [.read]),
                    driver: shared)
            }
            let left = try await scene.engine.open("left"), right = try await scene.engine.open("right")
            let a = try await left.channel(on: here.reactor), b = try await right.channel(on: here.reactor)
            shared.device.refusals = 1
            let order = Shared<[String]>([])
            let first = Task(executorPreference: here.reactor.taskExecutor) {
                let code = await a.readOnce(at: 1)
                order.value.append("left")
                return code
            }
            while shared.device.submissionCount == 0 { await here.yield() }
            let second = Task(executorPreference: here.reactor.taskExecutor) {
                let code = await b.readOnce(at: 2)
                order.value.append("right")
                return code
            }
            for _ in 0..<20 { await here.yield() }
            #expect(shared.device.submissionCount == 1, "the second bdev's request waits behind the first's")
            // The bdev whose request was refused goes; the other's request must not be forgotten.
            let removal = Task(executorPreference: here.reactor.taskExecutor) { try await scene.engine.remove("left") }
            #expect(await first.value == .aborted)
            await left.close()
            try await removal.value
            #expect(await second.value == nil)
            #expect(order.value == ["left", "right"])
            await right.close()
        }
    }
}
