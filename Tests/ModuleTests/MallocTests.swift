import Bdev
import ErrorBdev
import MallocBdev
import PassthruBdev
import Reactors
import SplitBdev
import Testing

struct MallocTests {
    @Test func `names are numbered, and numbers that are taken are passed over`() async throws {
        try await Bench.run { bench in
            #expect(try await bench.malloc.create(.init(blockCount: 8)) == "Malloc0")
            try await bench.malloc.create(.init(name: "Malloc1", blockCount: 8))
            #expect(try await bench.malloc.create(.init(blockCount: 8)) == "Malloc2")
        }
    }

    @Test func `impossible disks are refused, and nothing is left behind`() async throws {
        try await Bench.run { bench in
            await expect(.invalidGeometry) { try await bench.malloc.create(.init(blockCount: 0)) }
            for size in [0, -512, 511, 513, 4097] {
                let text = await expect(.invalidGeometry) {
                    try await bench.malloc.create(.init(blockCount: 8, blockByteCount: size))
                }
                #expect(text.contains("multiple of 512"))
            }
            await expect(.invalidGeometry) { try await bench.malloc.create(.init(blockCount: .max)) }
            await expect(.invalidGeometry) { try await bench.malloc.create(.init(blockCount: 1 << 54)) }
            await expect(.invalidArgument) {
                var options = MallocModule.Options(blockCount: 8)
                options.node = 77
                try await bench.malloc.create(options)
            }
            #expect(await bench.engine.list().isEmpty)
        }
    }

    @Test func `a name or UUID in use is refused`() async throws {
        try await Bench.run { bench in
            var options = MallocModule.Options(name: "A", blockCount: 8)
            options.uuid = BdevUUID("00112233-4455-6677-8899-aabbccddeeff")
            try await bench.malloc.create(options)
            await expect(.nameInUse) { try await bench.malloc.create(.init(name: "A", blockCount: 8)) }
            options.name = nil
            await expect(.nameInUse) { [options] in try await bench.malloc.create(options) }
            #expect(try await bench.engine.info("A").uuid.description == "00112233-4455-6677-8899-aabbccddeeff")
        }
    }

    @Test func `a new disk is all zeros, and a deleted one is gone`() async throws {
        try await Bench.run { bench in
            try await bench.malloc.create(.init(name: "A", blockCount: 64))
            try await bench.withChannel("A") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 64 * 512)
                var zeros = try channel.allocateBuffer(byteCount: 64 * 512)
                buffer.fill(with: 1)
                zeros.fill(with: 0)
                try await channel.read(at: .block(0), into: &buffer)
                let isZero = buffer.contentEquals(zeros)
                #expect(isZero)
            }
            try await bench.malloc.delete("A")
            await expect(.noSuchBdev) { _ = try await bench.engine.open("A") }
            await expect(.noSuchBdev) { try await bench.malloc.delete("A") }
        }
    }

    @Test func `memory of a node is taken from it`() async throws {
        try await Bench.run { bench in
            var options = MallocModule.Options(name: "A", blockCount: 64)
            options.node = 0
            try await bench.malloc.create(options)
            #expect(try await bench.engine.info("A").geometry.node == 0)
        }
    }
}

/// What RAM disks do without the layer's help.
struct MallocOperationTests {
    private static func simulate(_ body: @escaping @Sendable (isolated BdevChannel) async throws -> Void) throws {
        try simulateLeaves { here, engine, _, malloc in
            try await malloc.create(.init(name: "M", blockCount: 64))
            let descriptor = try await engine.open("M")
            for type in [IOType.compare, .copy, .zeroCopy, .abort] {
                #expect(descriptor.supportsNatively(type), "\(type)")
            }
            await descriptor.close()
            try await engine.withChannel("M", on: here.reactor, body)
        }
    }

    @Test func `a difference is found in whatever block and segment it is`() throws {
        try Self.simulate { channel in
            var data = try channel.allocateBuffer(byteCount: 8 * 512)
            data.fill(seed: 3)
            try await channel.write(from: data, at: .block(10))
            try await channel.compare(data, at: .block(10))
            for place in [0, 511, 2048, 8 * 512 - 1] {
                data.flip(place)
                let found = await status { try await channel.compare(data, at: .block(10)) }
                #expect(found == IOStatus(.miscompare))
                var list = IOBufferList(capacity: 2)
                for (offset, length) in [(0, 700), (700, 8 * 512 - 700)] {
                    var piece = try channel.allocateBuffer(byteCount: length)
                    piece.store(Array(data.array[offset..<offset + length]))
                    list.append(piece)
                }
                let inPieces = await status { try await channel.compare(list, at: .block(10)) }
                #expect(inPieces == IOStatus(.miscompare))
                data.flip(place)
            }
        }
    }

