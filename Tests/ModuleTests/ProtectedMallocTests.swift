import Bdev
import MallocBdev
import NullBdev
import Reactors
import Testing

/// RAM disks whose blocks have metadata.
struct ProtectedMallocTests {
    private static func options(_ shape: BlockShape, blockCount: UInt64 = 64) -> MallocModule.Options {
        var options = MallocModule.Options(name: "M", blockCount: blockCount, blockByteCount: shape.dataByteCount)
        options.metadata = shape.metadata
        return options
    }

    private static func simulate(
        _ shape: BlockShape, _ body: @escaping @Sendable (isolated BdevChannel) async throws -> Void
    ) throws {
        try simulateLeaves { here, engine, _, malloc in
            try await malloc.create(options(shape))
            try await engine.withChannel("M", on: here.reactor, body)
        }
    }

    /// A block that a test has made, and how it is written and read.
    private struct Block: ~Copyable {
        let shape: BlockShape
        var data: IOBuffer
        var metadata: IOBuffer

        init(_ shape: BlockShape, on channel: isolated BdevChannel) throws {
            var data = try channel.allocateBuffer(byteCount: shape.blockByteCount)
            var metadata = try channel.allocateBuffer(byteCount: shape.metadata.byteCount)
            data.fill(seed: 5)
            metadata.fill(seed: 6)
            self.shape = shape
            self.data = data
            self.metadata = metadata
        }

        private var metadataApart: IOMemory? { shape.isInterleaved ? nil : metadata.memory }

        func protect(_ tags: ProtectionTags) {
            shape.protection?.generate(Segments(data.memory), metadata: metadataApart, blockCount: 1, tags: tags)
        }

        func verify(_ tags: ProtectionTags) throws(ProtectionFailure) {
            try shape.protection?.verify(Segments(data.memory), metadata: metadataApart, blockCount: 1, tags: tags)
        }

        func write(_ channel: isolated BdevChannel, at block: UInt64, _ options: IOOptions = IOOptions()) async throws {
            if shape.isInterleaved {
                try await channel.write(from: data, at: .block(block), options: options)
            } else {
                try await channel.write(from: data, metadata: metadata, at: .block(block), options: options)
            }
        }

        mutating func read(
            _ channel: isolated BdevChannel, at block: UInt64, _ options: IOOptions = IOOptions()
        ) async throws {
            if shape.isInterleaved {
                try await channel.read(at: .block(block), into: &data, options: options)
            } else {
                try await channel.read(at: .block(block), into: &data, metadata: &metadata, options: options)
            }
        }
    }

    /// What is wrong with a block, and the check that finds it.
    private static func damages(
        _ shape: BlockShape
    ) -> [(tags: ProtectionTags, flips: Bool, status: IOStatus, check: ProtectionInformation.Checks)] {
        let right = ProtectionTags(referenceTag: 9)
        var damages = [
            (right, true, IOStatus.guardError, ProtectionInformation.Checks.guard),
            (
                ProtectionTags(referenceTag: 9, applicationTag: 3), false, .applicationTagError, .applicationTag
            ),
        ]
        if shape.metadata.protection?.type != .type3 {
            damages.append((ProtectionTags(referenceTag: 8), false, .referenceTagError, .referenceTag))
        }
        return damages
    }

    @Test(arguments: BlockShape.allProtected)
    func `a wrong guard, application tag or reference tag is refused by a write and found by a read`(
        _ shape: BlockShape
    ) throws {
        try Self.simulate(shape) { channel in
            for (tags, flips, wanted, check) in Self.damages(shape) {
                var bad = try Block(shape, on: channel)
                bad.protect(tags)
                if flips { bad.data.flip(100) }
                var before = try Block(shape, on: channel)
                try await before.read(channel, at: 9)
                let refused = await status { try await bad.write(channel, at: 9) }
                #expect(refused == wanted)
                var after = try Block(shape, on: channel)
                try await after.read(channel, at: 9)
                let isSame = before.data.contentEquals(after.data) && before.metadata.contentEquals(after.metadata)
                #expect(isSame, "a refused write has changed nothing")

                var options = IOOptions()
                options.excludedChecks = check
                try await bad.write(channel, at: 9, options)
                let found = await status { try await after.read(channel, at: 9) }
                #expect(found == wanted)
                try await after.read(channel, at: 9, options)
                let isThere = bad.data.contentEquals(after.data)
                #expect(isThere)
                try await channel.writeZeroes(at: .block(9), count: .blocks(1))
            }
        }
    }

    @Test(arguments: BlockShape.allProtected)
    func `new, unmapped and zeroed blocks are zeros with valid protection`(_ shape: BlockShape) throws {
        try Self.simulate(shape) { channel in
            var block = try Block(shape, on: channel)
            var zeros = try channel.allocateBuffer(byteCount: shape.dataByteCount)
            zeros.fill(with: 0)
            for change in 0..<3 {
                if change == 1 { try await channel.unmap(at: .block(1), count: .blocks(60)) }
                if change == 2 { try await channel.writeZeroes(at: .block(1), count: .blocks(60)) }
                for number in [UInt64(0), 1, 33, 60, 63] {
                    try await block.read(channel, at: number)
                    try block.verify(ProtectionTags(referenceTag: number))
                    let data = block.data.memory.slice(from: 0, count: shape.dataByteCount)
                    let isZero = data.contentEquals(zeros.memory)
                    #expect(isZero)
                }
                let full = try Block(shape, on: channel)
                for number in [UInt64(1), 33, 60] {
                    full.protect(ProtectionTags(referenceTag: number))
                    try await full.write(channel, at: number)
                }
            }
        }
    }

