import Bdev
import MallocBdev
import Reactors
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
