import Bdev
import MallocBdev
import Reactors
import SimulatedReactors
import Testing

/// What a RAM disk holds, block by block.
private struct DiskModel {
    struct Block: Equatable {
        var data: [UInt8]
        var metadata: [UInt8]
        /// What the protection information says besides the guard.
        var tags: ProtectionTags
    }

    let shape: BlockShape
    /// Makes tuples apart from the data, however the disk keeps them.
    private let protection: BlockProtection?
    var blocks: [Block] = []

    init(_ shape: BlockShape, blockCount: Int) {
        self.shape = shape
        protection = shape.protection(isInterleaved: false)
        for number in 0..<blockCount { blocks.append(zero(number)) }
    }

    /// Those that the disk gives a block itself.
    private func tags(_ number: Int) -> ProtectionTags {
        ProtectionTags(referenceTag: shape.metadata.protection?.type == .type3 ? 0 : UInt64(number))
    }

    func zero(_ number: Int) -> Block {
        protected(
            Block(
                data: Array(repeating: 0, count: shape.dataByteCount),
                metadata: Array(repeating: 0, count: shape.metadata.byteCount),
                tags: tags(number)))
    }

    /// A block of random bytes that may be written at `number`.
    func random(_ number: Int, _ random: inout SeededRandom) -> Block {
        func bytes(_ count: Int) -> [UInt8] {
            let words = (0..<(count + 7) / 8).map { _ in random.next() }
            // SAFETY: a copy of its bytes.
            return unsafe words.withUnsafeBytes { unsafe Array($0.prefix(count)) }
        }
        return protected(
            Block(
                data: bytes(shape.dataByteCount), metadata: bytes(shape.metadata.byteCount),
                tags: ProtectionTags(referenceTag: UInt64(number), applicationTag: UInt16(random.next() & 0xFF))))
    }

    /// With the protection information that belongs to it.
    func protected(_ block: Block) -> Block {
        guard let protection else { return block }
        var block = block
        var metadata = block.metadata
        var span = metadata.mutableSpan
        var bytes = unsafe span.mutableBytes
        unsafe protection.generate(block.data.span.bytes, metadata: &bytes, tags: block.tags)
        block.metadata = metadata
        return block
    }

    /// Writes data alone.
    mutating func write(data: [UInt8], at number: Int) {
        blocks[number].data = data
        blocks[number].tags = tags(number)
        blocks[number] = protected(blocks[number])
    }

    mutating func copy(from source: Int, to target: Int, _ count: Int) {
        let moved = blocks[source..<source + count]
        for (index, block) in moved.enumerated() {
            var block = block
            if shape.metadata.protection?.type != .type3 { block.tags.referenceTag = UInt64(target + index) }
            blocks[target + index] = protected(block)
        }
    }

    /// The bytes of blocks as they stand in a buffer.
    func bytes(_ range: Range<Int>) -> [UInt8] {
        blocks[range].flatMap { shape.isInterleaved ? $0.data + $0.metadata : $0.data }
    }

    func metadata(_ range: Range<Int>) -> [UInt8] { blocks[range].flatMap(\.metadata) }
}

@Suite("RAM disks do what a model of them does")
struct MallocPropertyTests {
    private static let blockCount = 24

    private static func randomShape(_ random: inout SeededRandom) -> BlockShape {
        let isInterleaved = Bool.random(using: &random)
        let data = [512, 1024, 4096].randomElement(using: &random)!
        let size = [8, 16, 32, 64, 128].randomElement(using: &random)!
        var metadata = BlockMetadata(byteCount: size, isInterleaved: isInterleaved)
        let formats = ProtectionInformation.Format.allCases.filter {
            $0.byteCount <= size && ($0 == .guard16 || data == 4096)
        }
        if random.next() % 5 > 0 {
            metadata.protection = ProtectionInformation(
                ProtectionInformation.ProtectionType.allCases.randomElement(using: &random)!,
                format: formats.randomElement(using: &random)!,
                placement: Bool.random(using: &random) ? .head : .tail, checks: [.guard, .referenceTag])
        }
        return BlockShape(dataByteCount: data, metadata: metadata)
    }

    @Test(arguments: UInt64(1)...40)
    func `whatever is written, zeroed, copied, compared and lent`(seed: UInt64) throws {
        try simulateLeaves(seed: seed) { here, engine, _, malloc in
            var random = SeededRandom(seed: seed)
            let shape = Self.randomShape(&random)
            var options = MallocModule.Options(
                name: "M", blockCount: UInt64(Self.blockCount), blockByteCount: shape.dataByteCount)
            options.metadata = shape.metadata
            options.optimalBoundaryBlockCount = [0, 1, 5, 16].randomElement(using: &random)!
            try await malloc.create(options)
            let start = random
            try await engine.withChannel("M", on: here.reactor) { channel in
                var player = Player(model: DiskModel(shape, blockCount: Self.blockCount), random: start, seed: seed)
                for step in 0..<80 { try await player.play(step, channel) }
                try await player.read(0..<Self.blockCount, channel)
            }
        }
    }

    private struct Player {
        var model: DiskModel
        var random: SeededRandom
        let seed: UInt64
        private var step = 0

        init(model: DiskModel, random: SeededRandom, seed: UInt64) {
            self.model = model
            self.random = random
            self.seed = seed
        }

        private var shape: BlockShape { model.shape }
        private var place: Comment { "seed \(seed), step \(step), \(shape.testDescription)" }

        private mutating func range(_ most: Int = 9) -> Range<Int> {
            let count = Int.random(in: 1...most, using: &random)
            let start = Int.random(in: 0...MallocPropertyTests.blockCount - count, using: &random)
            return start..<start + count
        }

