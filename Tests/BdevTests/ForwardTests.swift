import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// Requests that a module hands on to the bdev below.
struct ForwardTests {
    private static let geometry = BdevGeometry.test.with {
        $0.compareAndWriteBlockCountLimit = 2
        $0.transferBlockCountLimit = 3
        $0.copyBlockCountLimit = 4
    }

    // MARK: What comes back

    @Test(arguments: [1, 3], [true, false])
    func `every kind of I-O goes down, and its data and answer come back`(depth: Int, native: Bool) throws {
        try simulate(geometry: Self.geometry, types: native ? .native : .everything) { here, scene in
            let top = try await scene.stack(PassModule(), depth: depth, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            #expect(descriptor.geometry.transferBlockCountLimit == 0)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var random = SeededRandom(seed: 5)
                let content = randomBytes(10 * 512, &random)
                try await channel.write(content, at: 20, segments: [100, 2000, 3020])
                let back = try await channel.read(at: 20, segments: [512, 4608])
                #expect(back == content)
                try await channel.compare(content, at: 20)
                #expect(await channel.attempt(.compare, at: 20, count: 2) == .miscompare)
                try await channel.copy(10, from: 20, to: 100)
                #expect(Array(scene.device.data[100 * 512..<110 * 512]) == content)
                try await channel.swap(Array(content[..<1024]), for: Array(content[1024..<2048]), at: 100)
                #expect(Array(scene.device.data[100 * 512..<102 * 512]) == Array(content[1024..<2048]))
                #expect(await channel.attempt(.compareAndWrite, at: 100, count: 2) == .miscompare)
                try await channel.unmap(at: .block(20), count: .blocks(10))
                try await channel.writeZeroes(at: .block(103), count: .blocks(7))
                let (data, hole) = (
                    try await channel.nextData(from: .block(5)), try await channel.nextHole(from: .block(100))
                )
                #expect(data == (native ? 100 : 5))
                #expect(hole == (native ? 103 : nil))
                try await channel.flush()
                try await channel.reset()
                if native { try await channel.writeUncorrectable(at: .block(3), count: .blocks(1)) }
                #expect(await channel.attempt(.read, at: 3) == (native ? .mediaError : nil))
            }
            await descriptor.close()
        }
    }

    @Test(arguments: [IOStatus.system(.noSpace), .system(.ioError), IOStatus(.nvmeError, detail: 7), .aborted, .failed])
    func `the answer of the device comes back as it was`(status: IOStatus) throws {
        try simulate { here, scene in
            scene.device.answer = { _ in status }
            let top = try await scene.stack(PassModule(), depth: 3, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                for type in [IOType.read, .write, .unmap, .flush] {
                    let failure = await failure { () throws(BdevError) in
                        let handler = RecordingHandler()
                        if type == .unmap || type == .flush {
                            try channel.engine.submit(type, at: .block(0), count: .blocks(1), handler: handler)
                        } else {
                            var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                            try channel.engine.write(from: &buffer, at: .block(0), handler: handler)
                        }
                        await channel.reactor.local.settle()
                        #expect(handler.completions.map(\.status) == [status])
                    }
                    #expect(failure == nil)
                }
            }
            await descriptor.close()
        }
    }

