import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

/// What the layer makes, or the controller, the other finds right: their checksums have nothing in common.
@Suite("A bdev of a namespace with protection information")
struct ProtectedBdevTests {
    private static func change(_ kind: ProtectionKind, firstBlock: UInt64 = 0, blockCount: UInt64 = 8192) -> SoftChange
    {
        { options, _ in
            let uuid = options.namespaces[0].uuid
            options.namespaces[0] = kind.options(blockCount: firstBlock + blockCount)
            options.namespaces[0].firstStoredBlock = firstBlock
            options.namespaces[0].uuid = uuid
            options.transferPageShift = 4
        }
    }

    private static var checked: NVMeModule.AttachOptions {
        var options = NVMeModule.AttachOptions()
        options.checks = .all
        return options
    }

    private static let kinds = ProtectionKind.kinds(types: 1...3, extraByteCounts: [0]).filter { kind in
        // The tuple's place is the layer's business, and tested there.
        !kind.protection.isFirst
    }

    @Test(arguments: kinds.filter { $0.protection.type == 1 })
    func `passes the conformance suite while everything is checked`(kind: ProtectionKind) throws {
        try simulateFleet(count: 1, change: Self.change(kind)) { local, fleet in
            try await fleet.attachAll(options: Self.checked)
            let protection = try #require(try await fleet.engine.info("Nvme0n1").geometry.protection)
            #expect(protection.type.rawValue == UInt8(kind.protection.type))
            #expect(protection.format.rawValue == kind.protection.format.rawValue)
            #expect(protection.storageTagBitCount == kind.protection.storageTagBitCount)
            var suite = ConformanceSuite.Options()
            suite.seed = fleet.seed
            suite.operationCount = 20
            suite.workerCount = 4
            suite.hidesMetadata = kind.isInterleaved
            try await ConformanceSuite(engine: fleet.engine, bdev: "Nvme0n1", options: suite).run()
        }
    }

    @Test(arguments: kinds)
    func `is right above block 2^32`(kind: ProtectionKind) throws {
        let crossing: UInt64 = 5 << 32
        try simulateFleet(count: 1, change: Self.change(kind, firstBlock: crossing - 512, blockCount: 1024)) {
            local, fleet in
            try await fleet.attachAll(options: Self.checked)
            // The layer makes the tuples where they are among the data, the controller where they are apart.
            let descriptor =
                try await kind.isInterleaved
                ? fleet.engine.openHidingMetadata("Nvme0n1", mode: .readWrite)
                : fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await descriptor.withChannel(on: local.reactor) { channel in
                var data = try channel.allocateBuffer(byteCount: 300 * 512)
                for index in 0..<data.byteCount / 8 { data.store(UInt64(index), at: index * 8) }
                try await channel.write(from: data, at: .block(crossing - 100))
                data.fill(with: 0)
                try await channel.read(at: .block(crossing - 100), into: &data)
                let isSame = (0..<data.byteCount / 8).allSatisfy { data.load(UInt64.self, at: $0 * 8) == UInt64($0) }
                #expect(isSame)
            }
            await descriptor.close()
            let geometry = try await fleet.engine.info("Nvme0n1").geometry
            let protection = try #require(geometry.protection)
            // The blocks as they are.
            let whole = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await whole.withChannel(on: local.reactor) { channel in
                let shape = BlockProtection(
                    protection, dataByteCount: 512, metadataByteCount: geometry.metadataByteCount,
                    isInterleaved: geometry.isMetadataInterleaved)
                var data = try channel.allocateBuffer(byteCount: 8 * shape.blockByteCount)
                var metadata = try channel.allocateBuffer(byteCount: 8 * shape.metadataByteCount)
                let start = crossing - 4
                if kind.isInterleaved {
                    try await channel.read(at: .block(start), into: &data)
                } else {
                    try await channel.read(at: .block(start), into: &data, metadata: &metadata)
                }
                // Of type 3 each command's tags are those of its first block.
                do throws(ProtectionFailure) {
                    try shape.verify(
                        Segments(data.memory), metadata: kind.isInterleaved ? nil : metadata.memory, blockCount: 8,
                        tags: ProtectionTags(referenceTag: start))
                } catch {
                    Issue.record("\(error)")
                }
                // A tuple of another place, which the controller finds, unless nothing says where it belongs.
                let error: BdevError?
                do {
                    if kind.isInterleaved {
                        try await channel.write(from: data, at: .block(start + 1))
                    } else {
                        try await channel.write(from: data, metadata: metadata, at: .block(start + 1))
                    }
                    error = nil
                } catch let caught as BdevError { error = caught }
                let isTagged = kind.protection.type != 3 && kind.protection.referenceTagBitCount > 0
                #expect(error?.status?.detail == (isTagged ? 0x284 : nil))
            }
            await whole.close()
        }
    }
}
