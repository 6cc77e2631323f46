import Bdev

/// A method that is accepted so that saved configurations load, and has nothing to do here.
struct AcceptedMethod: ConfigurationMethod {
    enum Kind: Sendable, Hashable { case string, integer, bool }

    let name: String
    /// Its parameters; the types are checked. nil: anything goes.
    let parameters: [(key: String, kind: Kind)]?
    /// What the user is told.
    let notice: String?

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) {
        guard let parameters else { return reader.acceptAll() }
        for (key, kind) in parameters {
            switch kind {
            case .string: _ = try reader.string(key)
            case .integer: _ = try reader.integer(key)
            case .bool: _ = try reader.bool(key)
            }
        }
    }

    func apply(_: Void, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        ConfigurationOutcome(notice: notice)
    }

    /// Sizes of pools that size themselves here; options of modules that are not here, which every configuration that
    /// SPDK saves has.
    static let all: [AcceptedMethod] =
        [
            AcceptedMethod(
                name: "bdev_set_options",
                parameters: [
                    ("bdev_io_pool_size", .integer), ("bdev_io_cache_size", .integer), ("bdev_auto_examine", .bool),
                    ("iobuf_small_cache_size", .integer), ("iobuf_large_cache_size", .integer),
                ], notice: nil)
        ]
        + ["bdev_iscsi_set_options", "bdev_raid_set_options"].map {
            AcceptedMethod(name: $0, parameters: nil, notice: "ignored \($0): its module is not here")
        }
}

/// `bdev_examine`: has a bdev examined although not all are. Where all are it has nothing to do.
struct Examine: ConfigurationMethod {
    let name = "bdev_examine"

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        if !engine.automaticallyExamines { try await engine.examine(bdev) }
        return ConfigurationOutcome()
    }
}

/// `bdev_wait_for_examine`.
struct WaitForExamine: ConfigurationMethod {
    let name = "bdev_wait_for_examine"

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) {}

    func apply(_: Void, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        await engine.waitForExamine()
        return ConfigurationOutcome()
    }
}

extension ConfigurationOutcome {
    /// Bdevs were made on a base, or will be when it comes.
    static func stacked(
        _ result: JSONValue, on base: String, isThere: Bool, undo: @escaping @Sendable () async -> Void
    ) -> ConfigurationOutcome {
        ConfigurationOutcome(result: result, notice: isThere ? nil : "there is no bdev '\(base)' yet", undo: undo)
    }
}
