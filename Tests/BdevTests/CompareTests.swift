import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// Comparing, by the device or by reading.
struct CompareTests {
    static let geometries: [BdevGeometry] = [
        .test,
        .test.with { $0.transferBlockCountLimit = 3 },
        .test.with {
            $0.optimalBoundaryBlockCount = 5
            $0.splitsAtOptimalBoundary = true
        },
        .test.with {
            $0.segmentCountLimit = 2
            $0.segmentByteCountLimit = 1024
        },
        BdevGeometry(blockByteCount: 520, blockCount: 100).with { $0.transferBlockCountLimit = 7 },
    ]

    private static func types(native: Bool) -> IOTypes { native ? .native : .everything }

    @Test(arguments: geometries, [true, false])
    func `what is the same compares equal, and one byte that differs is found wherever it is`(
        geometry: BdevGeometry, native: Bool
    ) throws {
        try simulate(geometry: geometry, types: Self.types(native: native)) { _, scene in
            try await scene.withChannel { channel in
                var random = SeededRandom(seed: 3)
                let size = geometry.blockByteCount, count = 12 * size
                let content = randomBytes(count, &random)
                try await channel.write(content, at: 4)
                scene.device.resetLog()
                try await channel.compare(content, at: 4)
                // Never split where the device does it.
                let isWhole = native && geometry.segmentCountLimit == 0
                #expect(scene.device.arrivals.allSatisfy { $0.type == (isWhole ? .compare : .read) })
                #expect(!isWhole || scene.device.arrivals.count == 1)
                var places = [0, 1, size - 1, size, size + 1, count / 2, count - size - 1, count - size, count - 1]
                // Around where the boundary cuts, and the longest transfer.
                places += [size - 1, size, 3 * size - 1, 3 * size, 6 * size - 1, 6 * size, 7 * size]
                for place in places {
                    var other = content
                    other[place] ^= 1
                    let refusal = await code { () throws(BdevError) in try await channel.compare(other, at: 4) }
                    #expect(refusal == .miscompare, "byte \(place)")
                }
                #expect(Array(scene.device.data[4 * size..<16 * size]) == content)
            }
        }
    }

    @Test(arguments: [true, false], UInt64(0)..<30)
    func `several segments of odd lengths compare as one`(native: Bool, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var geometry = BdevGeometry.test
        geometry.memoryAlignment = [1, 4, 512].randomElement(using: &random)!
        geometry.transferBlockCountLimit = [0, 1, 3].randomElement(using: &random)!
        if Bool.random(using: &random) {
            geometry.segmentCountLimit = 3
            geometry.segmentByteCountLimit = 1536
        }
        let state = Shared(random)
        try simulate(seed: seed, geometry: geometry, types: Self.types(native: native)) { _, scene in
            try await scene.withChannel { channel in
                let count = 10 * 512
                let content = randomBytes(count, &state.value)
                try await channel.write(content, at: 20)
                var pieces: [Int] = [], left = count
                while left > 0 {
                    pieces.append(min(left, Int.random(in: 1...1500, using: &state.value)))
                    left -= pieces.last!
                }
                let equal = try channel.makeList(pieces, offset: Int(seed % 3), data: content)
                try await channel.compare(equal, at: .block(20))
                let place = Int.random(in: 0..<count, using: &state.value)
                var other = content
                other[place] &+= 1
                let different = try channel.makeList(pieces, offset: Int(seed % 3), data: other)
                let refusal = await code { () throws(BdevError) in
                    try await channel.compare(different, at: .block(20))
                }
                #expect(refusal == .miscompare, "seed \(seed), byte \(place), pieces \(pieces)")
            }
        }
    }

    @Test(arguments: [true, false])
    func `what the device cannot read is its own error, and no difference`(native: Bool) throws {
        try simulate(
            geometry: .test.with { $0.transferBlockCountLimit = 2 }, types: Self.types(native: native)
        ) { _, scene in
            scene.device.answer = {
                $0.type == .compare || $0.type == .read && $0.blocks.contains(7) ? .system(.ioError) : .success
            }
            try await scene.withChannel(.readOnly) { channel in
                let zeros = Array(repeating: UInt8(0), count: 8 * 512)
                #expect(await code { () throws(BdevError) in try await channel.compare(zeros, at: 2) } == .mediaError)
                let answered = await failure { () throws(BdevError) in try await channel.compare(zeros, at: 2) }
                #expect(answered?.cause == .ioError)
                #expect(answered?.message.hasPrefix("compare of 8 blocks at block 2") == true)
            }
        }
    }

    @Test func `the first failure decides, and nothing more is read`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 1 }) { _, scene in
            scene.device.answer = { $0.start == 30 ? .system(.ioError) : .success }
            try await scene.withChannel { channel in
                let ones = Array(repeating: UInt8(1), count: 40 * 512)
                let refusal = await code { () throws(BdevError) in try await channel.compare(ones, at: 0) }
                #expect(refusal == .miscompare)
                // The device answers at once: the first part already differs.
                #expect(scene.device.arrivals.count == 1)
            }
        }
    }

    @Test func `at most eight parts are under way`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 1 }) { _, scene in
            scene.device.pace = .later { _ in .microseconds(10) }
            try await scene.withChannel { channel in
                try await channel.compare(Array(repeating: 0, count: 40 * 512), at: 0)
                #expect(scene.device.mostInside == 8)
                #expect(scene.device.arrivals.count == 40)
            }
        }
    }

    @Test func `comparing waits for memory`() throws {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 2)]
        memory.byteCountLimit = 8192
        try simulate(memory: memory) { here, scene in
            try await scene.withChannel { channel in
                let held = try channel.allocateBuffer(byteCount: 512)
                let compare = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.compare, at: 0)
                }
                await channel.reactor.local.settle(.milliseconds(5))
                #expect(scene.device.submissionCount == 0)
                _ = consume held
                #expect(await compare.value == nil)
            }
        }
    }

    @Test func `a cancelled comparison asks the device to give its reads up`() throws {
        try simulate(geometry: .test.with { $0.transferBlockCountLimit = 1 }) { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let compare = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.compare, at: 0, count: 3)
                }
                await channel.reactor.local.settle()
                compare.cancel()
                #expect(await compare.value == .aborted)
                #expect(scene.device.aborted.count == 3)
            }
        }
    }
}