    @Test(arguments: BlockShape.allProtected)
    func `a copy has the reference tags of its new place, and damage is not copied`(_ shape: BlockShape) throws {
        try Self.simulate(shape) { channel in
            var block = try Block(shape, on: channel)
            block.protect(ProtectionTags(referenceTag: 3))
            try await block.write(channel, at: 3)
            try await channel.copy(from: .block(3), to: .block(40), count: .blocks(2))
            var copy = try Block(shape, on: channel)
            try await copy.read(channel, at: 40)
            let isType3 = shape.metadata.protection?.type == .type3
            try copy.verify(ProtectionTags(referenceTag: isType3 ? 3 : 40))
            try await copy.read(channel, at: 41)
            try copy.verify(ProtectionTags(referenceTag: isType3 ? 4 : 41))

            block.data.flip(7)
            var unchecked = IOOptions()
            unchecked.excludedChecks = .all
            try await block.write(channel, at: 3, unchecked)
            let refused = await status { try await channel.copy(from: .block(3), to: .block(50), count: .blocks(1)) }
            #expect(refused == .guardError)
            try await copy.read(channel, at: 50)
            try copy.verify(ProtectionTags(referenceTag: 50))
        }
    }

    @Test(arguments: BlockShape.allProtected)
    func `memory on loan is checked, or protected where its metadata is apart`(_ shape: BlockShape) throws {
        try Self.simulate(shape) { channel in
            var io = try await channel.startZeroCopy(at: .block(5), count: .blocks(2), populated: true)
            io.withMutableBytes(ofSegment: 0) { $0.storeBytes(of: 0xAB, toByteOffset: 17, as: UInt8.self) }
            let committed = await Self.end(io)
            #expect(committed == (shape.isInterleaved ? .guardError : .success))
            var block = try Block(shape, on: channel)
            let found = await status { try await block.read(channel, at: 5) }
            #expect(found == committed)
            let again = await status {
                try await channel.startZeroCopy(at: .block(5), count: .blocks(1), populated: true).end(commit: false)
            }
            #expect(again == committed)
        }
    }

    private static func end(_ io: consuming ZeroCopyIO) async -> IOStatus {
        do throws(BdevError) {
            try await io.end(commit: true)
            return .success
        } catch {
            return error.status ?? .failed
        }
    }

    @Test func `metadata that is apart stays when a write comes without, unless it is protection`() throws {
        let own = BlockShape(dataByteCount: 512, metadata: BlockMetadata(byteCount: 16, isInterleaved: false))
        try Self.simulate(own) { channel in
            let block = try Block(own, on: channel)
            try await block.write(channel, at: 7)
            var data = try channel.allocateBuffer(byteCount: 512)
            data.fill(with: 9)
            try await channel.write(from: data, at: .block(7))
            var found = try Block(own, on: channel)
            found.metadata.fill(with: 0)
            try await found.read(channel, at: 7)
            let isSame = found.metadata.contentEquals(block.metadata) && found.data.contentEquals(data)
            #expect(isSame)
        }
        let protected = BlockShape(
            dataByteCount: 512,
            metadata: BlockMetadata(byteCount: 16, isInterleaved: false, protection: ProtectionInformation(.type1)))
        try Self.simulate(protected) { channel in
            var block = try Block(protected, on: channel)
            try await channel.write(from: block.data, at: .block(7))
            try await channel.read(at: .block(7), into: &block.data)
            try await block.read(channel, at: 7)
            try block.verify(ProtectionTags(referenceTag: 7))
        }
    }

    @Test func `what cannot be metadata is refused`() async throws {
        try await Bench.run { bench in
            func refuse(_ text: String, _ change: (inout MallocModule.Options) -> Void) async {
                var options = MallocModule.Options(name: "M", blockCount: 8, blockByteCount: 512)
                change(&options)
                let message = await expect(.invalidGeometry) { [options] in try await bench.malloc.create(options) }
                #expect(message.contains(text))
            }
            for size in [-8, 1, 7, 9, 24, 256] {
                await refuse("8, 16, 32, 64 or 128") { $0.metadata = BlockMetadata(byteCount: size) }
            }
            for format in [ProtectionInformation.Format.guard32, .guard64] {
                let information = ProtectionInformation(.type1, format: format)
                await refuse("at least 16") {
                    $0.metadata = BlockMetadata(byteCount: 8, protection: information)
                    $0.blockByteCount = 4096
                }
                await refuse("multiple of 4096") {
                    $0.metadata = BlockMetadata(byteCount: 16, protection: information)
                }
            }
            await refuse("storage tag") {
                $0.metadata = BlockMetadata(
                    byteCount: 16, protection: ProtectionInformation(.type1, storageTagBitCount: 33))
            }
            await refuse("physical blocks") { $0.physicalBlockByteCount = 100 }
            await refuse("physical blocks") { $0.physicalBlockByteCount = -512 }
            #expect(await bench.engine.list().isEmpty)
        }
    }

    @Test func `sizes are announced as they were asked for`() async throws {
        try await Bench.run { bench in
            var options = MallocModule.Options(name: "A", blockCount: 8)
            try await bench.malloc.create(options)
            #expect(try await bench.engine.info("A").geometry.physicalBlockByteCount == 512)
            options.name = "B"
            options.physicalBlockByteCount = 4096
            options.metadata = BlockMetadata(byteCount: 8, protection: ProtectionInformation(.type1, placement: .head))
            try await bench.malloc.create(options)
            let geometry = try await bench.engine.info("B").geometry
            #expect(geometry.physicalBlockByteCount == 4096)
            #expect(geometry.blockByteCount == 520 && geometry.dataByteCountPerBlock == 512)
            #expect(geometry.protection == ProtectionInformation(.type1, placement: .head))
            #expect(geometry.hasWriteCache)
        }
    }
}
