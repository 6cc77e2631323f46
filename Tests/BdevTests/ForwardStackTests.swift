import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Bdevs on bdevs: places that move, bases that go, requests that run out.
struct ForwardStackTests {
    private static let capacity = 65_536
    private static let spareCount = 4096

    @Test func `a place further down moves everything: data, the source of a copy, what a seek finds`() throws {
        try simulate(types: .native) { here, scene in
            let module = PassModule()
            module.shift = 100
            module.blockCount = 200
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var random = SeededRandom(seed: 6)
                let content = randomBytes(4 * 512, &random)
                try await channel.write(content, at: 10)
                #expect(Array(scene.device.data[110 * 512..<114 * 512]) == content)
                try await channel.copy(4, from: 10, to: 50)
                #expect(Array(scene.device.data[150 * 512..<154 * 512]) == content)
                let found = (
                    try await channel.nextData(from: .block(0)), try await channel.nextHole(from: .block(10)),
                    try await channel.nextData(from: .block(14)), try await channel.nextHole(from: .block(52))
                )
                #expect(found == (10, 14, 50, 54))
                // What lies behind its end is nothing of its own.
                #expect(await scene.writeBelow(at: 301) == nil)
                let behind = try await channel.nextData(from: .block(60))
                #expect(behind == nil)
                for block in UInt64(190)..<200 { #expect(await channel.writeOnce(at: block, 1) == nil) }
                let hole = try await channel.nextHole(from: .block(195))
                #expect(hole == nil)
            }
            await descriptor.close()
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a base that is removed takes the bdevs above with it, under load`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...60, using: &delays.value)) }
            scene.device.depth = 3
            let module = PassModule()
            let top = try await scene.stack(module, depth: 3, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            let codes = Shared<Set<BdevError.Code>>([])
            let load = (0..<6).map { index in
                here.task {
                    guard let channel = try? await descriptor.channel(on: scene.reactors[index % 2]) else { return }
                    for block in UInt64(0)..<1000 {
                        guard let code = await channel.readOnce(at: block) else { continue }
                        codes.value.insert(code)
                        if code == .removed || code == .closed { return }
                    }
                    Issue.record("seed \(seed): the removal was never felt")
                }
            }
            let closing = here.task {
                for await event in descriptor.events where event == .removed { await descriptor.close() }
            }
            await here.settle(.microseconds(300))
            try await scene.engine.remove("disk")
            for task in load { await task.value }
            await closing.value
            #expect(codes.value.isSubset(of: [.removed, .aborted, .closed]), "seed \(seed)")
            #expect(await scene.engine.list().isEmpty)
        }
    }

    @Test func `I-Os leave no request behind, however they end`() throws {
        try simulate(types: [.read, .write, .unmap]) { here, scene in
            scene.device.logsArrivals = false
            let module = PassModule()
            module.types = .everything
            let top = try await scene.stack(module, depth: 2, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let count = Shared(0), handler = RecordingHandler(), engine = channel.engine
                // One in three is refused at the bottom, one fails there: more of each than there are requests.
                scene.device.answer = { $0.start == 1 ? .failed : .success }
                func submit() throws {
                    for index in 0..<200 {
                        let type: IOType = index % 3 == 0 ? .flush : .unmap
                        try engine.submit(
                            type, at: .block(UInt64(index % 3)), count: .blocks(1), tag: 0, handler: handler)
                        count.value += 1
                    }
                }
                while count.value < Self.capacity * 3 + 300 {
                    try submit()
                    await channel.reactor.local.yield()
                }
                await channel.reactor.local.settle()
                #expect(handler.completions.count == count.value)
            }
            await descriptor.close()
        }
    }

    @Test func `when every request is in use, what is to be handed on waits, a reset too`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let module = PassModule()
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            let base = try await scene.engine.open("disk", mode: .readWrite)
            let below = try await base.channel(on: here.reactor)
            let above = try await descriptor.channel(on: here.reactor)
            // Those that only the layer takes are in use too: by what requests above have become.
            let quiescence = try await module.host.value.quiesce(top)
            try await Self.fill(above, Self.spareCount)
            try await Self.fill(below, Self.capacity - Self.spareCount)
            try await module.host.value.unquiesce(quiescence)
            // Two come back: for the upper requests themselves.
            for _ in 0..<2 { scene.device.complete() }
            let reset = here.task { await above.attempt(.reset, at: 0) }
            await here.settle(.milliseconds(1))
            let read = here.task { await above.readOnce(at: 0) }
            await here.settle(.milliseconds(1))
            #expect(!scene.device.arrivals.contains { $0.type == .reset || $0.type == .read })
            scene.device.completeAllFromTheEnd()
            await here.settle(.milliseconds(50))
            scene.device.completeAllFromTheEnd()
            await here.settle(.milliseconds(50))
            scene.device.completeAllFromTheEnd()
            #expect(await reset.value == nil)
            #expect(await read.value == .aborted)
            #expect(scene.device.arrivals.contains { $0.type == .reset })
            await base.close()
            await descriptor.close()
        }
    }

    private static func fill(_ channel: isolated BdevChannel, _ count: Int) async throws {
        let handler = RecordingHandler()
        for _ in 0..<count {
            try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), handler: handler)
        }
    }
}

extension Scene {
    /// Writes a block of ones of "disk" itself.
    fileprivate func writeBelow(at block: UInt64) async -> BdevError.Code? {
        do {
            return try await withChannel { channel in await channel.writeOnce(at: block, 1) }
        } catch { return .deviceFailed }
    }
}
