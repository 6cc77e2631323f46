import Bdev
import Reactors

/// Contents that tell where they belong: a block's bytes follow from the seed, its number and a version. Version 0 is
/// all zeros.
///
/// A block is a stretch of noise with a word of its own at either end. The noise is made once, and from there on
/// copied: in debug builds and under sanitizers most of the time would otherwise go into making it word by word.
struct Pattern: Sendable {
    private let seed: UInt64
    private let blockByteCount: Int
    /// Blocks begin at different places of it.
    private let noise: MemoryRegion
    private static let placeCount = 512

    init(seed: UInt64, blockByteCount: Int) throws(ReactorError) {
        self.seed = seed
        self.blockByteCount = blockByteCount
        noise = try MemoryRegion(byteCount: blockByteCount + 8 * Self.placeCount)
        var generator = SeededGenerator(seed: seed)
        let memory = noise.memory(from: 0, count: noise.byteCount)
        for offset in stride(from: 0, to: noise.byteCount, by: 8) { memory.store(generator.next(), at: offset) }
    }

    func fill(_ buffer: inout IOBuffer, from start: UInt64, version: UInt64) {
        if version == 0 { return buffer.fill(with: 0) }
        for index in 0..<(buffer.byteCount / blockByteCount) {
            let memory = buffer.memory.slice(from: index * blockByteCount, count: blockByteCount)
            fill(memory, block: start + UInt64(index), version)
        }
    }

    private func fill(_ memory: IOMemory, block: UInt64, _ version: UInt64) {
        var generator = SeededGenerator(seed: seed ^ (block &* 0x9E37_79B9_7F4A_7C15) ^ (version << 48))
        let place = 8 * Int(generator.next() % UInt64(Self.placeCount))
        memory.copy(from: noise.memory(from: place, count: blockByteCount))
        memory.store(generator.next(), at: 0)
        memory.store(generator.next(), at: blockByteCount - 8)
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
