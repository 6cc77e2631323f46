import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Devices that are written in whole units only.
struct WriteUnitTests {
    /// Units of 8 blocks, as a stripe is; reads are cut at 3, as at a strip.
    private static let geometry = BdevGeometry.test.with {
        $0.writeUnitBlockCount = 8
        $0.splitsAtWriteUnit = true
        $0.optimalBoundaryBlockCount = 3
        $0.splitsAtOptimalBoundary = true
    }

    /// The layer writes the zeros.
    private static let types = IOTypes.everything.subtracting(.writeZeroes)

    @Test func `writes are cut at the unit and reads at the boundary`() throws {
        try simulate(geometry: Self.geometry, types: Self.types) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.write, at: 8, count: 24) == nil)
                #expect(
                    scene.device.arrivals.map(\.blocks).sorted { $0.lowerBound < $1.lowerBound } == [
                        8..<16, 16..<24, 24..<32,
                    ])
                scene.device.resetLog()
                #expect(await channel.attempt(.read, at: 8, count: 5) == nil)
                #expect(
                    scene.device.arrivals.map(\.blocks).sorted { $0.lowerBound < $1.lowerBound } == [
                        8..<9, 9..<12, 12..<13,
                    ])
                scene.device.resetLog()
                #expect(await channel.attempt(.write, at: 16, count: 8) == nil)
                #expect(scene.device.arrivals.map(\.blocks) == [16..<24])
            }
        }
    }

    @Test(arguments: [(1, 8), (8, 7), (8, 9), (4, 4), (0, 1), (7, 1), (12, 16), (1016, 7)] as [(UInt64, UInt64)])
    func `a write that does not begin and end at a unit fails, and nothing of it reaches the device`(
        start: UInt64, count: UInt64
    ) throws {
        try simulate(geometry: Self.geometry, types: Self.types) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.write, at: start, count: count) == .deviceFailed)
                #expect(await channel.attempt(.writeZeroes, at: start, count: count) == .deviceFailed)
                #expect(await channel.attempt(.copy, at: start, count: count, source: 512) == .deviceFailed)
                #expect(scene.device.submissionCount == 0)
                #expect(await channel.attempt(.read, at: start, count: count) == nil)
            }
        }
    }

    @Test func `a unit that is not enforced is advice`() throws {
        try simulate(geometry: Self.geometry.with { $0.splitsAtWriteUnit = false }) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.write, at: 1, count: 2) == nil)
                #expect(scene.device.arrivals.map(\.blocks) == [1..<3])
            }
        }
    }

    @Test func `what the layer writes for the device is in units too`() throws {
        try simulate(geometry: Self.geometry.with { $0.compareAndWriteBlockCountLimit = 16 }) { _, scene in
            try await scene.withChannel { channel in
                var random = SeededRandom(seed: 1)
                let content = randomBytes(32 * 512, &random)
                try await channel.write(content, at: 64)
                try await channel.copy(32, from: 64, to: 128)
                #expect(Array(scene.device.data[128 * 512..<160 * 512]) == content)
                // The source may lie anywhere.
                try await channel.copy(16, from: 67, to: 256)
                #expect(Array(scene.device.data[256 * 512..<272 * 512]) == Array(content[3 * 512..<19 * 512]))
                try await channel.writeZeroes(at: .block(136), count: .blocks(16))
                #expect(scene.device.data[136 * 512..<152 * 512].allSatisfy { $0 == 0 })
                try await channel.swap(Array(content[..<4096]), for: Array(content[4096..<8192]), at: 64)
                #expect(Array(scene.device.data[64 * 512..<72 * 512]) == Array(content[4096..<8192]))
                #expect(await channel.attempt(.compareAndWrite, at: 72, count: 3) == .miscompare)
                #expect(await channel.attempt(.compareAndWrite, at: 136, count: 3) == .deviceFailed)
            }
        }
    }

    @Test func `a unit in more segments than the device takes goes through a buffer`() throws {
        let geometry = Self.geometry.with {
            $0.segmentCountLimit = 2
            $0.segmentByteCountLimit = 8192
        }
        try simulate(geometry: geometry, types: Self.types) { _, scene in
            try await scene.withChannel { channel in
                var random = SeededRandom(seed: 2)
                let content = randomBytes(64 * 512, &random)
                for pieces in [Array(repeating: 512, count: 64), Array(repeating: 1024, count: 32), [64 * 512]] {
                    try await channel.write(content, at: 0, segments: pieces)
                    #expect(Array(scene.device.data[..<(64 * 512)]) == content)
                    try await channel.unmap(at: .block(0), count: .blocks(64))
                }
            }
        }
    }

    @Test(arguments: [true, false])
    func `a unit that the device cannot take in one piece fails`(segments: Bool) throws {
        let geometry = Self.geometry.with {
            if segments {
                $0.segmentCountLimit = 2
                $0.segmentByteCountLimit = 1024
            } else {
                $0.transferBlockCountLimit = 5
            }
        }
        try simulate(geometry: geometry, types: Self.types) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.write, at: 0, count: 8) == .deviceFailed)
                #expect(await channel.attempt(.writeZeroes, at: 0, count: 8) == .deviceFailed)
                #expect(await channel.attempt(.copy, at: 0, count: 8, source: 512) == .deviceFailed)
                #expect(!scene.device.arrivals.contains { $0.type == .write })
                #expect(await channel.attempt(.read, at: 0, count: 8) == nil)
            }
        }
    }
}
