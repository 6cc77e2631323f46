import Bdev
import Reactors
import SimulatedReactors
import SplitBdev
import TestSupport
import Testing

@Suite("Split, and partitions of any kind")
struct SplitTests {
    // MARK: How it divides

    @Test func `a bdev is divided evenly, and the rest is not used`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk", blockCount: 1027)
            #expect(try await stage.split.create(on: "disk", count: 4) == ["diskp0", "diskp1", "diskp2", "diskp3"])
            #expect(await stage.names() == ["disk", "diskp0", "diskp1", "diskp2", "diskp3"])
            for part in ["diskp0", "diskp3"] {
                let info = try await stage.engine.info(part)
                #expect(info.geometry.blockCount == 256)
                #expect(info.geometry.blockByteCount == 512)
                #expect(info.moduleName == "split")
            }
        }
    }

    @Test func `parts of a size are made as far as there is room, and the user is told`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk", blockCount: 1024)
            let parts = try await stage.split.create(on: "disk", count: 9, partByteCount: 300 * 512)
            #expect(parts == ["diskp0", "diskp1", "diskp2"])
            #expect(try await stage.engine.info("diskp2").geometry.blockCount == 300)
            #expect(stage.notices.all == ["'disk' has room for 3 parts of 300 blocks, not for 9"])
        }
    }

    @Test func `what cannot be divided so is refused, and nothing is left`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk", blockCount: 1024)
            let cases: [(count: Int, size: UInt64?)] = [
                (0, nil), (-1, nil), (1025, nil), (2, 0), (2, 700), (2, 1025 * 512),
            ]
            for (count, size) in cases {
                let code = await stage.code {
                    try await stage.split.create(on: "disk", count: count, partByteCount: size)
                }
                #expect(code == .invalidArgument, "\(count) parts of \(size ?? 0)")
            }
            #expect(await stage.names() == ["disk"])
            #expect(try await !stage.engine.info("disk").isOpen)
            try await stage.split.create(on: "disk", count: 1024)
            #expect(await stage.code { try await stage.split.create(on: "disk", count: 2) } == .nameInUse)
            #expect(await stage.code { try await stage.split.delete(on: "other") } == .noSuchBdev)
            try await stage.split.delete(on: "disk")
            #expect(await stage.names() == ["disk"])
        }
    }

    @Test func `parts begin where the base can begin a write`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk", blockCount: 1000) { geometry in
                geometry.writeUnitBlockCount = 8
                geometry.splitsAtWriteUnit = true
            }
            try await stage.split.create(on: "disk", count: 3)
            #expect(try await stage.engine.info("diskp1").geometry.blockCount == 328)
            try await stage.split.delete(on: "disk")
            let code = await stage.code { try await stage.split.create(on: "disk", count: 2, partByteCount: 12 * 512) }
            #expect(code == .invalidArgument)
        }
    }

    @Test func `the parts are made when the base comes, and are the same each time`() throws {
        try stack { _, stage in
            let uuid = BdevUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
            #expect(try await stage.split.create(on: "disk", count: 2) == [])
            var seen: [Set<BdevUUID>] = []
            for _ in 0..<2 {
                try await stage.disks.create("disk", uuid: uuid)
                #expect(await stage.names() == ["disk", "diskp0", "diskp1"])
                seen.append([
                    try await stage.engine.info("diskp0").uuid, try await stage.engine.info("diskp1").uuid,
                ])
                try await stage.disks.remove("disk")
                #expect(await stage.names() == [])
            }
            #expect(seen[0].count == 2 && seen[0] == seen[1])
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `all parts go when the base does, whoever has which open`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { _, stage in
            try await stage.disks.create("disk")
            try await stage.split.create(on: "disk", count: 4)
            let told = Shared(0)
            var users: [BdevDescriptor] = []
            for part in ["diskp3", "diskp1"] { users.append(try await stage.engine.open(part)) }
            // Each waits until both have been told: none is told only when another has closed.
            let all = users
            let listeners = all.map { user in
                stage.spawn {
                    for await event in user.events where event == .removed {
                        told.value += 1
                        break
                    }
                    while told.value < 2 { await stage.simulation.reactors[0].local.yield() }
                    await user.close()
                }
            }
            try await stage.disks.remove("disk")
            for listener in listeners { try await listener.value }
            #expect(await stage.names() == [], "seed \(seed)")
        }
    }

    @Test func `parts keep their size when the base grows`() throws {
        try stack { here, stage in
            try await stage.disks.create("disk", blockCount: 1024)
            try await stage.split.create(on: "disk", count: 2)
            try await stage.disks.host.value.resize("disk", blockCount: 2048)
            for _ in 0..<100 { await here.yield() }
            #expect(try await stage.engine.info("diskp1").geometry.blockCount == 512)
        }
    }

    // MARK: Where I/O goes

    @Test func `every kind of I/O goes to the part's own blocks, and not beyond them`() throws {
        try stack { _, stage in
            let disk = try await stage.disks.create("disk", blockCount: 1024)
            try await stage.split.create(on: "disk", count: 4)
            try await stage.withChannel("diskp2") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 1024)
                buffer.fill(seed: 3)
                try await channel.write(from: buffer, at: .block(254))
                #expect(Array(disk.data[766 * 512..<768 * 512]) == buffer.array)
                let written = buffer.array
                buffer.fill(with: 0)
                try await channel.read(at: .block(254), into: &buffer)
                #expect(buffer.array == written)
                try await channel.compare(buffer, at: .block(254))
                try await channel.copy(from: .block(254), to: .block(10), count: .blocks(2))
                #expect(Array(disk.data[522 * 512..<524 * 512]) == written)
                #expect(try await channel.nextData(from: .block(255)) == 255)
                try await channel.unmap(at: .block(10), count: .blocks(1))
                try await channel.writeZeroes(at: .block(11), count: .blocks(1))
                #expect(disk.data[522 * 512..<524 * 512].allSatisfy { $0 == 0 })
                try await channel.flush()
                #expect(disk.arrivals.last == Disk.Arrival(type: .flush, start: 512, count: 256))
                try await channel.reset()
                #expect(disk.types(.reset) == 1)
                for start: UInt64 in [255, 256, .max] {
                    do throws(BdevError) {
                        try await channel.write(from: buffer, at: .block(start))
                        Issue.record("a write at block \(start) of 256 was accepted")
                    } catch { #expect(error.code == .outOfRange) }
                }
            }
            #expect(disk.arrivals.allSatisfy { $0.type == .reset || $0.start >= 512 && $0.start + $0.count <= 768 })
        }
    }

    @Test func `commands that no range confines are not offered, and a boundary only where it still lies`() throws {
        try stack { _, stage in
            let types: IOTypes = [.read, .write, .reset, .nvmeAdmin, .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector]
            try await stage.disks.create("disk", blockCount: 1020, types: types) {
                $0.optimalBoundaryBlockCount = 17
            }
            try await stage.split.create(on: "disk", count: 3)
            for (part, boundary) in [("diskp0", 17), ("diskp1", 17), ("diskp2", 17)] {
                let info = try await stage.engine.info(part)
                #expect(info.supportedTypes == [.read, .write, .reset])
                #expect(info.geometry.optimalBoundaryBlockCount == boundary)
            }
            try await stage.split.delete(on: "disk")
            try await stage.split.create(on: "disk", count: 8)
            #expect(try await stage.engine.info("diskp0").geometry.optimalBoundaryBlockCount == 17)
            #expect(try await stage.engine.info("diskp1").geometry.optimalBoundaryBlockCount == 0)
        }
    }

    // MARK: Protection information

    @Test(arguments: [ProtectionInformation.ProtectionType.type1, .type2, .type3], [true, false])
    func `reference tags are the base's on the base and the part's for its users`(
        type: ProtectionInformation.ProtectionType, isInterleaved: Bool
    ) throws {
        try stack { _, stage in
            let size = isInterleaved ? 520 : 512
            let disk = try await stage.disks.create("disk", blockCount: 1024, blockByteCount: size) {
                $0.metadataByteCount = 8
                $0.isMetadataInterleaved = isInterleaved
                $0.protection = ProtectionInformation(type)
            }
            try await stage.split.create(on: "disk", count: 4)
            let protection = try await stage.engine.info("diskp1").geometry.blockProtection!
            try await stage.withChannel("diskp1") { channel in
                // Of the part's block 5, which is the base's 261.
                let tags = ProtectionTags(referenceTag: 5, applicationTag: 9)
                var data = try channel.allocateBuffer(byteCount: 3 * size)
                var metadata = try channel.allocateBuffer(byteCount: 24)
                data.fill(seed: 11)
                protect(&data, &metadata, protection, tags)
                let (writtenData, writtenMetadata) = (data.array, metadata.array)
                if isInterleaved {
                    try await channel.write(from: data, at: .block(5))
                } else {
                    try await channel.write(from: data, metadata: metadata, at: .block(5))
                }
                // The writer's memory is as it was.
                #expect(data.array == writtenData && metadata.array == writtenMetadata)
                let stored =
                    isInterleaved
                    ? (0..<3).map { Array(disk.data[(261 + $0) * 520 + 512..<(262 + $0) * 520]) }
                    : (0..<3).map { Array(disk.metadata[(261 + $0) * 8..<(262 + $0) * 8]) }
                // 261 is 0x105.
                let lows: [UInt8] = type == .type3 ? [5, 5, 5] : [5, 6, 7]
                #expect(stored.map { $0[7] } == lows)
                #expect(stored.map { $0[6] } == Array(repeating: type == .type3 ? 0 : 1, count: 3))
                data.fill(with: 0)
                metadata.fill(with: 0)
                if isInterleaved {
                    try await channel.read(at: .block(5), into: &data)
                } else {
                    try await channel.read(at: .block(5), into: &data, metadata: &metadata)
                }
                #expect(data.array == writtenData && metadata.array == writtenMetadata)
            }
        }
    }

    @Test func `a block that is not where it belongs is told as such, and nothing of it is written`() throws {
        try stack { _, stage in
            let disk = try await stage.disks.create("disk", blockCount: 1024, blockByteCount: 520) {
                $0.metadataByteCount = 8
                $0.isMetadataInterleaved = true
                $0.protection = ProtectionInformation(.type1)
            }
            try await stage.split.create(on: "disk", count: 4)
            let protection = try await stage.engine.info("diskp1").geometry.blockProtection!
            try await stage.withChannel("diskp1") { channel in
                var data = try channel.allocateBuffer(byteCount: 520)
                var none = try channel.allocateBuffer(byteCount: 8)
                protect(&data, &none, protection, ProtectionTags(referenceTag: 6))
                do throws(BdevError) {
                    try await channel.write(from: data, at: .block(5))
                    Issue.record("a block with another's reference tag was written")
                } catch { #expect(error.status == IOStatus(.nvmeError, detail: 0x284)) }
                #expect(disk.types(.write) == 0)
                // As the base has it, block 5 of the part is not block 5.
                try await channel.write(from: data, at: .block(6))
                disk.data[262 * 520 + 519] = 77
                do throws(BdevError) {
                    try await channel.read(at: .block(6), into: &data)
                    Issue.record("a misplaced block was read")
                } catch { #expect(error.status == IOStatus(.nvmeError, detail: 0x284)) }
            }
        }
    }

    // MARK: UUIDs

    @Test(arguments: [
        ("www.example.com", "2ed6657d-e927-568b-95e1-2665a8aea6a2"),
        ("python.org", "886313e1-3b8a-5372-9b90-0c9aee199e5d"),
        ("", "4ebd0208-8328-5d69-8c44-ec50939c0967"),
        (String(repeating: "a", count: 39), "5824f981-4282-59d4-9716-acb6d741350e"),
        (String(repeating: "a", count: 40), "39f39c20-db47-5131-8879-62f8f67f9014"),
        (String(repeating: "swift-bdev ", count: 100), "6b563147-d63a-5e6f-bdfa-d204269d61e1"),
    ])
    func `a name-based UUID is that of RFC 9562`(name: String, expected: String) throws {
        let names = try #require(BdevUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
        #expect(BdevUUID(of: name, in: names).description == expected)
    }
}

private func protect(
    _ data: inout IOBuffer, _ metadata: inout IOBuffer, _ protection: BlockProtection, _ tags: ProtectionTags
) {
    if protection.isInterleaved {
        var blocks = data.mutableBytes
        protection.generate(&blocks, tags: tags)
    } else {
        var tuples = metadata.mutableBytes
        protection.generate(data.bytes, metadata: &tuples, tags: tags)
    }
}
