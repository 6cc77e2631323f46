import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Random geometries and requests against a model: the medium as an array of bytes.
struct SplitPropertyTests {
    private static func geometry(_ random: inout SeededRandom) -> BdevGeometry {
        func pick<Value>(_ values: [Value]) -> Value { values.randomElement(using: &random)! }
        var geometry = BdevGeometry(blockByteCount: pick([512, 512, 520, 4096]), blockCount: 300)
        geometry.memoryAlignment = pick([1, 1, 4, 512, 4096])
        geometry.transferBlockCountLimit = pick([0, 0, 1, 3, 16, 100])
        geometry.optimalBoundaryBlockCount = pick([0, 0, 1, 5, 8, 64])
        geometry.splitsAtOptimalBoundary = geometry.optimalBoundaryBlockCount > 0 && Bool.random(using: &random)
        if Bool.random(using: &random) {
            geometry.segmentCountLimit = pick([1, 2, 3, 8, 40])
            geometry.segmentByteCountLimit = geometry.blockByteCount * pick([1, 2, 3, 16]) + pick([0, 0, 0, 4])
        }
        geometry.unmapBlockCountLimit = pick([0, 1, 7, 50])
        geometry.writeZeroesBlockCountLimit = pick([0, 1, 7, 50])
        return geometry
    }

    /// Lengths of `count` bytes in pieces.
    private static func pieces(_ count: Int, _ random: inout SeededRandom) -> [Int] {
        var left = count, result: [Int] = []
        let limit = [64, 512, 5000, count].randomElement(using: &random)!
        while left > 0 {
            var length = min(left, Int.random(in: 1...max(1, limit), using: &random))
            // Mostly round numbers, as in life.
            if length > 512, Int.random(in: 0..<3, using: &random) > 0 { length -= length % 512 }
            result.append(length)
            left -= length
        }
        return result
    }

    @Test(arguments: UInt64(0)..<100)
    func `whatever the geometry, requests do what they say and parts obey every limit`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let geometry = Self.geometry(&random)
        let zeroes: IOTypes = Bool.random(using: &random) ? .writeZeroes : []
        let types = zeroes.union([.read, .write, .unmap, .flush])
        let state = Shared(random)
        try simulate(seed: seed, geometry: geometry, types: types) { here, scene in
            var random = state.value
            let device = scene.device
            device.depth = [Int.max, 1, 3, 10].randomElement(using: &random)!
            let delays = Shared(SeededRandom(seed: seed))
            switch Int.random(in: 0..<3, using: &random) {
            case 0: break
            case 1: device.pace = .later { _ in .microseconds(Int.random(in: 0...100, using: &delays.value)) }
            default: device.pace = .later { _ in .microseconds(10) }
            }
            device.refusals = Int.random(in: 0..<3, using: &random)
            let size = geometry.blockByteCount
            let plan = Shared(random)
            try await scene.withChannel { channel in
                var random = plan.value
                var model = Array(repeating: UInt8(0), count: Int(geometry.byteCount))
                for _ in 0..<12 {
                    let start = UInt64.random(in: 0..<geometry.blockCount, using: &random)
                    let room = min(geometry.blockCount - start, 120)
                    let count = UInt64.random(in: 1...room, using: &random)
                    let range = Int(start) * size..<Int(start + count) * size
                    let segments = Self.pieces(range.count, &random)
                    let offset = [0, 0, 0, 1, 8].randomElement(using: &random)!
                    device.resetLog()
                    let expected: IOType
                    switch Int.random(in: 0..<8, using: &random) {
                    case 0...2:
                        expected = .write
                        let data = randomBytes(range.count, &random)
                        try await channel.write(data, at: start, segments: segments, offset: offset)
                        model.replaceSubrange(range, with: data)
                    case 3...5:
                        expected = .read
                        let data = try await channel.read(at: start, segments: segments, offset: offset)
                        #expect(data == Array(model[range]), "seed \(seed)")
                    case 6:
                        expected = .unmap
                        try await channel.unmap(at: .block(start), count: .blocks(count))
                        for place in range { model[place] = 0 }
                    default:
                        expected = types.contains(.writeZeroes) ? .writeZeroes : .write
                        try await channel.writeZeroes(at: .block(start), count: .blocks(count))
                        for place in range { model[place] = 0 }
                    }
                    Self.expectCover(device, expected, start, count, seed)
                    let isRight = device.data.isSame(as: model)
                    #expect(isRight, "seed \(seed)")
                    if !isRight { return }
                }
            }
        }
    }

    /// The parts cover the request's blocks, each once.
    private static func expectCover(
        _ device: TestDevice, _ type: IOType, _ start: UInt64, _ count: UInt64, _ seed: UInt64
    ) {
        var next = start
        for part in device.arrivals.sorted(by: { $0.start < $1.start }) {
            #expect(part.type == type, "seed \(seed)")
            #expect(part.start == next, "seed \(seed)")
            next = part.start + part.count
        }
        #expect(next == start + count, "seed \(seed)")
    }

    @Test(arguments: UInt64(0)..<25)
    func `many split requests at once keep apart`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let geometry = Self.geometry(&random).with { $0.blockCount = 20 * 32 }
        let state = Shared(random)
        try simulate(seed: seed, geometry: geometry, types: [.read, .write, .unmap]) { here, scene in
            scene.device.depth = [4, 16, Int.max].randomElement(using: &state.value)!
            let delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...100, using: &delays.value)) }
            let size = geometry.blockByteCount
            try await scene.withChannel { channel in
                await withTaskGroup(of: Void.self) { group in
                    for index in 0..<20 {
                        group.addTask {
                            var random = SeededRandom(seed: seed &* 100 &+ UInt64(index))
                            for _ in 0..<4 {
                                // Each has 32 blocks of its own.
                                let first = UInt64.random(in: 0..<31, using: &random)
                                let count = Int.random(in: 1...Int(32 - first), using: &random)
                                let data = randomBytes(count * size, &random)
                                let segments = Self.pieces(data.count, &random)
                                let block = UInt64(index * 32) + first
                                do {
                                    try await channel.write(data, at: block, segments: segments, offset: index % 3)
                                    let back = try await channel.read(at: block, segments: segments, offset: index % 2)
                                    #expect(back == data, "seed \(seed)")
                                } catch {
                                    Issue.record("seed \(seed): \(error)")
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
