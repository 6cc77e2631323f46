import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Protection information")
struct ProtectionTests {
    struct Shape: Sendable, CustomStringConvertible {
        let type: UInt8
        let isInterleaved: Bool
        let isFirst: Bool
        let metadataByteCount: Int
        var description: String {
            "type \(type), \(isInterleaved ? "interleaved" : "separate"), \(isFirst ? "first" : "last"), "
                + "\(metadataByteCount) bytes"
        }

        /// Where the protection information is, in a block's metadata.
        var place: Int { isFirst ? 0 : metadataByteCount - 8 }

        static let all: [Shape] = (1...3).flatMap { type in
            [false, true].flatMap { isInterleaved in
                [(false, 8), (true, 8), (false, 16), (true, 16)].map { isFirst, count in
                    Shape(type: UInt8(type), isInterleaved: isInterleaved, isFirst: isFirst, metadataByteCount: count)
                }
            }
        }
    }

    /// Eight blocks as the host has them, and what they are written and read with.
    private struct Blocks: ~Copyable {
        var data: IOBuffer
        var metadata: IOBuffer
        let shape: Shape

        init(_ shape: Shape, on local: isolated LocalReactor) async {
            self.shape = shape
            data = await local.buffer(byteCount: 8 * (512 + (shape.isInterleaved ? shape.metadataByteCount : 0)))
            metadata = await local.buffer(byteCount: 8 * shape.metadataByteCount)
            for index in 0..<data.byteCount / 8 { data.store(UInt64(index) &* 0x9E37_79B9, at: index * 8) }
            for index in 0..<metadata.byteCount / 8 { metadata.store(UInt64(index) &* 0x85EB_CA6B, at: index * 8) }
        }

        /// A bytes of a block's protection information.
        subscript(block: Int, offset: Int) -> UInt8 {
            get {
                let place = shape.place + offset
                if shape.isInterleaved { return data.load(at: block * (512 + shape.metadataByteCount) + 512 + place) }
                return metadata.load(at: block * shape.metadataByteCount + place)
            }
            set {
                let place = shape.place + offset
                if shape.isInterleaved {
                    data.store(newValue, at: block * (512 + shape.metadataByteCount) + 512 + place)
                } else {
                    metadata.store(newValue, at: block * shape.metadataByteCount + place)
                }
            }
        }

        /// The guard, the application tag and the reference tag: of a block, in the order of their bytes.
        func tuple(_ block: Int) -> [UInt8] { (0..<8).map { self[block, $0] } }

        nonisolated(nonsending) func write(
            _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, at block: UInt64,
            _ options: NVMeQueuePair.BlockOptions = [], tags: NVMeProtectionTags? = nil
        ) async throws(NVMeError) {
            try await pair.write(namespace, at: block, data, metadata, options, tags)
        }

        nonisolated(nonsending) mutating func read(
            _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, at block: UInt64,
            _ options: NVMeQueuePair.BlockOptions = [], tags: NVMeProtectionTags? = nil
        ) async throws(NVMeError) {
            try await pair.read(namespace, at: block, &data, &metadata, options, tags)
        }
    }

