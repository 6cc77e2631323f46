import Bdev
import BdevConfiguration
import MallocBdev
import NullBdev
import Reactors
import Testing

@Suite("The parameters of null bdevs and RAM disks")
struct MetadataMethodsTests {
    /// Applies calls of methods with their parameters, one configuration each, and runs `body`.
    private func apply(
        _ calls: [(method: String, parameters: String)], _ body: (BdevEngine) async throws -> Void = { _ in }
    ) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules()
        var failure: (any Error)?
        do {
            try await modules.register(with: engine)
            for call in calls {
                let text =
                    #"{"subsystems":[{"subsystem":"bdev","config":[{"method": "\#(call.method)", "#
                    + #""params": {\#(call.parameters)}}]}]}"#
                _ = try await modules.methods.apply(try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
            }
            try await body(engine)
        } catch { failure = error }
        await engine.stop()
        await group.shutDown()
        if let failure { throw failure }
    }

    private static let base = #""name": "B", "num_blocks": 8, "block_size": "#

    @Test(arguments: [8, 16, 32, 64, 128], [0, 1, 2, 3])
    func `every length of metadata and type of protection information is taken`(size: Int, type: Int) async throws {
        let parameters = Self.base + #"512, "md_size": \#(size), "dif_type": \#(type), "dif_is_head_of_md": true"#
        let wanted = ProtectionInformation.ProtectionType(rawValue: UInt8(type)).map {
            ProtectionInformation($0, placement: .head, checks: [.guard, .referenceTag])
        }
        for (method, isInterleaved) in [
            ("bdev_null_create", nil), ("bdev_malloc_create", true), ("bdev_malloc_create", false),
        ] {
            let last = isInterleaved.map { #", "md_interleave": \#($0)"# } ?? ""
            try await apply([(method, parameters + last)]) { engine in
                let geometry = try await engine.info("B").geometry
                #expect(geometry.metadataByteCount == size && geometry.protection == wanted)
                #expect(geometry.isMetadataInterleaved == (isInterleaved ?? true))
                #expect(geometry.blockByteCount == (isInterleaved ?? true ? 512 + size : 512))
            }
        }
    }

    @Test(arguments: [ProtectionInformation.Format.guard32, .guard64])
    func `formats with longer guards are taken with room for them`(_ format: ProtectionInformation.Format) async throws
    {
        let parameters =
            Self.base + #"4096, "md_size": 16, "dif_type": 1, "dif_pi_format": \#(format.rawValue)"#
        for method in ["bdev_null_create", "bdev_malloc_create"] {
            try await apply([(method, parameters)]) { engine in
                let protection = try await engine.info("B").geometry.protection
                #expect(protection?.format == format && protection?.placement == .tail)
            }
        }
    }

    @Test func `without a word about it, metadata of a RAM disk is apart and not protected`() async throws {
        try await apply([("bdev_malloc_create", Self.base + #"512, "md_size": 8"#)]) { engine in
            let geometry = try await engine.info("B").geometry
            #expect(!geometry.isMetadataInterleaved && geometry.metadataByteCount == 8 && geometry.protection == nil)
        }
    }

    @Test func `sizes and preferences are announced`() async throws {
        let hints =
            #""preferred_write_granularity": 1, "preferred_write_alignment": 2, "optimal_write_size": 3, "#
            + #""preferred_unmap_granularity": 4, "preferred_unmap_alignment": 4294967295"#
        try await apply([("bdev_null_create", Self.base + #"512, "physical_block_size": 4096, \#(hints)"#)]) { engine in
            let geometry = try await engine.info("B").geometry
            var wanted = IOPreferences()
            (wanted.writeGranularity, wanted.writeAlignment, wanted.optimalWriteSize) = (1, 2, 3)
            (wanted.unmapGranularity, wanted.unmapAlignment) = (4, .max)
            #expect(geometry.physicalBlockByteCount == 4096 && geometry.preferences == wanted)
        }
        try await apply([
            ("bdev_malloc_create", Self.base + #"512, "physical_block_size": 1024, "optimal_io_boundary": 4"#)
        ]) { engine in
            let geometry = try await engine.info("B").geometry
            #expect(geometry.physicalBlockByteCount == 1024)
            #expect(geometry.optimalBoundaryBlockCount == 4 && geometry.splitsAtOptimalBoundary)
        }
    }

    @Test(arguments: [
        (#"512, "md_size": 7"#, "md_size", "8, 16, 32, 64 or 128"),
        (#"512, "md_size": 18446744073709551615"#, "md_size", "8, 16, 32, 64 or 128"),
        (#"512, "dif_type": 1"#, "md_size", "use 8 or more"),
        (#"4096, "md_size": 8, "dif_type": 2, "dif_pi_format": 1"#, "md_size", "use 16 or more"),
        (#"4096, "md_size": 8, "dif_type": 2, "dif_pi_format": 2"#, "md_size", "use 16 or more"),
        (#"512, "md_size": 16, "dif_type": 1, "dif_pi_format": 1"#, "block_size", "multiple of 4096"),
        (#"512, "md_size": 8, "dif_type": 4"#, "dif_type", "0 to 3"),
        (#"512, "md_size": 8, "dif_type": -1"#, "dif_type", "0 to 3"),
        (#"512, "md_size": 8, "dif_type": 1, "dif_pi_format": 3"#, "dif_pi_format", "0 to 2"),
        (#"512, "md_size": 8, "dif_type": 1, "dif_is_head_of_md": 1"#, "dif_is_head_of_md", "true or false"),
        (#"512, "physical_block_size": 513"#, "physical_block_size", "multiple of 512"),
        (#"513"#, "block_size", "multiple of 512"),
    ])
    func `what makes no sense is refused where it stands`(
        parameters: String, key: String, message: String
    ) async throws {
        for method in ["bdev_null_create", "bdev_malloc_create"] {
            do {
                try await apply([(method, Self.base + parameters)])
                Issue.record("\(method) was accepted")
            } catch let error as ConfigurationError {
                #expect(error.code == .outOfRange || error.code == .wrongType, "\(error)")
                #expect(error.path.hasSuffix("params.\(key)"), "\(error)")
                #expect(error.description.contains(message), "\(error)")
            }
        }
    }

    @Test(arguments: [
        ("bdev_null_create", #"512, "md_interleave": true"#, "no such parameter"),
        ("bdev_null_create", #"512, "optimal_write_size": 4294967296"#, "0 to 4294967295"),
        ("bdev_malloc_create", #"512, "optimal_write_size": 1"#, "no such parameter"),
        ("bdev_malloc_create", #"512, "md_interleave": 1"#, "true or false"),
    ])
    func `what only the other module takes is refused`(
        method: String, parameters: String, message: String
    ) async throws {
        do {
            try await apply([(method, Self.base + parameters)])
            Issue.record("\(method) was accepted")
        } catch let error as ConfigurationError {
            #expect(error.description.contains(message), "\(error)")
        }
    }

    @Test func `a null bdev is resized to as many blocks as its data has room for`() async throws {
        let create = ("bdev_null_create", Self.base + #"512, "md_size": 8"#)
        try await apply([create, ("bdev_null_resize", #""name": "B", "new_size": 3"#)]) { engine in
            let count = try await engine.info("B").geometry.blockCount
            #expect(count == 3 * 2048)
        }
        for (parameters, message) in [
            (#""name": "X", "new_size": 3"#, "X"), (#""name": "B", "new_size": 0"#, "1 to"),
            (#""name": "B", "new_size": 17592186044415"#, "2^64"), (#""name": "B""#, "new_size"),
        ] {
            do {
                try await apply([create, ("bdev_null_resize", parameters)])
                Issue.record("a resize with \(parameters) was accepted")
            } catch let error as ConfigurationError {
                #expect(error.description.contains(message), "\(error)")
            }
        }
    }

    @Test func `a resize is taken back when a later method fails`() async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules()
        try await modules.register(with: engine)
        try await modules.null.create(.init(name: "B", blockCount: 8))
        let text = """
            {"subsystems":[{"subsystem":"bdev","config":[
              {"method": "bdev_null_resize", "params": {"name": "B", "new_size": 1}},
              {"method": "bdev_null_delete", "params": {"name": "X"}}]}]}
            """
        do {
            _ = try await modules.methods.apply(try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
            Issue.record("a bdev that is not there was deleted")
        } catch {
            #expect(error.description.contains("X"))
        }
        #expect(try await engine.info("B").geometry.blockCount == 8)
        await engine.stop()
        await group.shutDown()
    }
}
