import Bdev
import BdevConfiguration
import LogBdev
import Reactors
import Testing

@Suite("The methods that make zones and logs")
struct ZoneAndLogMethodsTests {
    private func withEngine(_ body: (BdevEngine, StandardModules) async throws -> Void) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules()
        let result: Result<Void, any Error>
        do {
            try await modules.register(with: engine)
            try await body(engine, modules)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await engine.stop()
        await group.shutDown()
        try result.get()
    }

    private func apply(_ calls: String, _ engine: BdevEngine, _ modules: StandardModules) async throws {
        let text = #"{"subsystems":[{"subsystem":"bdev","config":[\#(calls)]}]}"#
        _ = try await modules.methods.apply(try ConfigurationDocument(parsing: Array(text.utf8)), to: engine)
    }

    private static let disks = """
        {"method": "bdev_malloc_create", "params": {"name": "disk", "num_blocks": 1000, "block_size": 512}},
        {"method": "bdev_malloc_create", "params": {"name": "spare", "num_blocks": 1000, "block_size": 512}}
        """

    @Test func `zones are made with SPDK's parameters, and deleted`() async throws {
        try await withEngine { engine, modules in
            try await apply(
                Self.disks + """
                    ,{"method": "bdev_zone_block_create", "params": {"name": "Z", "base_bdev": "disk",
                      "zone_capacity": 100, "optimal_open_zones": 3, "max_open_zones": 4, "max_active_zones": 5}}
                    """, engine, modules)
            let zones = try #require(try await engine.info("Z").geometry.zones)
            #expect(zones.blockCount == 128 && zones.optimalOpenCount == 3)
            #expect(zones.openLimit == 4 && zones.activeLimit == 5)
            try await apply(#"{"method": "bdev_zone_block_delete", "params": {"name": "Z"}}"#, engine, modules)
            #expect(await engine.list().map(\.name) == ["disk", "spare"])
        }
    }

    @Test(arguments: [
        (#""log_bdev_name": "spare""#, UInt64(1000)), (#""log_size_mb": 2"#, 4096), (#""uuid": null"#, 131_072),
    ])
    func `a log is made on a bdev or in memory, and deleted`(place: String, blockCount: UInt64) async throws {
        try await withEngine { engine, modules in
            try await apply(
                Self.disks
                    + #",{"method": "bdev_log_create", "params": {"name": "L", "base_bdev_name": "disk", \#(place)}}"#,
                engine, modules)
            #expect(try await modules.log.usage(of: "L").all == blockCount)
            #expect(try await engine.info("L").geometry.blockCount == 1000)
            try await apply(#"{"method": "bdev_log_delete", "params": {"name": "L"}}"#, engine, modules)
            #expect(await engine.list().map(\.name) == ["disk", "spare"])
        }
    }

    @Test(arguments: [
        (
            #""bdev_zone_block_create","params":{"name":"Z","base_bdev":"d","zone_capacity":0,"optimal_open_zones":1}"#,
            "zone_capacity"
        ),
        (
            #""bdev_zone_block_create","params":{"name":"Z","base_bdev":"d","zone_capacity":8,"optimal_open_zones":0}"#,
            "optimal_open_zones"
        ),
        (#""bdev_log_create","params":{"name":"L","base_bdev_name":"disk","log_size_mb":0}"#, "log_size_mb"),
        (
            #""bdev_log_create","params":{"name":"L","base_bdev_name":"disk","log_size_mb":1,"log_bdev_name":"spare"}"#,
            "log_size_mb"
        ),
        (#""bdev_log_create","params":{"name":"L"}"#, "base_bdev_name"),
    ])
    func `what has no meaning is refused, and says which parameter`(call: String, parameter: String) async throws {
        try await withEngine { engine, modules in
            do {
                try await apply(Self.disks + #",{"method":\#(call)}"#, engine, modules)
                Issue.record("it was accepted")
            } catch {
                #expect("\(error)".contains(parameter))
            }
        }
    }
}
