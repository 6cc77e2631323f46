import Bdev
import NullBdev

/// `bdev_null_create`: makes a bdev that keeps nothing.
struct NullCreate: ConfigurationMethod {
    let name = "bdev_null_create"
    let module: NullModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> NullModule.Options {
        var options = NullModule.Options(
            name: try reader.requiredString("name"),
            blockCount: try reader.requiredInteger("num_blocks", in: 1 ... .max))
        options.blockByteCount = try reader.requiredBlockSize("block_size")
        options.uuid = try reader.uuid("uuid")
        try reader.refusePhysicalBlockSize(otherThan: options.blockByteCount)
        try reader.refuseMetadata()
        for key in [
            "preferred_write_granularity", "preferred_write_alignment", "optimal_write_size",
            "preferred_unmap_granularity",
            "preferred_unmap_alignment",
        ] {
            try reader.only(key, .unsigned(0), because: "a null bdev has no preferences")
        }
        return options
    }

    func apply(_ options: NullModule.Options, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.create(options)
        return .created(options.name, on: engine)
    }
}

/// `bdev_null_delete`.
struct NullDelete: ConfigurationMethod {
    let name = "bdev_null_delete"
    let module: NullModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
