import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Descriptors that show data only, over blocks with protection information in them.
struct HiddenMetadataTests {
    private static let protected = BdevGeometry(blockByteCount: 520, blockCount: 4096).with {
        $0.metadataByteCount = 8
        $0.isMetadataInterleaved = true
        $0.protection = ProtectionInformation(.type1)
    }

    @Test func `data is written and read without its metadata, which is right on the medium`() throws {
        try simulateMedium(Self.protected) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            #expect(descriptor.blockByteCount == 512)
            #expect(descriptor.geometry.metadataByteCount == 0)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var random = SeededRandom(seed: 5)
                var written = try channel.allocateBuffer(byteCount: 7 * 512)
                written.fill(using: &random)
                try await channel.write(from: written, at: .block(100))
                var found = try channel.allocateBuffer(byteCount: 7 * 512)
                try await channel.read(at: .block(100), into: &found)
                let isSame = found.contentEquals(written)
                #expect(isSame)
                try await channel.compare(written, at: .byte(100 * 512))
            }
            let protection = try #require(Self.protected.blockProtection)
            try protection.verify(
                medium.region.memory(from: 100 * 520, count: 7 * 520).list, blockCount: 7,
                tags: ProtectionTags(referenceTag: 100))
            await descriptor.close()
        }
    }

    @Test func `damage is found by the check that it breaks`() throws {
        try simulateMedium(Self.protected) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let written = try channel.allocateBuffer(byteCount: 1024)
                try await channel.write(from: written, at: .block(8))
                for (offset, detail) in [(3, Int32(0x282)), (512 + 4, 0x284)] {
                    medium.region.memory(from: 8 * 520 + offset, count: 1).flip()
                    var found = try channel.allocateBuffer(byteCount: 1024)
                    let error = await failure { () throws(BdevError) in
                        try await channel.read(at: .block(8), into: &found)
                    }
                    #expect(error?.status == IOStatus(.nvmeError, detail: detail))
                    medium.region.memory(from: 8 * 520 + offset, count: 1).flip()
                }
            }
            await descriptor.close()
        }
    }

    @Test func `zeroes and copies have metadata of their own place`() throws {
        try simulateMedium(Self.protected) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                try await channel.writeZeroes(at: .block(0), count: .blocks(4096))
                var random = SeededRandom(seed: 6)
                var data = try channel.allocateBuffer(byteCount: 512 * 64)
                data.fill(using: &random)
                try await channel.write(from: data, at: .block(10))
                try await channel.copy(from: .block(10), to: .block(1000), count: .blocks(64))
                var found = try channel.allocateBuffer(byteCount: 512 * 64)
                try await channel.read(at: .block(1000), into: &found)
                let isSame = found.contentEquals(data)
                #expect(isSame)
                try await channel.reset()
                try await channel.flush()
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.compareAndWrite(found, data, at: .block(0))
                    } == .notSupported)
            }
            let protection = try #require(Self.protected.blockProtection)
            try protection.verify(
                medium.region.memory(from: 0, count: 4096 * 520).list, blockCount: 4096,
                tags: ProtectionTags(referenceTag: 0))
            await descriptor.close()
        }
    }

    @Test func `many at once wait for buffers and come back`() throws {
        try simulateMedium(Self.protected, delay: .microseconds(20)) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            await withTaskGroup(of: BdevError.Code?.self) { group in
                for block in UInt64(0)..<200 {
                    group.addTask(executorPreference: here.reactor.taskExecutor) { await channel.writeOnce(at: block) }
                }
                for await code in group { #expect(code == nil) }
            }
            #expect(medium.log.count == 200)
            await descriptor.close()
        }
    }

    @Test func `a cancelled read is given up below too, and a removal ends everything`() throws {
        try simulateMedium(Self.protected, delay: .milliseconds(50)) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let write = Task(executorPreference: here.reactor.taskExecutor) { await channel.writeOnce(at: 0) }
            try await here.sleep(for: .milliseconds(1))
            write.cancel()
            // The medium does not obey, so the write succeeds.
            #expect(await write.value == nil)
            let removal = Task(executorPreference: here.reactor.taskExecutor) { try await engine.remove("medium") }
            for _ in 0..<20 { await here.yield() }
            #expect(await channel.writeOnce(at: 0) == .removed)
            await descriptor.close()
            try await removal.value
        }
    }

    @Test func `metadata that is apart, or protects nothing, cannot be hidden, and none need not`() throws {
        var apart = BdevGeometry(blockByteCount: 512, blockCount: 64)
        apart.metadataByteCount = 8
        apart.protection = ProtectionInformation(.type1)
        var bare = Self.protected
        bare.protection = nil
        for geometry in [apart, bare] {
            try simulateMedium(geometry) { here, engine, medium in
                #expect(
                    await code { () throws(BdevError) in _ = try await engine.openHidingMetadata("medium") }
                        == .invalidArgument)
            }
        }
        try simulateMedium(.test) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium")
            #expect(!descriptor.hidesMetadata && descriptor.blockByteCount == 512)
            await descriptor.close()
        }
    }

    @Test func `a resize is seen through a descriptor that hides metadata`() throws {
        try simulateMedium(Self.protected) { here, engine, medium in
            let descriptor = try await engine.openHidingMetadata("medium", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            #expect(await channel.writeOnce(at: 4095) == nil)
            #expect(await channel.writeOnce(at: 4096) == .outOfRange)
            await descriptor.close()
        }
    }
}

extension IOMemory {
    var list: Segments { Segments(self) }

    /// Turns every bit of its first byte round.
    func flip() {
        // SAFETY: the region is the test's, and at least one byte is in it.
        unsafe base.storeBytes(of: ~base.load(as: UInt8.self), as: UInt8.self)
    }
}
