import Bdev
import DelayBdev

/// `bdev_delay_create`: makes a bdev that is slower than its base, now or when that one comes.
struct DelayCreate: ConfigurationMethod {
    let name = "bdev_delay_create"
    let module: DelayModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> DelayModule.Options {
        var options = DelayModule.Options(
            name: try reader.requiredString("name"), base: try reader.requiredString("base_bdev_name"))
        options.averageRead = try reader.requiredLatency("avg_read_latency")
        options.p99Read = try reader.requiredLatency("p99_read_latency")
        options.averageWrite = try reader.requiredLatency("avg_write_latency")
        options.p99Write = try reader.requiredLatency("p99_write_latency")
        options.uuid = try reader.uuid("uuid")
        return options
    }

    func apply(_ options: DelayModule.Options, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let isThere = try await module.create(options)
        return .stacked(.string(options.name), on: options.base, isThere: isThere) {
            try? await module.delete(options.name)
        }
    }
}

/// `bdev_delay_update_latency`.
struct DelayUpdateLatency: ConfigurationMethod {
    struct Parameters: Sendable {
        let bdev: String
        let kind: DelayModule.LatencyKind
        let latency: Duration
    }

    let name = "bdev_delay_update_latency"
    let module: DelayModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            bdev: try reader.requiredString("delay_bdev_name"),
            kind: try reader.requiredChoice(
                "latency_type",
                [
                    ("avg_read", .averageRead), ("p99_read", .p99Read), ("avg_write", .averageWrite),
                    ("p99_write", .p99Write),
                ]),
            latency: try reader.requiredLatency("latency_us"))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.setLatency(parameters.kind, of: parameters.bdev, to: parameters.latency)
        return ConfigurationOutcome()
    }
}

/// `bdev_delay_delete`.
struct DelayDelete: ConfigurationMethod {
    let name = "bdev_delay_delete"
    let module: DelayModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}

extension ParameterReader {
    /// In microseconds, up to a day.
    fileprivate mutating func requiredLatency(_ key: String) throws(ConfigurationError) -> Duration {
        .microseconds(Int64(try requiredInteger(key, in: 0...86_400_000_000)))
    }
}
