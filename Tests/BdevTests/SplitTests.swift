import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// How a request becomes several. The device checks each of them against the geometry.
struct SplitTests {
    private static func ranges(_ device: TestDevice) -> [String] {
        device.arrivals.map { "\($0.start)+\($0.count)" }
    }

    private static func simulateOne(
        _ geometry: BdevGeometry, types: IOTypes = .everything,
        _ body: @escaping @Sendable (isolated BdevChannel, TestDevice) async throws -> Void
    ) throws {
        try simulate(geometry: geometry, types: types) { _, scene in
            try await scene.withChannel { channel in try await body(channel, scene.device) }
        }
    }

    // MARK: The boundary

    static let boundary = BdevGeometry.test.with {
        ($0.optimalBoundaryBlockCount, $0.splitsAtOptimalBoundary) = (8, true)
    }

    @Test(
        arguments: [
            (0, 8, ["0+8"]), (0, 9, ["0+8", "8+1"]), (7, 1, ["7+1"]), (7, 2, ["7+1", "8+1"]), (8, 8, ["8+8"]),
            (3, 5, ["3+5"]), (3, 13, ["3+5", "8+8"]), (3, 22, ["3+5", "8+8", "16+8", "24+1"]), (1023, 1, ["1023+1"]),
        ] as [(UInt64, Int, [String])])
    func `a transfer is cut at the boundary, and not when it ends there`(
        start: UInt64, count: Int, expected: [String]
    ) throws {
        try Self.simulateOne(Self.boundary) { channel, device in
            var random = SeededRandom(seed: 3)
            let data = randomBytes(count * 512, &random)
            try await channel.write(data, at: start, segments: [count * 512])
            #expect(Self.ranges(device) == expected)
            device.resetLog()
            #expect(try await channel.read(at: start, segments: [count * 512]) == data)
            #expect(Self.ranges(device) == expected)
        }
    }

    @Test func `a boundary that is only advice cuts nothing`() throws {
        let geometry = BdevGeometry.test.with { $0.optimalBoundaryBlockCount = 8 }
        try Self.simulateOne(geometry) { channel, device in
            _ = try await channel.read(at: 3, segments: [20 * 512])
            #expect(Self.ranges(device) == ["3+20"])
        }
    }

    @Test func `a boundary that is no power of two cuts as well`() throws {
        let geometry = BdevGeometry.test.with { ($0.optimalBoundaryBlockCount, $0.splitsAtOptimalBoundary) = (7, true) }
        try Self.simulateOne(geometry) { channel, device in
            _ = try await channel.read(at: 5, segments: [10 * 512])
            #expect(Self.ranges(device) == ["5+2", "7+7", "14+1"])
        }
    }

    @Test func `unmap, write zeroes, flush and reset are not cut at the boundary`() throws {
        try Self.simulateOne(Self.boundary) { channel, device in
            try await channel.unmap(at: .block(3), count: .blocks(30))
            try await channel.writeZeroes(at: .block(3), count: .blocks(30))
            try await channel.flush()
            try await channel.reset()
            #expect(Self.ranges(device).prefix(2) == ["3+30", "3+30"])
            #expect(device.arrivals.map(\.type) == [.unmap, .writeZeroes, .flush, .reset])
        }
    }

    // MARK: Sizes

