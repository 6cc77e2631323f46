import Bdev
import LogBdev

/// `bdev_log_create`: makes a bdev whose changes are logged, on another bdev or in memory. Ours: SPDK has no such bdev.
struct LogCreate: ConfigurationMethod {
    let name = "bdev_log_create"
    let module: LogModule
    /// More megabytes than that are more than an address can reach.
    private static let most: UInt64 = 1 << 42

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> LogModule.Options {
        var options = LogModule.Options(
            name: try reader.requiredString("name"), base: try reader.requiredString("base_bdev_name"))
        let log = try reader.string("log_bdev_name")
        let megabytes = try reader.integer("log_size_mb", in: 1...Self.most)
        if let log, megabytes == nil {
            options.log = .bdev(log)
        } else if let megabytes, log == nil {
            options.log = .memory(byteCount: Int(megabytes) << 20)
        } else if log != nil {
            throw reader.error(
                .notSupported, "log_size_mb", "a log on a bdev is as large as the bdev", advice: "leave one of them out"
            )
        }
        options.uuid = try reader.uuid("uuid")
        return options
    }

    func apply(_ options: LogModule.Options, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.create(options)
        return .created(options.name, on: engine)
    }
}

/// `bdev_log_delete`.
struct LogDelete: ConfigurationMethod {
    let name = "bdev_log_delete"
    let module: LogModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