    @Test func `blocks are copied to where they do not overlap and to where they do`() throws {
        try Self.simulate { channel in
            var data = try channel.allocateBuffer(byteCount: 8 * 512)
            data.fill(seed: 4)
            for target in [UInt64(40), 12, 8, 10] {
                try await channel.write(from: data, at: .block(10))
                try await channel.copy(from: .block(10), to: .block(target), count: .blocks(8))
                var copy = try channel.allocateBuffer(byteCount: 8 * 512)
                try await channel.read(at: .block(target), into: &copy)
                let isSame = copy.contentEquals(data)
                #expect(isSame, "a copy to block \(target)")
            }
        }
    }

    @Test func `lent memory is that of the disk, for everyone who borrows it`() throws {
        try Self.simulate { channel in
            var data = try channel.allocateBuffer(byteCount: 4 * 512)
            data.fill(seed: 6)
            try await channel.write(from: data, at: .block(20))
            var first = try await channel.startZeroCopy(at: .block(20), count: .blocks(4), populated: true)
            let second = try await channel.startZeroCopy(at: .block(22), count: .blocks(2), populated: true)
            #expect(first.segmentCount == 1)
            let found = first.withBytes(ofSegment: 0) { unsafe $0.unsafeLoad(fromByteOffset: 1024, as: UInt8.self) }
            let wanted: UInt8 = data.load(at: 1024)
            #expect(found == wanted)
            first.withMutableBytes(ofSegment: 0) { $0.storeBytes(of: ~wanted, toByteOffset: 1024, as: UInt8.self) }
            let seen = second.withBytes(ofSegment: 0) { unsafe $0.unsafeLoad(fromByteOffset: 0, as: UInt8.self) }
            #expect(seen == ~wanted)
            try await second.end(commit: false)
            try await first.end(commit: true)
            data.store(~wanted, at: 1024)
            try await channel.compare(data, at: .block(20))
            await expect(.outOfRange) {
                try await channel.startZeroCopy(at: .block(63), count: .blocks(2), populated: false).end(commit: false)
            }
        }
    }

    @Test func `memory is lent through all that stands on the disk`() throws {
        try simulateStack { here, engine, top in
            let descriptor = try await engine.open(top)
            #expect(descriptor.supportsNatively(.zeroCopy) && descriptor.supportsNatively(.copy))
            await descriptor.close()
            try await engine.withChannel(top, on: here.reactor) { channel in
                var io = try await channel.startZeroCopy(at: .block(3), count: .blocks(2), populated: true)
                io.withMutableBytes(ofSegment: 0) { $0.storeBytes(of: 0x5A, toByteOffset: 513, as: UInt8.self) }
                try await io.end(commit: true)
                try await channel.copy(from: .block(4), to: .block(9), count: .blocks(1))
            }
            // The part begins at block 32 of the disk.
            try await engine.withChannel("M", on: here.reactor, mode: .readOnly) { channel in
                for block in [UInt64(36), 41] {
                    var found = try channel.allocateBuffer(byteCount: 512)
                    try await channel.read(at: .block(block), into: &found)
                    let byte: UInt8 = found.load(at: 1)
                    #expect(byte == 0x5A)
                }
            }
        }
    }

    /// An error bdev on passthru on the second half of a disk.
    private func simulateStack(
        _ body: @escaping @Sendable (isolated LocalReactor, BdevEngine, String) async throws -> Void
    ) throws {
        try simulateLeaves { here, engine, _, malloc in
            let split = SplitModule(), passthru = PassthruModule(), error = ErrorModule()
            try await engine.start([split, passthru, error])
            try await malloc.create(.init(name: "M", blockCount: 64))
            try await split.create(on: "M", count: 2)
            try await passthru.create("P", on: "Mp1")
            try await error.create(on: "P")
            try await body(here, engine, "EE_P")
        }
    }
}
