import Bdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Metadata that lies apart from the data")
struct SeparateMetadataTests {
    /// `metadataByteCount`: for each block, in memory of its own.
    private func withNamespace(
        metadataByteCount: Int, protectionType: UInt8 = 0, isZoned: Bool = false,
        _ body: @escaping @Sendable (isolated LocalReactor, NVMeQueuePair, NVMeNamespace) async throws -> Void
    ) throws {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 256)]
        options.namespaces[0].metadataByteCount = metadataByteCount
        options.namespaces[0].protectionType = protectionType
        if isZoned { options.namespaces[0].zones = SoftZoneOptions(blockCount: 64) }
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            try await body(local, pair, #require(await controller.namespaces.first))
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    /// A controller that is given no address would take 0 for one.
    @Test(arguments: [false, true])
    func `no command moves it without memory for it`(isZoned: Bool) throws {
        try withNamespace(metadataByteCount: 16, isZoned: isZoned) { local, pair, namespace in
            var data = await local.buffer(byteCount: 8 * 512), short = await local.buffer(byteCount: 8 * 16 - 4)
            var errors: [NVMeError?] = []
            func attempt(_ call: nonisolated(nonsending) () async throws(NVMeError) -> Void) async {
                do throws(NVMeError) {
                    try await call()
                    errors.append(nil)
                } catch { errors.append(error) }
            }
            await attempt { () throws(NVMeError) in try await pair.write(namespace, at: 0, from: data) }
            await attempt { () throws(NVMeError) in
                try await pair.write(namespace, at: 0, from: data, metadata: short)
            }
            await attempt { () throws(NVMeError) in try await pair.read(namespace, at: 0, into: &data) }
            await attempt { () throws(NVMeError) in
                try await pair.read(namespace, at: 0, into: &data, metadata: &short)
            }
            await attempt { () throws(NVMeError) in try await pair.compare(namespace, at: 0, with: data) }
            await attempt { () throws(NVMeError) in
                try await pair.compareAndWrite(namespace, at: 0, expected: data, new: data)
            }
            if isZoned {
                await attempt { () throws(NVMeError) in
                    _ = try await pair.append(namespace, zone: 0, from: data)
                }
            }
            #expect(errors.map { $0?.code } == errors.map { _ in .misaligned })
            #expect(errors.first??.advice == "give a buffer of 16 bytes for each block")
            #expect(pair.statistics.submitted == 0)
        }
    }

    @Test func `is written, read and compared with memory of its own`() throws {
        try withNamespace(metadataByteCount: 16) { local, pair, namespace in
            var data = await local.buffer(byteCount: 8 * 512), metadata = await local.buffer(byteCount: 8 * 16)
            data.fill(with: 3)
            metadata.fill(with: 4)
            try await pair.write(namespace, at: 16, from: data, metadata: metadata)
            try await pair.compare(namespace, at: 16, with: data, metadata: metadata)
            metadata.store(UInt8(5), at: 100)
            await #expect {
                try await pair.compare(namespace, at: 16, with: data, metadata: metadata)
            } throws: { ($0 as? NVMeError)?.status?.matches(.compareFailure) == true }
            try await pair.read(namespace, at: 16, into: &data, metadata: &metadata)
            #expect(metadata.copied().allSatisfy { $0 == 4 })
        }
    }

    @Test func `is not wanted where the controller makes all of it`() throws {
        try withNamespace(metadataByteCount: 8, protectionType: 1) { local, pair, namespace in
            let options: NVMeQueuePair.BlockOptions = [.protectionAction, .checksGuard, .checksReferenceTag]
            var data = await local.buffer(byteCount: 8 * 512), new = await local.buffer(byteCount: 8 * 512)
            data.fill(with: 3)
            new.fill(with: 4)
            try await pair.write(namespace, at: 16, from: data, options: options)
            try await pair.compare(namespace, at: 16, with: data, options: options)
            // The blocks have not been written with these tags.
            await #expect {
                try await pair.compareAndWrite(
                    namespace, at: 16, expected: data, new: new, options: options,
                    tags: NVMeProtectionTags(referenceTag: 17))
            } throws: { ($0 as? NVMeError)?.status != nil }
            try await pair.compareAndWrite(namespace, at: 16, expected: data, new: new, options: options)
            try await pair.read(namespace, at: 16, into: &data, options: options)
            #expect(data.copied().allSatisfy { $0 == 4 })
        }
    }

    @Test func `of a bdev is no part of what a compare compares`() throws {
        let change: SoftChange = { options, _ in options.namespaces[0].metadataByteCount = 16 }
        try simulateFleet(count: 1, change: change) { _, fleet in
            try await fleet.attachAll()
            try await fleet.engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                try await descriptor.withChannel(on: fleet.engine.reactors[0]) { channel in
                    var data = try channel.allocateBuffer(byteCount: 8 * 512)
                    var metadata = try channel.allocateBuffer(byteCount: 8 * 16)
                    data.fill(with: 3)
                    metadata.fill(with: 4)
                    try await channel.write(from: data, metadata: metadata, at: .block(16))
                    try await channel.compare(data, at: .block(16))
                    data.store(UInt8(5), at: 1000)
                    do {
                        try await channel.compare(data, at: .block(16))
                        Issue.record("a difference has not been found")
                    } catch let error as BdevError { #expect(error.code == .miscompare) }
                }
            }
        }
    }
}
