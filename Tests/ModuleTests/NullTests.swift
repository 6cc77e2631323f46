import Bdev
import NullBdev
import Reactors
import Testing

struct NullTests {
    private static func options(_ shape: BlockShape, completesFromPoller: Bool = false) -> NullModule.Options {
        var options = NullModule.Options(name: "N", blockCount: 64)
        options.blockByteCount = shape.dataByteCount
        options.metadata = shape.metadata
        options.completesFromPoller = completesFromPoller
        return options
    }

    @Test(arguments: BlockShape.protected(isInterleaved: true), [false, true])
    func `what is read has protection information, and that of what is written is checked`(
        _ shape: BlockShape, completesFromPoller: Bool
    ) throws {
        try simulateLeaves { here, engine, null, _ in
            try await null.create(Self.options(shape, completesFromPoller: completesFromPoller))
            let protection = try #require(shape.protection)
            try await engine.withChannel("N", on: here.reactor) { channel in
                var blocks = try channel.allocateBuffer(byteCount: 3 * shape.blockByteCount)
                blocks.fill(seed: 7)
                let unprotected = await status { try await channel.write(from: blocks, at: .block(9)) }
                #expect(unprotected == .guardError)
                try await channel.read(at: .block(9), into: &blocks)
                try protection.verify(blocks.bytes, tags: ProtectionTags(referenceTag: 9))
                try await channel.write(from: blocks, at: .block(9))
                let elsewhere = await status { try await channel.write(from: blocks, at: .block(8)) }
                #expect(elsewhere == (shape.metadata.protection?.type == .type3 ? .success : .referenceTagError))

                blocks.flip(2 * shape.blockByteCount)
                let damaged = await status { try await channel.write(from: blocks, at: .block(9)) }
                #expect(damaged == .guardError)
                var unchecked = IOOptions()
                unchecked.excludedChecks = .guard
                try await channel.write(from: blocks, at: .block(9), options: unchecked)
                try await channel.writeZeroes(at: .block(0), count: .blocks(64))
            }
        }
    }

    @Test func `it offers reads, writes, zeroes, resets and aborts, and nothing else of its own`() throws {
        try simulateLeaves { _, engine, null, _ in
            try await null.create(.init(name: "N", blockCount: 8))
            let descriptor = try await engine.open("N")
            let own: Set<IOType> = [.read, .write, .writeZeroes, .reset, .abort]
            for type in IOType.allCases { #expect(descriptor.supportsNatively(type) == own.contains(type), "\(type)") }
            await descriptor.close()
        }
    }

    @Test func `an I/O that waits for the next turn is given up when it is aborted, and the others stay`() throws {
        try simulateLeaves { here, engine, null, _ in
            var options = NullModule.Options(name: "N", blockCount: 64)
            options.completesFromPoller = true
            try await null.create(options)
            try await engine.withChannel("N", on: here.reactor) { channel in
                let seen = Seen()
                for tag in UInt64(0)..<5 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(tag), tag: tag, handler: seen)
                }
                #expect(channel.engine.abort(tag: 2, of: seen) == 1)
                #expect(channel.engine.abort(tag: 2, of: seen) == 0)
                while seen.order.count < 5 { await channel.reactor.yieldTurn() }
                #expect(seen.aborted == [2])
                #expect(seen.order.filter { $0 != 2 } == [0, 1, 3, 4])
            }
        }
    }

    /// Remembers what completed.
    private final class Seen: IOHandler {
        var order: [UInt64] = []
        var aborted: [UInt64] = []

        override func ioCompleted(_ completion: consuming IOCompletion) {
            order.append(completion.tag)
            if completion.status == .aborted { aborted.append(completion.tag) }
        }
    }

    @Test func `it grows while it is open, and shrinks when nobody has it open`() throws {
        try simulateLeaves { here, engine, null, _ in
            try await null.create(.init(name: "N", blockCount: 8))
            try await engine.withChannel("N", on: here.reactor) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 512)
                try await null.resize("N", blockCount: 16)
                try await channel.read(at: .block(15), into: &buffer)
                do {
                    try await null.resize("N", blockCount: 15)
                    Issue.record("it shrank under somebody")
                } catch {
                    #expect((error as? BdevError)?.code == .busy)
                }
                try await channel.read(at: .block(15), into: &buffer)
            }
            try await null.resize("N", blockCount: 4)
            #expect(try await engine.info("N").geometry.blockCount == 4)
            await expect(.invalidGeometry) { try await null.resize("N", blockCount: 0) }
            await expect(.noSuchBdev) { try await null.resize("X", blockCount: 1) }
            #expect(try await engine.info("N").geometry.blockCount == 4)
        }
    }

    @Test func `impossible sizes are refused, and what is possible is announced`() throws {
        try simulateLeaves { _, engine, null, _ in
            func refuse(_ text: String, _ change: (inout NullModule.Options) -> Void) async {
                var options = NullModule.Options(name: "N", blockCount: 8)
                change(&options)
                let message = await expect(.invalidGeometry) { [options] in try await null.create(options) }
                #expect(message.contains(text), "\(message)")
            }
            await refuse("multiple of 512") { $0.blockByteCount = 520 }
            await refuse("at least one") { $0.blockCount = 0 }
            await refuse("apart from the data") { $0.metadata = BlockMetadata(byteCount: 8, isInterleaved: false) }
            await refuse("8, 16, 32, 64 or 128") { $0.metadata = BlockMetadata(byteCount: 0) }
            await refuse("physical blocks of 513") { $0.physicalBlockByteCount = 513 }
            #expect(await engine.list().isEmpty)

            var options = NullModule.Options(name: "N", blockCount: 8)
            options.physicalBlockByteCount = 4096
            options.preferences.writeGranularity = 8
            options.preferences.unmapAlignment = 3
            options.metadata = BlockMetadata(byteCount: 128)
            try await null.create(options)
            let geometry = try await engine.info("N").geometry
            #expect(geometry.physicalBlockByteCount == 4096 && geometry.preferences == options.preferences)
            #expect(geometry.blockByteCount == 640 && geometry.metadataByteCount == 128)
            #expect(geometry.isMetadataInterleaved && geometry.protection == nil)
        }
    }
}