        mutating func play(_ step: Int, _ channel: isolated BdevChannel) async throws {
            self.step = step
            switch random.next() % 9 {
            case 0, 1: try await write(range(), channel)
            case 2: try await writeWithoutMetadata(range(), channel)
            case 3: try await zero(range(), channel)
            case 4: try await copy(channel)
            case 5: try await compare(range(), channel)
            case 6: try await borrow(range(), channel)
            case 7: try await writeBadly(channel)
            default: try await read(range(), channel)
            }
        }

        private func buffer(_ bytes: [UInt8], _ channel: isolated BdevChannel) throws -> IOBuffer {
            var buffer = try channel.allocateBuffer(byteCount: bytes.count)
            buffer.store(bytes)
            return buffer
        }

        mutating func read(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            var data = try buffer(Array(repeating: 0xEE, count: range.count * shape.blockByteCount), channel)
            let place = BdevOffset.block(UInt64(range.lowerBound))
            if shape.isInterleaved || Bool.random(using: &random) {
                try await channel.read(at: place, into: &data)
            } else {
                let count = range.count * shape.metadata.byteCount
                var metadata = try buffer(Array(repeating: 0xEE, count: count), channel)
                try await channel.read(at: place, into: &data, metadata: &metadata)
                let isSame = metadata.contentEquals(try buffer(model.metadata(range), channel))
                #expect(isSame, self.place)
            }
            let isSame = data.contentEquals(try buffer(model.bytes(range), channel))
            #expect(isSame, self.place)
        }

        private mutating func write(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            for number in range { model.blocks[number] = model.random(number, &random) }
            let data = try buffer(model.bytes(range), channel), place = BdevOffset.block(UInt64(range.lowerBound))
            if shape.isInterleaved { return try await channel.write(from: data, at: place) }
            let metadata = try buffer(model.metadata(range), channel)
            try await channel.write(from: data, metadata: metadata, at: place)
        }

        /// From memory in two pieces, wherever the cut is.
        private mutating func writeWithoutMetadata(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            for number in range {
                let block = model.random(number, &random)
                if shape.isInterleaved {
                    model.blocks[number] = block
                } else {
                    model.write(data: block.data, at: number)
                }
            }
            let bytes = model.bytes(range), cut = Int.random(in: 1..<bytes.count, using: &random)
            var list = IOBufferList(capacity: 2)
            list.append(try buffer(Array(bytes[..<cut]), channel))
            list.append(try buffer(Array(bytes[cut...]), channel))
            try await channel.write(from: list, at: .block(UInt64(range.lowerBound)))
        }

        /// One block whose protection information is wrong somewhere.
        private mutating func writeBadly(_ channel: isolated BdevChannel) async throws {
            if shape.metadata.protection == nil { return }
            let number = range(1).lowerBound
            let block = model.random(number, &random)
            var data = try buffer(shape.isInterleaved ? block.data + block.metadata : block.data, channel)
            let metadata = try buffer(block.metadata, channel), place = BdevOffset.block(UInt64(number))
            data.flip(Int.random(in: 0..<shape.dataByteCount, using: &random))
            let refused: IOStatus
            if shape.isInterleaved {
                refused = await status { try await channel.write(from: data, at: place) }
            } else {
                refused = await status { try await channel.write(from: data, metadata: metadata, at: place) }
            }
            #expect(refused == .guardError, self.place)
        }

        private mutating func zero(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            for number in range { model.blocks[number] = model.zero(number) }
            let start = BdevOffset.block(UInt64(range.lowerBound)), count = BdevLength.blocks(UInt64(range.count))
            if Bool.random(using: &random) {
                try await channel.unmap(at: start, count: count)
            } else {
                try await channel.writeZeroes(at: start, count: count)
            }
        }

        private mutating func copy(_ channel: isolated BdevChannel) async throws {
            let source = range(), last = MallocPropertyTests.blockCount - source.count
            let target = Int.random(in: 0...last, using: &random)
            model.copy(from: source.lowerBound, to: target, source.count)
            try await channel.copy(
                from: .block(UInt64(source.lowerBound)), to: .block(UInt64(target)),
                count: .blocks(UInt64(source.count)))
        }

        private mutating func compare(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            var data = try buffer(model.bytes(range), channel)
            let place = BdevOffset.block(UInt64(range.lowerBound))
            try await channel.compare(data, at: place)
            data.flip(Int.random(in: 0..<data.byteCount, using: &random))
            let different = await status { try await channel.compare(data, at: place) }
            #expect(different == IOStatus(.miscompare), self.place)
        }

        private mutating func borrow(_ range: Range<Int>, _ channel: isolated BdevChannel) async throws {
            let start = BdevOffset.block(UInt64(range.lowerBound)), count = BdevLength.blocks(UInt64(range.count))
            var io = try await channel.startZeroCopy(at: start, count: count, populated: true)
            let old = model.bytes(range)
            let isSame = io.withBytes(ofSegment: 0) { found in
                old.indices.allSatisfy { unsafe found.unsafeLoad(fromByteOffset: $0, as: UInt8.self) == old[$0] }
            }
            #expect(isSame, place)
            for number in range {
                let block = model.random(number, &random)
                if shape.isInterleaved {
                    model.blocks[number] = block
                } else {
                    model.write(data: block.data, at: number)
                }
            }
            let new = model.bytes(range)
            io.withMutableBytes(ofSegment: 0) { bytes in
                for (place, byte) in new.enumerated() {
                    bytes.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
                }
            }
            try await io.end(commit: true)
        }
    }
}