    private func withNamespace(
        _ shape: Shape, zones: SoftZoneOptions? = nil,
        _ body:
            @escaping @Sendable (
                isolated LocalReactor, NVMeQueuePair, NVMeNamespace
            ) async throws -> Void
    ) throws {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 256)]
        options.namespaces[0].metadataByteCount = shape.metadataByteCount
        options.namespaces[0].isMetadataInterleaved = shape.isInterleaved
        options.namespaces[0].protectionType = shape.type
        options.namespaces[0].isProtectionFirst = shape.isFirst
        options.namespaces[0].zones = zones
        // So that transfers are cut, and tags go on from part to part.
        options.transferPageShift = 1
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            try await body(local, pair, await controller.namespaces[0])
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    private nonisolated(nonsending) func status(_ body: () async throws -> Void) async -> NVMeStatus? {
        do {
            try await body()
            return .success
        } catch { return (error as? NVMeError)?.status.map { NVMeStatus(type: $0.type, code: $0.code) } }
    }

    private static let checks: NVMeQueuePair.BlockOptions = [.checksGuard, .checksApplicationTag]

    @Test(arguments: Shape.all)
    func `is made and checked by the controller, which moves it only where it is not all the metadata`(
        shape: Shape
    ) throws {
        try withNamespace(shape) { local, pair, namespace in
            #expect(namespace.identity.protectionType == Int(shape.type))
            #expect(namespace.identity.isProtectionFirst == shape.isFirst)
            let strips = shape.metadataByteCount == 8
            var plain = await local.buffer(byteCount: 24 * 512), found = await local.buffer(byteCount: 24 * 512)
            var blocks = await Blocks(shape, on: local)
            for index in 0..<plain.byteCount / 8 { plain.store(UInt64(index), at: index * 8) }
            let checks = shape.type == 3 ? Self.checks : Self.checks.union(.checksReferenceTag)
            if strips {
                try await pair.write(namespace, at: 40, from: plain, options: .protectionAction)
                try await pair.read(namespace, at: 40, into: &found, options: checks.union(.protectionAction))
                let isSame = found.copied() == plain.copied()
                #expect(isSame)
            } else {
                try await blocks.write(pair, namespace, at: 40, .protectionAction)
                try await blocks.read(pair, namespace, at: 40, checks.union(.protectionAction))
            }
            try await blocks.read(pair, namespace, at: 40, checks)
            for block in 0..<8 {
                let tag = shape.type == 3 ? 40 : UInt8(40 + block)
                #expect(Array(blocks.tuple(block)[2...]) == [0, 0, 0, 0, 0, tag], "\(shape), block \(block)")
            }
            try await pair.verify(namespace, at: 40, count: strips ? 24 : 8, options: checks)
        }
    }

    @Test func `has the checksum that T10 says`() throws {
        // Of 32 bytes of zeros it is 0; of 512 bytes of ones it is what others compute, too.
        let shape = Shape(type: 2, isInterleaved: false, isFirst: false, metadataByteCount: 8)
        try withNamespace(shape) { local, pair, namespace in
            var blocks = await Blocks(shape, on: local)
            blocks.data.fill(with: 0xFF)
            var ones = await local.buffer(byteCount: 8 * 512)
            ones.fill(with: 0xFF)
            try await pair.write(namespace, at: 0, from: ones, options: .protectionAction)
            try await blocks.read(pair, namespace, at: 0)
            var sum: UInt32 = 0
            for _ in 0..<512 {
                sum ^= 0xFF00
                for _ in 0..<8 { sum = sum & 0x8000 != 0 ? (sum << 1 ^ 0x18BB7) & 0xFFFF : sum << 1 }
            }
            #expect(Array(blocks.tuple(0)[..<2]) == [UInt8(sum >> 8), UInt8(sum & 0xFF)])
        }
    }

    /// Type 3 has no reference tags to check.
    private static func union(
        of options: [NVMeQueuePair.BlockOptions], type: UInt8
    ) -> NVMeQueuePair.BlockOptions {
        var result: NVMeQueuePair.BlockOptions = []
        for option in options where type != 3 || option != .checksReferenceTag { result.formUnion(option) }
        return result
    }

    @Test(arguments: Shape.all)
    func `that is wrong is found as it is written, by what the command has checked`(shape: Shape) throws {
        try withNamespace(shape) { local, pair, namespace in
            var blocks = await Blocks(shape, on: local)
            // Right ones, to begin with.
            if shape.metadataByteCount == 8 {
                let plain = await local.buffer(byteCount: 8 * 512)
                try await pair.write(namespace, at: 0, from: plain, options: .protectionAction)
            } else {
                try await blocks.write(pair, namespace, at: 0, .protectionAction)
            }
            try await blocks.read(pair, namespace, at: 0)
            let flaws: [(offset: Int, option: NVMeQueuePair.BlockOptions, status: NVMeStatus)] = [
                (0, .checksGuard, .guardCheckError), (3, .checksApplicationTag, .applicationTagCheckError),
                (7, .checksReferenceTag, .referenceTagCheckError),
            ]
            for (offset, option, expected) in flaws where shape.type != 3 || option != .checksReferenceTag {
                blocks[5, offset] ^= 1
                let others = Self.union(of: flaws.map(\.option).filter { $0 != option }, type: shape.type)
                #expect(
                    await status {
                        try await blocks.write(pair, namespace, at: 0, option)
                    } == expected)
                // Written unchecked, it is found as it is read, compared and verified.
                try await blocks.write(pair, namespace, at: 0, others)
                #expect(
                    await status { try await blocks.read(pair, namespace, at: 0, option) }
                        == expected)
                #expect(
                    await status {
                        try await pair.verify(namespace, at: 0, count: 8, options: option)
                    } == expected)
                #expect(
                    await status { try await blocks.read(pair, namespace, at: 0, others) }
                        == .success)
                blocks[5, offset] ^= 1
            }
        }
    }

    @Test(arguments: 1...3)
    func `is not checked of blocks whose tags say so`(type: UInt8) throws {
        let shape = Shape(type: type, isInterleaved: false, isFirst: false, metadataByteCount: 8)
        try withNamespace(shape) { local, pair, namespace in
            var blocks = await Blocks(shape, on: local)
            // Nobody has written them.
            try await blocks.read(pair, namespace, at: 8, Self.checks)
            #expect(blocks.tuple(0) == Array(repeating: 0xFF, count: 8))
            for block in 0..<8 {
                (blocks[block, 0], blocks[block, 2], blocks[block, 3]) = (UInt8(block), 0xFF, 0xFF)
                for offset in 4..<8 { blocks[block, offset] = 0xFE }
            }
            // Type 3 wants the reference tag to say it as well.
            let expected: NVMeStatus = type == 3 ? .guardCheckError : .success
            #expect(
                await status {
                    try await blocks.write(pair, namespace, at: 8, Self.checks)
                } == expected)
            for block in 0..<8 { for offset in 4..<8 { blocks[block, offset] = 0xFF } }
            try await blocks.write(pair, namespace, at: 8, Self.checks)
            try await blocks.read(pair, namespace, at: 8, Self.checks)
        }
    }

    @Test func `has tags that the user chooses`() throws {
        let shape = Shape(type: 2, isInterleaved: false, isFirst: false, metadataByteCount: 8)
        try withNamespace(shape) { local, pair, namespace in
            var tags = NVMeProtectionTags(referenceTag: 0xFFFF_FFFE)
            tags.applicationTag = 0x1234
            let plain = await local.buffer(byteCount: 24 * 512)
            try await pair.write(namespace, at: 8, from: plain, options: .protectionAction, tags: tags)
            var blocks = await Blocks(shape, on: local)
            let all: NVMeQueuePair.BlockOptions = [.checksGuard, .checksApplicationTag, .checksReferenceTag]
            try await blocks.read(pair, namespace, at: 8, all, tags: tags)
            #expect(Array(blocks.tuple(2)[2...]) == [0x12, 0x34, 0, 0, 0, 0])
            #expect(
                await status { try await blocks.read(pair, namespace, at: 8, all) }
                    == .applicationTagCheckError)
            // Only the bits of the mask.
            tags.applicationTag = 0x0234
            tags.applicationTagMask = 0x0FFF
            try await blocks.read(pair, namespace, at: 8, all, tags: tags)
            tags.referenceTag &+= 1
            #expect(
                await status {
                    try await blocks.read(pair, namespace, at: 8, all, tags: tags)
                } == .referenceTagCheckError)
        }
    }

    @Test func `of types 1 and 3 does not take any reference tag`() throws {
        for type in [UInt8(1), 3] {
            let shape = Shape(type: type, isInterleaved: false, isFirst: false, metadataByteCount: 8)
            try withNamespace(shape) { local, pair, namespace in
                var buffer = await local.buffer(byteCount: 512)
                let ended = await status {
                    try await pair.read(
                        namespace, at: 8, into: &buffer, options: [.protectionAction, .checksReferenceTag],
                        tags: NVMeProtectionTags(referenceTag: 9))
                }
                #expect(ended == .invalidProtectionInformation)
            }
        }
    }

    @Test func `is right after zeroes were written, and differs in a comparison only where data does`() throws {
        let shape = Shape(type: 1, isInterleaved: false, isFirst: false, metadataByteCount: 8)
        try withNamespace(shape) { local, pair, namespace in
            let all: NVMeQueuePair.BlockOptions = [.protectionAction, .checksGuard, .checksReferenceTag]
            var buffer = await local.buffer(byteCount: 8 * 512)
            buffer.fill(with: 3)
            try await pair.write(namespace, at: 16, from: buffer, options: .protectionAction)
            try await pair.compare(namespace, at: 16, with: buffer, options: all)
            buffer.fill(with: 4)
            #expect(
                await status {
                    try await pair.compare(namespace, at: 16, with: buffer, options: all)
                } == .compareFailure)
            try await pair.writeZeroes(namespace, at: 16, count: 8, options: .protectionAction)
            try await pair.read(namespace, at: 16, into: &buffer, options: all)
            #expect(buffer.copied().allSatisfy { $0 == 0 })
            var blocks = await Blocks(shape, on: local)
            try await blocks.read(pair, namespace, at: 16)
            #expect(blocks.tuple(3) == [0, 0, 0, 0, 0, 0, 0, 19])
            try await pair.deallocate(namespace, [BlockRange(start: 16, count: 8)])
            try await blocks.read(pair, namespace, at: 16, Self.checks)
            #expect(blocks.tuple(3) == Array(repeating: 0xFF, count: 8))
        }
    }

    @Test(arguments: 1...3)
    func `of what is appended to a zone is that of where it goes`(type: UInt8) throws {
        let shape = Shape(type: type, isInterleaved: false, isFirst: false, metadataByteCount: 8)
        try withNamespace(shape, zones: SoftZoneOptions(blockCount: 64)) { local, pair, namespace in
            let all = type == 3 ? Self.checks : Self.checks.union(.checksReferenceTag)
            let buffer = await local.buffer(byteCount: 8 * 512)
            for place in [UInt64(64), 72] {
                #expect(try await pair.append(namespace, zone: 64, from: buffer, options: .protectionAction) == place)
            }
            var blocks = await Blocks(shape, on: local)
            try await blocks.read(pair, namespace, at: 72, type == 3 ? all : all)
            #expect(blocks[3, 7] == (type == 3 ? 64 : 75))
            // The host's own, which count from the zone's start.
            try await blocks.read(pair, namespace, at: 64)
            if type == 3 {
                let place = try await pair.append(namespace, zone: 64, from: blocks.data, metadata: blocks.metadata)
                #expect(place == 80)
            } else {
                let place = try await pair.append(
                    namespace, zone: 64, from: blocks.data, metadata: blocks.metadata, options: all)
                #expect(place == 80)
                try await blocks.read(pair, namespace, at: 80, all)
                #expect(blocks[7, 7] == 87)
            }
            blocks[0, 0] ^= 1
            #expect(
                await status {
                    _ = try await pair.append(
                        namespace, zone: 64, from: blocks.data, metadata: blocks.metadata, options: .checksGuard)
                } == .guardCheckError)
            #expect(try await pair.zones(namespace, from: 64, count: 1)[0].writePointer == 88)
        }
    }
}