    @Test func `a module that watches may end a request differently, or hand it on once more`() throws {
        try simulate { here, scene in
            let module = PassModule(), seen = Shared<[IOStatus]>([])
            module.observer = { request, status, engine in
                seen.value.append(status)
                if !status.isSuccess && seen.value.count < 3 {
                    engine.forward(request, at: 500, observed: true)
                } else {
                    request.complete(status.isSuccess ? .system(.noSpace) : .success)
                }
            }
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                scene.device.answer = { _ in .system(.ioError) }
                #expect(await channel.writeOnce(at: 7) == nil)
                #expect(scene.device.arrivals.map(\.start) == [7, 500, 500])
                scene.device.answer = { _ in .success }
                #expect(await channel.writeOnce(at: 7) == .noSpace)
            }
            await descriptor.close()
        }
    }

    // MARK: Giving up

    @Test(arguments: [1, 3], UInt64(0)..<5)
    func `a cancelled I-O is given up at the bottom`(depth: Int, seed: UInt64) throws {
        try simulate(seed: seed, geometry: Self.geometry, types: .native) { here, scene in
            scene.device.pace = .held
            let top = try await scene.stack(PassModule(), depth: depth, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            for (type, count, parts) in [
                (IOType.read, 1, 1), (.write, 3, 1), (.read, 9, 3), (.copy, 8, 2), (.compareAndWrite, 1, 1),
            ] as [(IOType, UInt64, Int)] {
                let before = scene.device.aborted.count
                let io = here.task { await channel.attempt(type, at: 100, count: count) }
                await here.settle(.milliseconds(1))
                #expect(scene.device.held.count == parts)
                io.cancel()
                #expect(await io.value == .aborted)
                #expect(scene.device.aborted.count - before == parts)
            }
            // Where it waits in the bdev below, too: for a range, for room.
            let quiescence = try await scene.module.host.value.quiesce("disk", blocks: 0..<10)
            let held = here.task { await channel.readOnce(at: 0) }
            scene.device.depth = 0
            let refused = here.task { await channel.readOnce(at: 50) }
            await here.settle(.milliseconds(1))
            for task in [held, refused] {
                task.cancel()
                #expect(await task.value == .aborted)
            }
            #expect(scene.device.held.isEmpty)
            try await scene.module.host.value.unquiesce(quiescence)
            await descriptor.close()
        }
    }

    @Test func `a reset of the upper bdev resets the lower one, whose other users feel it`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let top = try await scene.stack(PassModule(), depth: 2, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let base = try await scene.engine.open("disk")
            let beside = try await base.channel(on: here.reactor)
            let below = here.task { await beside.readOnce(at: 0) }
            await here.settle()
            scene.device.depth = 0
            let waiting = here.task { await channel.readOnce(at: 0) }
            await here.settle()
            let reset = here.task { await channel.attempt(.reset, at: 0) }
            #expect(await waiting.value == .aborted)
            await here.settle(.milliseconds(1))
            #expect(await beside.readOnce(at: 3) == .aborted)
            #expect(scene.device.held.map(\.arrival.type) == [.read, .reset])
            scene.device.completeAll()
            #expect(await reset.value == nil)
            #expect(await below.value == nil)
            await base.close()
            await descriptor.close()
        }
    }

    // MARK: What the base does not do

    @Test func `want of room is the business of the bdev below`() throws {
        try simulate { here, scene in
            scene.device.depth = 2
            scene.device.pace = .later { _ in .microseconds(10) }
            let top = try await scene.stack(PassModule(), depth: 2, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let handler = RecordingHandler()
                for block in UInt64(0)..<20 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(block), tag: block, handler: handler)
                }
                await channel.reactor.local.settle(.milliseconds(20))
                #expect(handler.tags == Array(0..<20))
                #expect(scene.device.arrivals.map(\.start) == Array(0..<20))
                #expect(channel.statistics.retryCount == 0)
                #expect(channel.statistics.read.operationCount == 20)
            }
            await descriptor.close()
        }
    }

    @Test func `what the base refuses is an error of the upper request`() throws {
        try simulate(geometry: Self.geometry, types: [.read, .write]) { here, scene in
            let module = PassModule()
            module.types = .native
            module.blockCount = 2000
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                #expect(await channel.attempt(.unmap, at: 0) == .notSupported)
                #expect(await channel.attempt(.flush, at: 0) == .notSupported)
                #expect(await channel.attempt(.reset, at: 0) == .notSupported)
                #expect(await channel.attempt(.read, at: 1023) == nil)
                #expect(await channel.attempt(.read, at: 1023, count: 2) == .deviceFailed)
                #expect(await channel.attempt(.write, at: 1999) == .deviceFailed)
                #expect(await channel.attempt(.copy, at: 0, count: 2, source: 1023) == .deviceFailed)
                #expect(await channel.attempt(.copy, at: 0, count: 2, source: 1022) == nil)
            }
            await descriptor.close()
        }
    }

    @Test func `a base that was opened for reading refuses writes`() throws {
        try simulate { here, scene in
            let module = PassModule()
            module.baseMode = .readOnly
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                #expect(await channel.attempt(.write, at: 0) == .notPermitted)
                #expect(await channel.attempt(.read, at: 0) == nil)
                #expect(scene.device.arrivals.map(\.type) == [.read])
            }
            await descriptor.close()
        }
    }

    @Test func `a compare-and-write longer than the base can is refused by it`() throws {
        try simulate(types: .native) { here, scene in
            let below = TestDevice(.test.with { $0.compareAndWriteBlockCountLimit = 1 }, types: .native)
            try await scene.module.create("small", below)
            let base = try await scene.engine.open("small", mode: .readWrite)
            let driver = LongSwapDriver(base)
            var properties = BdevProperties(name: "long", passingOnTo: base, productName: "long")
            properties.geometry.compareAndWriteBlockCountLimit = 4
            try await scene.module.host.value.register(properties, driver: driver)
            let descriptor = try await scene.engine.open("long", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                #expect(await channel.attempt(.compareAndWrite, at: 0, count: 1) == nil)
                #expect(await channel.attempt(.compareAndWrite, at: 0, count: 2) == .deviceFailed)
                #expect(below.arrivals.count == 1 && below.violations.isEmpty)
            }
            await descriptor.close()
        }
    }
}

private final class LongSwapDriver: BdevDriver {
    private let below: BdevDescriptor

    init(_ below: BdevDescriptor) { self.below = below }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = try await below.channel(on: local.reactor)
        return Channel(channel, local.engine(of: channel))
    }

    func destroy() async { await below.close() }

    private final class Channel: BdevModuleChannel {
        private let below: BdevChannel
        private let engine: EngineChannel

        init(_ below: BdevChannel, _ engine: EngineChannel) {
            self.below = below
            self.engine = engine
        }

        override func submit(_ request: consuming IORequest) { engine.forward(request) }
        override func close() async { await below.close() }
    }
}
