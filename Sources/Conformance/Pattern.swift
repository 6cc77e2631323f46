import Bdev
import Reactors

/// Contents that tell where they belong: a block's bytes follow from the seed, its number and a version. Version 0 is
/// all zeros.
struct Pattern: Sendable {
    let seed: UInt64
    let blockByteCount: Int

    func fill(_ buffer: inout IOBuffer, from start: UInt64, version: UInt64) {
        let count = buffer.byteCount / blockByteCount
        for index in 0..<count { fill(&buffer, index, block: start + UInt64(index), version) }
    }

    private func fill(_ buffer: inout IOBuffer, _ index: Int, block: UInt64, _ version: UInt64) {
        var generator = SeededGenerator(seed: seed ^ (block &* 0x9E37_79B9_7F4A_7C15) ^ (version << 48))
        var bytes = buffer.mutableBytes
        let start = index * blockByteCount
        for offset in stride(from: start, to: start + blockByteCount, by: 8) {
            bytes.storeBytes(of: version == 0 ? 0 : generator.next(), toByteOffset: offset, as: UInt64.self)
        }
    }

    /// The first block of `buffer` that is not what `expected` holds.
    func firstDifference(_ buffer: borrowing IOBuffer, _ expected: borrowing IOBuffer) -> Int? {
        if buffer.contentEquals(expected) { return nil }
        for index in 0..<(buffer.byteCount / blockByteCount) {
            let (offset, count) = (index * blockByteCount, blockByteCount)
            if !buffer.memory.slice(from: offset, count: count).contentEquals(
                expected.memory.slice(from: offset, count: count))
            {
                return index
            }
        }
        return nil
    }
}

/// Reproducible randomness (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

extension Scene {
    /// Writes `count` blocks of a version.
    nonisolated(nonsending) func write(
        _ channel: BdevChannel, at start: UInt64, _ count: Int, version: UInt64
    ) async throws {
        var buffer = await channel.buffer(byteCount: count * blockByteCount)
        pattern.fill(&buffer, from: start, version: version)
        try await channel.write(from: buffer, at: .block(start))
    }

    /// Reads `count` blocks, which must be of a version.
    nonisolated(nonsending) func verify(
        _ channel: BdevChannel, at start: UInt64, _ count: Int, version: UInt64, _ what: String
    ) async throws {
        var buffer = await channel.buffer(byteCount: count * blockByteCount)
        // What a read leaves untouched must not look like what was written.
        buffer.fill(with: 0xEE)
        try await channel.read(at: .block(start), into: &buffer)
        try await compare(channel, buffer, at: start, version: version, what)
    }

    nonisolated(nonsending) func compare(
        _ channel: BdevChannel, _ buffer: borrowing IOBuffer, at start: UInt64, version: UInt64, _ what: String
    ) async throws {
        if !keepsData { return }
        var expected = await channel.buffer(byteCount: buffer.byteCount)
        pattern.fill(&expected, from: start, version: version)
        if let index = pattern.firstDifference(buffer, expected) {
            let wanted = version == 0 ? "zeros" : "version \(version) of its data"
            throw failure("\(what): block \(start + UInt64(index)) does not hold \(wanted)")
        }
    }
}
