import Bdev
import BdevConfiguration
import FoundationEssentials
import Reactors
import Testing

/// The methods that read and steer statistics, on real reactors.
struct StatisticsMethodsTests {
    /// Runs `body` with two reactors and a null bdev "N" of 4 KiB blocks; `call` calls a method.
    private func withEngine(
        _ body: (BdevEngine, (String, String) async throws -> JSONValue) async throws -> Void
    ) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: [0], options: options)
        let engine = BdevEngine(group: group), modules = StandardModules()
        func call(_ method: String, _ parameters: String) async throws -> JSONValue {
            let text =
                #"{"subsystems":[{"subsystem":"bdev","config":[{"method":"\#(method)","params":\#(parameters)}]}]}"#
            let call = try ConfigurationDocument(parsing: Array(text.utf8)).calls[0]
            return try await modules.methods.prepare(call).perform(on: engine).result
        }
        do {
            try await modules.register(with: engine)
            for name in ["N", "M"] {
                _ = try await call("bdev_null_create", #"{"name":"\#(name)","num_blocks":64,"block_size":4096}"#)
            }
            try await body(engine, call)
        } catch {
            await engine.stop()
            await group.shutDown()
            throw error
        }
        await engine.stop()
        await group.shutDown()
    }

    /// Three reads of a block and a write of two.
    private func work(_ descriptor: BdevDescriptor, on reactor: Reactor) async throws -> BdevChannel {
        let channel = try await descriptor.channel(on: reactor)
        var block = try await channel.allocateBuffer(byteCount: 4096)
        for _ in 0..<3 { try await channel.read(at: .block(0), into: &block) }
        let two = try await channel.allocateBuffer(byteCount: 8192)
        try await channel.write(from: two, at: .block(0))
        return channel
    }

    private func members(_ value: JSONValue?) throws -> [String: JSONValue] {
        guard case .object(let members)? = value else { throw BdevError(.invalidArgument, "no object") }
        return members
    }

    private func elements(_ value: JSONValue?) throws -> [JSONValue] {
        guard case .array(let elements)? = value else { throw BdevError(.invalidArgument, "no array") }
        return elements
    }

    private static let counters = [
        "bytes_read", "num_read_ops", "read_latency_ticks", "max_read_latency_ticks", "min_read_latency_ticks",
        "bytes_written", "num_write_ops", "write_latency_ticks", "max_write_latency_ticks", "min_write_latency_ticks",
        "bytes_unmapped", "num_unmap_ops", "unmap_latency_ticks", "max_unmap_latency_ticks", "min_unmap_latency_ticks",
        "bytes_copied", "num_copy_ops", "copy_latency_ticks", "max_copy_latency_ticks", "min_copy_latency_ticks",
    ]

    @Test func `bdev_get_iostat has SPDK's keys, for one bdev, several or all`() async throws {
        try await withEngine { engine, call in
            let descriptor = try await engine.open("N", mode: .readWrite)
            _ = try await work(descriptor, on: engine.reactors[0])
            let all = try members(try await call("bdev_get_iostat", "{}"))
            #expect(all.keys.sorted() == ["bdevs", "tick_rate", "ticks"])
            #expect(all["tick_rate"] == .unsigned(try await engine.statistics("N").ticksPerSecond))
            #expect(try elements(all["bdevs"]).map { try members($0)["name"] } == [.string("N"), .string("M")])
            let one = try members(try await call("bdev_get_iostat", #"{"name":"N"}"#))
            let disk = try members(try elements(one["bdevs"])[0])
            #expect(disk.keys.sorted() == (Self.counters + ["name", "io_error", "num_retries"]).sorted())
            #expect(disk["num_read_ops"] == .unsigned(3))
            #expect(disk["bytes_read"] == .unsigned(3 * 4096))
            #expect(disk["bytes_written"] == .unsigned(8192))
            #expect(disk["min_unmap_latency_ticks"] == .unsigned(0))
            #expect(disk["io_error"] == .object([:]))
            let several = try members(try await call("bdev_get_iostat", #"{"names":["M","N"]}"#))
            #expect(try elements(several["bdevs"]).map { try members($0)["name"] } == [.string("M"), .string("N")])
            await descriptor.close()
        }
    }

    @Test func `bdev_get_iostat shows the channels of one bdev`() async throws {
        try await withEngine { engine, call in
            let descriptor = try await engine.open("N", mode: .readWrite)
            _ = try await work(descriptor, on: engine.reactors[0])
            let all = try members(try await call("bdev_get_iostat", #"{"names":["N"],"per_channel":true}"#))
            #expect(all.keys.sorted() == ["channels", "name", "tick_rate", "ticks"])
            let channels = try elements(all["channels"]).map { try members($0) }
            #expect(channels.count == 1)
            #expect(channels[0].keys.sorted() == (Self.counters + ["thread_id"]).sorted())
            #expect(channels[0]["num_read_ops"] == .unsigned(3))
            await descriptor.close()
        }
    }

    @Test func `a reset by either method is of what it names`() async throws {
        try await withEngine { engine, call in
            let descriptor = try await engine.open("N", mode: .readWrite)
            _ = try await work(descriptor, on: engine.reactors[0])
            _ = try await call("bdev_reset_iostat", #"{"name":"N","mode":"maxmin"}"#)
            #expect(try await engine.statistics("N").read.maximumLatencyTicks == 0)
            #expect(try await engine.statistics("N").read.operationCount == 3)
            _ = try await call("bdev_get_iostat", #"{"name":"N","reset_mode":"none"}"#)
            let last = try members(try await call("bdev_get_iostat", #"{"name":"N","reset_mode":"all"}"#))
            #expect(try members(try elements(last["bdevs"])[0])["num_read_ops"] == .unsigned(3))
            #expect(try await engine.statistics("N").total.operationCount == 0)
            _ = try await work(descriptor, on: engine.reactors[0])
            #expect(try await call("bdev_reset_iostat", "{}") == .bool(true))
            #expect(try await engine.statistics("N").total.operationCount == 0)
            await descriptor.close()
        }
    }

    @Test func `a sampling period shows in bdev_get_iostat, and 0 ends it`() async throws {
        try await withEngine { engine, call in
            #expect(try await call("bdev_set_qd_sampling_period", #"{"name":"N","period":60000000}"#) == .bool(true))
            let on = try members(try await call("bdev_get_iostat", #"{"name":"N"}"#))
            let disk = try members(try elements(on["bdevs"])[0])
            #expect(disk["queue_depth_polling_period"] == .unsigned(60_000_000))
            // Before the first sample.
            #expect(disk["queue_depth"] == .unsigned(.max))
            #expect(disk["io_time"] == .unsigned(0))
            #expect(disk["weighted_io_time"] == .unsigned(0))
            _ = try await call("bdev_set_qd_sampling_period", #"{"name":"N","period":0}"#)
            #expect(try await engine.queueDepthSamples(of: "N") == nil)
        }
    }

    @Test func `a histogram is on between its methods, and is read as SPDK's tool reads it`() async throws {
        try await withEngine { engine, call in
            let descriptor = try await engine.open("N", mode: .readWrite)
            _ = try await call("bdev_enable_histogram", #"{"name":"N","enable":true,"opc":"read"}"#)
            _ = try await work(descriptor, on: engine.reactors[0])
            let histogram = try members(try await call("bdev_get_histogram", #"{"name":"N"}"#))
            #expect(histogram.keys.sorted() == ["granularity", "histogram", "max_range", "min_range", "tsc_rate"])
            guard case .string(let text)? = histogram["histogram"],
                case .unsigned(let granularity)? =
                    histogram["granularity"], case .unsigned(let ranges)? = histogram["max_range"]
            else { throw BdevError(.invalidArgument, "\(histogram)") }
            let bytes = Array(try #require(Data(base64Encoded: text)))
            #expect(bytes.count == Int(ranges + 1) << Int(granularity) * 8)
            // The first byte of each little-endian count: three reads in all.
            #expect(stride(from: 0, to: bytes.count, by: 8).reduce(0) { $0 + Int(bytes[$1]) } == 3)
            _ = try await call("bdev_enable_histogram", #"{"name":"N","enable":false}"#)
            await #expect(throws: ConfigurationError.self) {
                _ = try await call("bdev_get_histogram", #"{"name":"N"}"#)
            }
            await descriptor.close()
        }
    }

    @Test func `what a driver counts itself is in the figures of its bdev, and nowhere else`() async throws {
        try await withEngine { engine, call in
            let module = CountingModule()
            try await engine.register(module)
            let result = try await call("bdev_get_iostat", "{}")
            guard case .object(let all) = result, case .array(let bdevs)? = all["bdevs"] else {
                Issue.record("no bdevs in \(result)")
                return
            }
            var specific: [JSONValue: JSONValue] = [:]
            for case .object(let bdev) in bdevs {
                if let own = bdev["driver_specific"], let name = bdev["name"] { specific[name] = own }
            }
            #expect(
                specific == [
                    .string("counting"): .object([
                        "turns": .unsigned(3), "name": .string("c"), "isOn": .bool(true), "all": .array([.unsigned(1)]),
                        "more": .object(["deep": .unsigned(2)]),
                    ])
                ])
        }
    }

    @Test(arguments: [
        ("bdev_get_iostat", #"{"per_channel":true}"#), ("bdev_get_iostat", #"{"names":["N","M"],"per_channel":true}"#),
        ("bdev_get_iostat", #"{"name":"N","names":["M"]}"#), ("bdev_get_iostat", #"{"names":"N"}"#),
        ("bdev_get_iostat", #"{"names":["N",1]}"#), ("bdev_get_iostat", #"{"reset_mode":"some"}"#),
        ("bdev_get_iostat", #"{"name":"no"}"#), ("bdev_get_iostat", #"{"nam":"N"}"#),
        ("bdev_reset_iostat", #"{"mode":"errors"}"#), ("bdev_reset_iostat", #"{"name":"no"}"#),
        ("bdev_set_qd_sampling_period", #"{"name":"N"}"#), ("bdev_set_qd_sampling_period", #"{"period":1}"#),
        ("bdev_enable_histogram", #"{"name":"N"}"#),
        ("bdev_enable_histogram", #"{"name":"N","enable":true,"opc":"x"}"#),
        ("bdev_enable_histogram", #"{"name":"no","enable":true}"#), ("bdev_get_histogram", "{}"),
        ("bdev_get_histogram", #"{"name":"N"}"#),
    ])
    func `what makes no sense is refused`(method: String, parameters: String) async throws {
        try await withEngine { _, call in
            await #expect(throws: ConfigurationError.self) { _ = try await call(method, parameters) }
        }
    }
}

/// A module with one bdev, whose driver counts.
private final class CountingModule: BdevModule {
    let name = "counting"

    func start(_ host: BdevModuleHost) async throws(BdevError) {
        let properties = BdevProperties(
            name: "counting", productName: "Counting", geometry: BdevGeometry(blockByteCount: 512, blockCount: 1),
            supportedTypes: .read)
        try await host.register(properties, driver: CountingDriver())
    }
}

private final class CountingDriver: BdevDriver {
    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { throw BdevError(.notSupported, "no channels here") }

    func statistics() async -> [String: DriverValue] {
        [
            "turns": .number(3), "name": .text("c"), "isOn": .flag(true), "all": .list([.number(1)]),
            "more": .fields(["deep": .number(2)]),
        ]
    }
}
