import Bdev
import PassthruBdev
import Reactors
import SplitBdev
import Testing
import ZoneBlockBdev

/// Zones through bdevs that hand on at another place.
@Suite("Partitions of a bdev with zones")
struct ZonePartitionTests {
    /// A zoned bdev of 16 zones of 64 blocks, of which 48 can be written, divided in two, with a bdev on the second
    /// half.
    private static func simulate(
        _ body: @escaping @Sendable (BdevEngine, isolated BdevChannel, _ whole: BdevChannel) async throws -> Void
    ) throws {
        try simulateStack(seed: 1) { here, stack in
            let zoned = ZoneBlockModule(), split = SplitModule(), passthru = PassthruModule()
            try await stack.engine.start([zoned, split, passthru])
            try await zoned.create(.init(name: "zoned", base: "base", zoneCapacity: 48))
            try await split.create(on: "zoned", count: 2)
            try await passthru.create("top", on: "zonedp1")
            let half = try await stack.engine.open("top", mode: .readWrite), engine = stack.engine
            let whole = try await stack.engine.open("zoned")
            let reader = try await whole.channel(on: here.reactor)
            try await half.withChannel(on: here.reactor) { channel in try await body(engine, channel, reader) }
            await whole.close()
            await half.close()
        }
    }

    @Test func `a report has the part's zones, counted from its own start`() throws {
        try Self.simulate { engine, channel, whole in
            let geometry = try await engine.info("top").geometry
            #expect(geometry.blockCount == 512 && geometry.zones?.blockCount == 64)
            let zones = try await channel.zones()
            #expect(zones.map(\.start) == (0..<8).map { $0 * 64 })
            #expect(zones.allSatisfy { $0.state == .full && $0.writePointer == $0.start + 48 })
            try await channel.manageZone(at: 128, .reset)
            #expect(try await channel.append(1, toZone: 128, count: 4) == 128)
            #expect(try await channel.append(2, toZone: 128, count: 2) == 132)
            let two = try await channel.zones(from: 130, count: 2)
            #expect(two.map(\.start) == [128, 192] && two.map(\.writePointer) == [134, 240])
            #expect(try await channel.value(at: 133) == 2)
            let below = try await whole.zones(from: 512 + 128, count: 1)
            #expect(below[0].start == 640 && below[0].writePointer == 646 && below[0].state == .implicitlyOpen)
        }
    }

    @Test func `what is done to all zones is done to those of the part`() throws {
        try Self.simulate { _, channel, whole in
            try await channel.manageZone(at: nil, .reset)
            #expect(try await channel.zones().allSatisfy { $0.state == .empty && $0.writePointer == $0.start })
            let all = try await whole.zones()
            #expect(all.prefix(8).allSatisfy { $0.state == .full })
            #expect(all.dropFirst(8).allSatisfy { $0.state == .empty })
            try await channel.manageZone(at: 0, .open)
            _ = try await channel.append(1, toZone: 64)
            try await channel.manageZone(at: nil, .finish)
            #expect(try await channel.zones().map(\.state) == [.full, .full] + Array(repeating: .empty, count: 6))
        }
    }

    @Test func `a part has whole zones`() throws {
        try simulateStack(seed: 1) { here, stack in
            let zoned = ZoneBlockModule(), split = SplitModule()
            try await stack.engine.start([zoned, split])
            try await zoned.create(.init(name: "zoned", base: "base", zoneCapacity: 64))
            #expect(try await split.create(on: "zoned", count: 3).count == 3)
            #expect(try await stack.engine.info("zonedp2").geometry.blockCount == 5 * 64)
            try await split.delete(on: "zoned")
            let code = await status { () throws(BdevError) in
                try await split.create(on: "zoned", count: 2, partByteCount: 100 * 512)
            }
            #expect(!code.isSuccess)
            let base = try await stack.engine.open("zoned")
            for blocks in [1..<64, 0..<63, 64..<190] as [Range<UInt64>] {
                let refused = await status { () throws(BdevError) in
                    _ = try StackedBdev.partition("part", of: base, blocks: blocks, productName: "part")
                }
                #expect(!refused.isSuccess, "\(blocks)")
            }
            await base.close()
        }
    }
}
