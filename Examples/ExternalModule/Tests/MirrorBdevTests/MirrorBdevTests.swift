import Bdev
import BdevConformance
import MallocBdev
import MirrorBdev
import Reactors
import Testing

@Suite struct MirrorBdevTests {
    /// Runs `body` with an engine that has RAM disks and mirrors.
    private func withEngine(
        _ body: (BdevEngine, MallocModule, MirrorModule) async throws -> Void
    ) async throws {
        // Tests run beside each other, and beside whatever else has a reactor on the core.
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        let engine = BdevEngine(group: group), malloc = MallocModule(), mirror = MirrorModule()
        try await engine.start([malloc, mirror])
        try await body(engine, malloc, mirror)
        await engine.stop()
    }

    @Test func `a virtual module of another package turns the blocks of a bdev around`() async throws {
        try await withEngine { engine, malloc, mirror in
            try await malloc.create(.init(name: "M", blockCount: 8))
            #expect(try await mirror.create("R", on: "M"))
            let mirrored = try await engine.open("R", mode: .readWrite), plain = try await engine.open("M")
            try await mirrored.withChannel(on: engine.reactors[0]) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 1024)
                buffer.store("first")
                buffer.store("second", at: 512)
                try await channel.write(from: buffer, at: .block(0))
            }
            try await plain.withChannel(on: engine.reactors[0]) { channel in
                var found = try channel.allocateBuffer(byteCount: 1024)
                var expected = try channel.allocateBuffer(byteCount: 1024)
                expected.fill(with: 0)
                expected.store("second")
                expected.store("first", at: 512)
                try await channel.read(at: .block(6), into: &found)
                #expect(found.bytes.unsafeLoad(as: UInt32.self) == expected.bytes.unsafeLoad(as: UInt32.self))
                let place = 512
                #expect(
                    found.bytes.unsafeLoad(fromByteOffset: place, as: UInt32.self)
                        == expected.bytes.unsafeLoad(fromByteOffset: place, as: UInt32.self))
            }
            await mirrored.close()
            await plain.close()
        }
    }

    @Test func `it waits for its base, goes with it and comes back`() async throws {
        try await withEngine { engine, malloc, mirror in
            #expect(try await !mirror.create("R", on: "M"))
            for _ in 0..<2 {
                try await malloc.create(.init(name: "M", blockCount: 8))
                await engine.waitForExamine()
                #expect(await engine.list().map(\.name) == ["M", "R"])
                try await malloc.delete("M")
                #expect(await engine.list().map(\.name) == [])
            }
        }
    }

    @Test func `it passes the conformance suite`() async throws {
        try await withEngine { engine, malloc, mirror in
            try await malloc.create(.init(name: "M", blockCount: 16_384))
            try await mirror.create("R", on: "M")
            try await ConformanceSuite(engine: engine, bdev: "R").run()
        }
    }
}