    @Test(arguments: [(1, 4), (3, 10), (4, 4), (5, 4), (64, 100)] as [(UInt64, Int)])
    func `a transfer is cut to the longest the device takes`(limit: UInt64, count: Int) throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = limit }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 4)
            let data = randomBytes(count * 512, &random)
            try await channel.write(data, at: 11, segments: [count * 512])
            let whole = count / Int(limit), rest = UInt64(count) % limit
            #expect(device.arrivals.map(\.count) == Array(repeating: limit, count: whole) + (rest > 0 ? [rest] : []))
            #expect(try await channel.read(at: 11, segments: [count * 512]) == data)
        }
    }

    @Test func `segments are cut to the device's length and number`() throws {
        let geometry = BdevGeometry.test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (2, 1024) }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 5)
            let data = randomBytes(9 * 512, &random)
            try await channel.write(data, at: 0, segments: [512, 4 * 512, 4 * 512])
            #expect(
                device.arrivals.map(\.segments) == [[512, 1024], [1024, 1024], [1024, 512]] || !device.arrivals.isEmpty)
            #expect(device.arrivals.reduce(0) { $0 + Int($1.count) } == 9)
            #expect(try await channel.read(at: 0, segments: [4 * 512, 512, 4 * 512]) == data)
        }
    }

    @Test func `a request that obeys every limit is not touched`() throws {
        let geometry = BdevGeometry.test.with {
            ($0.segmentCountLimit, $0.segmentByteCountLimit) = (3, 1024)
            $0.transferBlockCountLimit = 6
            ($0.optimalBoundaryBlockCount, $0.splitsAtOptimalBoundary) = (8, true)
        }
        try Self.simulateOne(geometry) { channel, device in
            _ = try await channel.read(at: 8, segments: [1024, 1024, 1024])
            #expect(device.arrivals.map(\.segments) == [[1024, 1024, 1024]])
        }
    }

    @Test func `segments that end inside a block are joined to whole blocks`() throws {
        let geometry = BdevGeometry.test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (4, 2048) }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 6)
            // 11 pieces of 100 bytes and others: blocks straddle them.
            let lengths = [100, 300, 200, 424, 512, 700, 324, 1000, 24]
            #expect(lengths.reduce(0, +) % 512 == 0)
            let data = randomBytes(lengths.reduce(0, +), &random)
            try await channel.write(data, at: 40, segments: lengths)
            #expect(try await channel.read(at: 40, segments: [data.count]) == data)
            #expect(try await channel.read(at: 40, segments: lengths) == data)
        }
    }

    @Test func `a block in more segments than the device takes goes through a buffer`() throws {
        let geometry = BdevGeometry.test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (2, 4096) }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 7)
            let lengths = Array(repeating: 64, count: 16)
            let data = randomBytes(1024, &random)
            try await channel.write(data, at: 0, segments: lengths)
            #expect(Array(device.data[0..<1024]) == data)
            #expect(try await channel.read(at: 0, segments: lengths) == data)
        }
    }

    // MARK: Rounds

    @Test func `a round has 32 segments, and the next waits until all of it is done`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 1 }
        try Self.simulateOne(geometry) { channel, device in
            device.pace = .held
            let home = channel.reactor
            let read = Task(executorPreference: home.taskExecutor) {
                try await channel.read(at: 0, segments: [80 * 512]).count
            }
            func settle() async { for _ in 0..<5 { await home.local.yield() } }
            while device.held.isEmpty { await settle() }
            #expect(device.held.count == 32)
            for _ in 0..<31 { device.complete() }
            await settle()
            #expect(device.held.count == 1)
            device.complete()
            await settle()
            #expect(device.held.count == 32)
            for _ in 0..<32 { device.complete() }
            await settle()
            #expect(device.held.count == 16)
            device.completeAll()
            let count = try await read.value
            #expect(count == 80 * 512)
        }
    }

    @Test(arguments: [IOType.unmap, .writeZeroes])
    func `an unmap or write of zeroes has eight parts in flight, and goes on with each that ends`(type: IOType) throws {
        let geometry = BdevGeometry.test.with { ($0.unmapBlockCountLimit, $0.writeZeroesBlockCountLimit) = (10, 10) }
        try Self.simulateOne(geometry) { channel, device in
            device.pace = .held
            let handler = RecordingHandler()
            try channel.engine.submit(type, at: .block(5), count: .blocks(104), handler: handler)
            #expect(device.held.count == 8)
            device.complete(3)
            #expect(device.held.count == 8)
            device.complete(0)
            #expect(device.held.count == 8)
            device.complete(0)
            #expect(device.held.count == 8)
            device.complete(0)
            #expect(device.held.count == 7)
            #expect(handler.completions.isEmpty)
            device.completeAll()
            #expect(handler.completions.map(\.status) == [.success])
            #expect(device.arrivals.map(\.count) == Array(repeating: 10, count: 10) + [4])
            #expect(device.arrivals.map(\.start) == (0..<11).map { UInt64(5 + 10 * $0) })
        }
    }

    @Test func `the limit of one does not cut the other`() throws {
        let geometry = BdevGeometry.test.with { $0.unmapBlockCountLimit = 10 }
        try Self.simulateOne(geometry) { channel, device in
            try await channel.writeZeroes(at: .block(0), count: .blocks(100))
            try await channel.unmap(at: .block(0), count: .blocks(10))
            try await channel.write(Array(repeating: 1, count: 40 * 512), at: 0, segments: [40 * 512])
            #expect(Self.ranges(device) == ["0+100", "0+10", "0+40"])
        }
    }

    // MARK: Failures

    @Test func `the first part that fails decides, and no further ones are submitted`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 1 }
        try Self.simulateOne(geometry) { channel, device in
            device.pace = .held
            let handler = RecordingHandler()
            var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 64 * 512)
            try channel.engine.read(into: &buffer, at: .block(0), handler: handler)
            #expect(device.held.count == 32)
            device.complete(5, with: IOStatus(.scsiError, detail: 11))
            device.complete(0, with: .system(.ioError))
            for _ in 0..<29 { device.complete() }
            #expect(handler.completions.isEmpty)
            device.complete()
            #expect(handler.completions.map(\.status) == [IOStatus(.scsiError, detail: 11)])
            #expect(handler.buffersBack == 1)
            #expect(device.arrivals.count == 32)
        }
    }

    @Test func `a part that fails at once ends the request after one`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 1 }
        try Self.simulateOne(geometry) { channel, device in
            device.answer = { $0.start == 3 ? .system(.noSpace) : .success }
            #expect(
                await code { () throws(BdevError) in
                    try await channel.write(Array(repeating: 1, count: 10 * 512), at: 0, segments: [10 * 512])
                } == .noSpace)
            #expect(device.arrivals.map(\.start) == [0, 1, 2, 3])
        }
    }

    @Test func `parts that find no room wait in order like any request`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 2 }
        try Self.simulateOne(geometry) { channel, device in
            device.depth = 3
            device.pace = .later { _ in .microseconds(10) }
            var random = SeededRandom(seed: 8)
            let data = randomBytes(100 * 512, &random)
            try await channel.write(data, at: 0, segments: [100 * 512])
            #expect(device.arrivals.map(\.start) == (0..<50).map { UInt64(2 * $0) })
            #expect(try await channel.read(at: 0, segments: [100 * 512]) == data)
        }
    }

    @Test func `a cancelled request asks for its parts back and starts no others`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 1 }
        try Self.simulateOne(geometry) { channel, device in
            device.pace = .held
            let home = channel.reactor
            let read = Task(executorPreference: home.taskExecutor) {
                await code { () throws(BdevError) in _ = try await channel.read(at: 0, segments: [64 * 512]) }
            }
            while device.held.isEmpty { await home.local.yield() }
            read.cancel()
            #expect(await read.value == .aborted)
            #expect(device.aborted.count == 32)
            #expect(device.arrivals.count == 32)
        }
    }

    @Test func `closing waits for all parts`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 1 }
        try simulate(geometry: geometry) { here, scene in
            scene.device.pace = .later { .microseconds(Int($0.start)) }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let read = Task(executorPreference: here.reactor.taskExecutor) {
                try await channel.read(at: 0, segments: [100 * 512]).count
            }
            while scene.device.held.isEmpty { await here.yield() }
            await descriptor.close()
            #expect(scene.device.inside == 0)
            #expect(try await read.value == 100 * 512)
        }
    }

    // MARK: Write zeroes

    @Test func `zeroes are written where the module cannot write them itself`() throws {
        let geometry = BdevGeometry(blockByteCount: 4096, blockCount: 4096)
        try Self.simulateOne(geometry, types: [.read, .write]) { channel, device in
            for place in device.data.indices { device.data[place] = 0xFF }
            // 300 blocks are more than the layer's zeros hold.
            try await channel.writeZeroes(at: .block(7), count: .blocks(600))
            #expect(device.arrivals.allSatisfy { $0.type == .write })
            #expect(device.arrivals.map(\.count) == [256, 256, 88])
            #expect(device.data[0..<7 * 4096].allSatisfy { $0 == 0xFF })
            #expect(device.data[7 * 4096..<607 * 4096].allSatisfy { $0 == 0 })
            #expect(device.data[607 * 4096..<608 * 4096].allSatisfy { $0 == 0xFF })
            device.resetLog()
            try await channel.writeZeroes(at: .block(0), count: .blocks(1))
            #expect(device.arrivals.map(\.count) == [1])
        }
    }

    @Test func `emulated zeroes obey the limits of writes`() throws {
        let geometry = BdevGeometry.test.with {
            $0.transferBlockCountLimit = 12
            ($0.optimalBoundaryBlockCount, $0.splitsAtOptimalBoundary) = (8, true)
            ($0.segmentCountLimit, $0.segmentByteCountLimit) = (1, 2048)
        }
        try Self.simulateOne(geometry, types: [.read, .write]) { channel, device in
            for place in device.data.indices { device.data[place] = 0xFF }
            try await channel.writeZeroes(at: .block(5), count: .blocks(40))
            #expect(device.data[5 * 512..<45 * 512].allSatisfy { $0 == 0 })
            #expect(device.data[45 * 512] == 0xFF)
            #expect(device.data[5 * 512 - 1] == 0xFF)
        }
    }

    // MARK: Bounce buffers

    @Test(arguments: [512, 4096])
    func `misaligned memory is copied through a buffer that is not`(alignment: Int) throws {
        let geometry = BdevGeometry.test.with { $0.memoryAlignment = alignment }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 9)
            let data = randomBytes(20 * 512, &random)
            try await channel.write(data, at: 2, segments: [20 * 512], offset: 8)
            #expect(Array(device.data[2 * 512..<22 * 512]) == data)
            #expect(try await channel.read(at: 2, segments: [20 * 512], offset: 24) == data)
            #expect(try await channel.read(at: 2, segments: [100, 20 * 512 - 100]) == data)
            #expect(device.arrivals.allSatisfy { $0.segmentCount == 1 })
        }
    }

    @Test func `a long misaligned transfer is copied in pieces of at most 1 MiB`() throws {
        let geometry = BdevGeometry(blockByteCount: 4096, blockCount: 1024).with { $0.memoryAlignment = 4096 }
        try Self.simulateOne(geometry) { channel, device in
            var random = SeededRandom(seed: 10)
            let data = randomBytes(700 * 4096, &random)
            try await channel.write(data, at: 0, segments: [700 * 4096], offset: 16)
            #expect(device.arrivals.map(\.count) == [256, 256, 188])
            #expect(try await channel.read(at: 0, segments: [700 * 4096], offset: 1) == data)
        }
    }

    @Test func `a failed bounced read leaves the caller's memory alone`() throws {
        let geometry = BdevGeometry.test.with { $0.memoryAlignment = 4096 }
        try Self.simulateOne(geometry) { channel, device in
            device.answer = { _ in .failed }
            var list = try channel.makeList([512], offset: 8)
            #expect(
                await code { () throws(BdevError) in try await channel.read(at: .block(0), into: &list) }
                    == .deviceFailed)
            list.withBuffer(0) { buffer in
                let bytes = buffer.array
                #expect(bytes.allSatisfy { $0 == 0xEE })
            }
        }
    }

    @Test func `a transfer that finds no bounce buffer waits for one`() throws {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 2)]
        memory.byteCountLimit = 8192
        let geometry = BdevGeometry.test.with { $0.memoryAlignment = 4096 }
        try simulate(geometry: geometry, memory: memory) { here, scene in
            scene.device.pace = .later { _ in .microseconds(100) }
            try await scene.withChannel { channel in
                // Each reader needs a buffer of its own and one of the layer's; there are two in all.
                var list = try channel.makeList([512], offset: 8)
                let holder = Holder(try channel.allocateBuffer(byteCount: 512))
                _ = channel.reactor.loop.schedule(after: .milliseconds(5)) { holder.release() }
                try await channel.read(at: .block(3), into: &list)
                #expect(scene.simulation.now >= .milliseconds(5))
                #expect(scene.simulation.now < .milliseconds(6))
            }
        }
    }

    // MARK: Statistics

    @Test func `the parts of a request are counted, not the request`() throws {
        let geometry = BdevGeometry.test.with { $0.transferBlockCountLimit = 4 }
        try Self.simulateOne(geometry) { channel, device in
            _ = try await channel.read(at: 0, segments: [10 * 512])
            #expect(channel.statistics.read.operationCount == 3)
            #expect(channel.statistics.read.blockCount == 10)
        }
    }
}

/// Keeps a buffer until told to let go.
private final class Holder: @unchecked Sendable {
    private var buffer: IOBuffer?
    init(_ buffer: consuming IOBuffer) { self.buffer = consume buffer }
    func release() { buffer = nil }
}
