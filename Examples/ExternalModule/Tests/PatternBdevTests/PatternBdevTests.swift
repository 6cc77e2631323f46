import Bdev
import PatternBdev
import Reactors
import Testing

@Suite struct PatternBdevTests {
    /// Tests run beside each other, and beside whatever else has a reactor on the core.
    private var options: ReactorOptions {
        var options = ReactorOptions()
        options.locksCores = false
        return options
    }

    @Test func `a module of another package serves reads, refuses wrong data and takes right data`() async throws {
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        let engine = BdevEngine(group: group)
        let module = PatternModule()
        try await engine.register(module)
        try await module.create(name: "Pattern0", blockCount: 1000)
        let bdev = try await engine.open("Pattern0", mode: .readWrite)
        try await bdev.withChannel(on: group.reactors[0]) { channel in
            var buffer = try channel.allocateBuffer(byteCount: 1024)
            try await channel.read(at: .block(258), into: &buffer)
            #expect(buffer.bytes.byteCount == 1024)
            let first = buffer.bytes.unsafeLoad(fromByteOffset: 0, as: UInt64.self)
            let second = buffer.bytes.unsafeLoad(fromByteOffset: 512, as: UInt64.self)
            #expect(first == 258)
            #expect(second == 259)
            try await channel.write(from: buffer, at: .block(258))
            do {
                try await channel.write(from: buffer, at: .block(7))
                Issue.record("wrong data was taken")
            } catch let error as BdevError { #expect(error.code == .miscompare) }
        }
        await bdev.close()
        await engine.stop()
    }

    @Test func `a module written as one async function performs many requests at once`() async throws {
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        let engine = BdevEngine(group: group)
        let module = SlowPatternModule()
        try await engine.register(module)
        try await module.create(name: "Slow0", blockCount: 1000)
        let bdev = try await engine.open("Slow0")
        try await bdev.withChannel(on: group.reactors[0]) { channel in
            var batch = IOBatch(capacity: 32)
            for block in 0..<32 {
                batch.read(into: try channel.allocateBuffer(byteCount: 512), at: .block(UInt64(block)))
            }
            try await channel.perform(&batch)
            for index in 0..<32 {
                let byte = batch.withBuffer(index) { $0.bytes.unsafeLoad(fromByteOffset: 511, as: UInt8.self) }
                #expect(byte == 0x5A)
            }
        }
        await bdev.close()
        await engine.stop()
    }
}
