import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Ranges whose I/O waits.
struct QuiesceTests {
    // MARK: What waits

    @Test func `reads and writes of the range wait, those outside pass, and the order is kept`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                let quiescence = try await host.quiesce("disk", blocks: 10..<20)
                #expect(quiescence.blocks == 10..<20)
                let blocks: [UInt64] = [9, 19, 10, 20, 15, 0, 12]
                for block in blocks {
                    var buffer: IOBuffer? = try channel.buffer(Array(repeating: 1, count: 512))
                    if block % 2 == 0 {
                        try channel.engine.write(from: &buffer, at: .block(block), tag: block, handler: handler)
                    } else {
                        try channel.engine.read(into: &buffer, at: .block(block), tag: block, handler: handler)
                    }
                }
                await channel.reactor.local.settle(.seconds(1))
                #expect(scene.device.arrivals.map(\.start) == [9, 20, 0])
                #expect(handler.tags == [9, 20, 0])
                try await host.unquiesce(quiescence)
                await channel.reactor.local.settle()
                #expect(scene.device.arrivals.map(\.start) == [9, 20, 0, 19, 10, 15, 12])
                #expect(handler.tags == [9, 20, 0, 19, 10, 15, 12])
            }
        }
    }

    struct Case: CustomTestStringConvertible {
        let type: IOType
        let block: UInt64
        var source: UInt64 = 500
        let waits: Bool
        var testDescription: String { "\(type) at \(block)" }
    }

    static let cases =
        [.read, .write, .unmap, .writeZeroes, .compare, .compareAndWrite, .copy, .writeUncorrectable].flatMap {
            (type: IOType) in
            // Two blocks each; 10 to 19 are held.
            [(8, false), (9, true), (10, true), (18, true), (19, true), (20, false)].map {
                Case(type: type, block: $0.0, waits: $0.1)
            }
        } + [
            Case(type: .copy, block: 500, source: 9, waits: true),
            Case(type: .copy, block: 500, source: 8, waits: false),
            Case(type: .copy, block: 500, source: 19, waits: true),
            Case(type: .copy, block: 500, source: 20, waits: false),
            // A flush is of everything, a seek looks at everything from its block on.
            Case(type: .flush, block: 0, waits: true), Case(type: .seekData, block: 0, waits: true),
            Case(type: .seekHole, block: 19, waits: true), Case(type: .seekHole, block: 20, waits: false),
        ]

    @Test(arguments: cases)
    func `every kind of I-O waits for the range it touches`(test: Case) throws {
        let geometry = BdevGeometry.test.with { $0.compareAndWriteBlockCountLimit = 2 }
        try simulate(geometry: geometry, types: .native) { here, scene in
            try await scene.withChannel { channel in
                let quiescence = try await scene.module.host.value.quiesce("disk", blocks: 10..<20)
                let io = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(test.type, at: test.block, count: 2, source: test.source)
                }
                await channel.reactor.local.settle(.seconds(1))
                #expect(scene.device.submissionCount == (test.waits ? 0 : 1))
                try await scene.module.host.value.unquiesce(quiescence)
                #expect(await io.value == nil)
                #expect(scene.device.submissionCount == 1)
            }
        }
    }

    @Test func `quiescing waits for what is on its way there, and for nothing else`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let other = try await descriptor.channel(on: scene.reactors[1])
            let outside = here.task { await channel.writeOnce(at: 20) }
            let inside = here.task { await channel.readOnce(at: 19) }
            let away = here.task { await other.attempt(.unmap, at: 5, count: 6) }
            await here.settle(.milliseconds(1))
            let quiescence = Shared<Quiescence?>(nil)
            let asking = here.task {
                quiescence.value = try? await scene.module.host.value.quiesce("disk", blocks: 10..<20)
            }
            await here.settle(.milliseconds(1))
            await scene.device.completeFirst { $0.start == 19 }
            #expect(await inside.value == nil)
            await here.settle(.milliseconds(1))
            #expect(quiescence.value == nil)
            await scene.device.completeFirst { $0.start == 5 }
            #expect(await away.value == nil)
            await here.settle(.milliseconds(1))
            #expect(quiescence.value != nil)
            #expect(scene.device.held.map(\.arrival.start) == [20])
            await asking.value
            try await scene.module.host.value.unquiesce(quiescence.value!)
            await scene.device.completeFirst()
            #expect(await outside.value == nil)
            await descriptor.close()
        }
    }

    @Test func `what a handler submits when its I-O has gone on does not overtake others that waited`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            try await scene.withChannel { channel in
                let handler = RecordingHandler(), engine = channel.engine
                let quiescence = try await host.quiesce("disk")
                for block in UInt64(0)..<3 {
                    try engine.submit(.unmap, at: .block(block), count: .blocks(1), tag: block, handler: handler)
                }
                handler.onCompletion = { tag in
                    if tag == 0 {
                        try? engine.submit(.unmap, at: .block(9), count: .blocks(1), tag: 9, handler: handler)
                    }
                }
                try await host.unquiesce(quiescence)
                await channel.reactor.local.settle()
                #expect(scene.device.arrivals.map(\.start) == [0, 1, 2, 9])
                #expect(handler.tags == [0, 1, 2, 9])
            }
        }
    }

    @Test func `the wait for a range is not counted as the device's time`() throws {
        try simulate { here, scene in
            let host = scene.module.host.value
            try await scene.withChannel { channel in
                let quiescence = try await host.quiesce("disk")
                let read = Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                await channel.reactor.local.settle(.seconds(2))
                try await host.unquiesce(quiescence)
                #expect(await read.value == nil)
                #expect(channel.statistics.read.operationCount == 1)
                #expect(channel.statistics.read.latencyTicks == 0)
            }
        }
    }

    @Test func `channels that are opened later obey, reads too`() throws {
        try simulate(reactorCount: 3) { here, scene in
            let quiescence = try await scene.module.host.value.quiesce("disk")
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            var waiting: [Task<BdevError.Code?, Never>] = []
            for reactor in scene.reactors {
                let channel = try await descriptor.channel(on: reactor)
                waiting.append(here.task { await channel.readOnce(at: 0) })
                waiting.append(here.task { await channel.writeOnce(at: 1023) })
            }
            await here.settle(.seconds(1))
            #expect(scene.device.submissionCount == 0)
            try await scene.module.host.value.unquiesce(quiescence)
            for task in waiting { #expect(await task.value == nil) }
            await descriptor.close()
        }
    }

    // MARK: Giving up

    @Test func `cancelling its task does not end the wait of who quiesces`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let read = Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                await channel.reactor.local.settle()
                let quiesce = Task(executorPreference: channel.reactor.taskExecutor) {
                    try await scene.module.host.value.quiesce("disk")
                }
                await channel.reactor.local.settle(.milliseconds(1))
                quiesce.cancel()
                await channel.reactor.local.settle(.milliseconds(1))
                scene.device.complete()
                #expect(await read.value == nil)
                let waiting = Task(executorPreference: channel.reactor.taskExecutor) { await channel.readOnce(at: 0) }
                await channel.reactor.local.settle(.milliseconds(1))
                #expect(scene.device.held.isEmpty)
                try await scene.module.host.value.unquiesce(try await quiesce.value)
                await channel.reactor.local.settle()
                scene.device.complete()
                #expect(await waiting.value == nil)
            }
        }
    }

    @Test(arguments: [IOType.read, .write, .compareAndWrite], UInt64(0)..<10)
    func `cancelling its task takes a waiting I-O out, and leaves the others`(type: IOType, seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let host = scene.module.host.value
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let quiescence = try await host.quiesce("disk")
            let tasks = (UInt64(0)..<3).map { block in here.task { await channel.attempt(type, at: block) } }
            await here.settle(.milliseconds(1))
            let start = scene.simulation.now
            tasks[1].cancel()
            #expect(await tasks[1].value == .aborted)
            #expect(scene.simulation.now - start < .milliseconds(11))
            #expect(scene.device.submissionCount == 0)
            try await host.unquiesce(quiescence)
            #expect(await tasks[0].value == nil)
            #expect(await tasks[2].value == nil)
            #expect(!scene.device.arrivals.contains { $0.start == 1 })
            await descriptor.close()
        }
    }
}
