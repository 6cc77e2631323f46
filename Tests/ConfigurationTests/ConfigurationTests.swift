import Bdev
import BdevConfiguration
import Reactors
import Testing

struct ConfigurationTests {
    /// Runs `body` with an engine that has the standard modules, and ends both.
    private func withEngine(_ body: (BdevEngine, StandardModules) async throws -> Void) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group)
        let modules = StandardModules()
        do {
            try await modules.register(with: engine)
            try await body(engine, modules)
        } catch {
            await engine.stop()
            await group.shutDown()
            throw error
        }
        await engine.stop()
        await group.shutDown()
    }

    private func document(_ calls: String) -> String {
        #"{"subsystems":[{"subsystem":"bdev","config":[\#(calls)]}]}"#
    }

    private static let null = #"{"method":"bdev_null_create","params":{"name":"N","num_blocks":8,"block_size":4096}}"#

    @Test func `SPDK's configuration makes its bdevs`() async throws {
        try await withEngine { engine, modules in
            let text = document(
                """
                {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535, "bdev_auto_examine": true}},
                {"method": "bdev_null_create", "params": {"name": "Null0", "num_blocks": 2097152, "block_size": 512,
                  "uuid": "e1c24cb1-dd44-4be6-8d67-de92a332013f", "md_size": 0,
                  "dif_type": 0, "dif_is_head_of_md": false}},
                [{"method": "bdev_malloc_create", "params": {"num_blocks": 64, "block_size": 4096, "numa_id": -1}}],
                {"method": "bdev_wait_for_examine"}
                """)
            let notices = try await modules.methods.apply(
                try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
            #expect(notices.isEmpty)
            let bdevs = await engine.list()
            #expect(bdevs.map(\.name) == ["Null0", "Malloc0"])
            #expect(bdevs.map(\.geometry.blockCount) == [2_097_152, 64])
            #expect(bdevs.map(\.geometry.blockByteCount) == [512, 4096])
            #expect(bdevs[0].uuid.description == "e1c24cb1-dd44-4be6-8d67-de92a332013f")
        }
    }

    @Test func `other subsystems are ignored and named`() async throws {
        try await withEngine { engine, modules in
            let text = """
                {"subsystems":[{"subsystem":"accel","config":[{"anything": 1}]},{"subsystem":"bdev","config":null},
                {"subsystem":"nvmf","config":[]}]}
                """
            let notices = try await modules.methods.apply(
                try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
            #expect(notices.count == 1)
            #expect(notices.first?.contains("accel, nvmf") == true)
        }
    }

    @Test(arguments: [
        (#"{"method":"bdev_null_creat","params":{}}"#, "config[1].method", "bdev_null_create"),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8}}"#, "config[1].params",
            "\"block_size\" is missing"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8,"block_size":513}}"#,
            "config[1].params.block_size", "513"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":0,"block_size":512}}"#,
            "config[1].params.num_blocks", "1 or more"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":"8","block_size":512}}"#,
            "config[1].params.num_blocks", "a whole number, not the string"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8.5,"block_size":512}}"#,
            "config[1].params.num_blocks", "whole number"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"","num_blocks":8,"block_size":512}}"#,
            "config[1].params.name", "empty"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8,"block_size":512,"blocks":1}}"#,
            "config[1].params.blocks", "no such parameter"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8,"block_size":512,"md_size":7}}"#,
            "config[1].params.md_size", "8, 16, 32, 64 or 128"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":8,"block_size":512,"uuid":"x"}}"#,
            "config[1].params.uuid", "no UUID"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"M","num_blocks":18446744073709551615,"block_size":512}}"#,
            "config[1]", "2^64"
        ),
        (
            #"{"method":"bdev_null_create","params":{"name":"N","num_blocks":8,"block_size":512}}"#, "config[1]",
            "'N' is a name"
        ),
        (
            #"{"method":"bdev_malloc_create","params":{"num_blocks":8,"block_size":512,"numa_id":-2}}"#,
            "config[1].params.numa_id", "-2"
        ),
        (
            #"{"method":"bdev_malloc_create","params":{"num_blocks":8,"block_size":512,"md_interleave":1}}"#,
            "config[1].params.md_interleave", "true or false"
        ),
        (
            #"{"method":"bdev_uring_create","params":{"name":"U","filename":"/nowhere/at/all"}}"#, "config[1]",
            "No such file"
        ),
        (
            #"{"method":"bdev_uring_create","params":{"name":"U","filename":"/nowhere","readonly":true}}"#,
            "config[1].params.readonly", "no such parameter"
        ),
        (
            #"{"method":"bdev_aio_create","params":{"name":"U","filename":"/nowhere","nowait":true}}"#,
            "config[1].params.nowait", "not supported"
        ),
        (
            #"{"method":"bdev_aio_create","params":{"name":"U","filename":"/nowhere","block_size":1000}}"#,
            "config[1].params.block_size", "1000"
        ),
        (#"{"method":"bdev_null_create","parms":{}}"#, "config[1].parms", "no meaning"),
        (#"{"params":{}}"#, "config[1]", "\"method\" is missing"),
        (#"7"#, "config[1]", "an object"),
        (
            #"{"method":"bdev_set_options","params":{"bdev_auto_examine":1}}"#, "config[1].params.bdev_auto_examine",
            "true or false"
        ),
    ])
    func `a mistake is named with its place, and nothing is left of what came before it`(
        call: String, place: String, what: String
    ) async throws {
        try await withEngine { engine, modules in
            let text = document("\(Self.null), \(call)")
            let error = await #expect(throws: ConfigurationError.self) {
                _ = try await modules.methods.apply(
                    try ConfigurationDocument(parsing: Array(text.utf8), file: "a.json"), to: engine)
            }
            let line = error?.description ?? ""
            #expect(error?.path == "subsystems[0].\(place)", "\(line)")
            #expect(line.contains(what), "\(line)")
            #expect(line.hasPrefix("a.json: subsystems[0]."))
            #expect(!line.contains("\n"))
            #expect(await engine.list().map(\.name) == [])
        }
    }

    @Test func `a file that is not there and one that is no JSON are named`() {
        let missing = #expect(throws: ConfigurationError.self) {
            try ConfigurationDocument(contentsOf: "/nowhere/a.json")
        }
        #expect(
            missing?.description.contains("/nowhere/a.json: cannot read the configuration: there is no such file")
                == true)
        let folder = #expect(throws: ConfigurationError.self) { try ConfigurationDocument(contentsOf: "/tmp") }
        #expect(folder?.code == .unreadable)
    }

    @Test func `a method of another module plugs in`() async throws {
        struct Remember: ConfigurationMethod {
            let name = "test_remember"
            func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
                try reader.requiredString("word")
            }
            func apply(_ word: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
                ConfigurationOutcome(result: .string(word), notice: "remembered \(word)")
            }
        }
        try await withEngine { engine, _ in
            var registry = ConfigurationRegistry()
            registry.add(Remember())
            let text = document(#"{"method":"test_remember","params":{"word":"bdev"}}"#)
            let notices = try await registry.apply(try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
            #expect(notices == ["remembered bdev"])
        }
    }
}
