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
        options.physicalBlockByteCount = try reader.physicalBlockSize()
        options.metadata = try reader.metadata(isInterleaved: true, dataByteCount: options.blockByteCount)
        options.preferences = try reader.preferences()
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

/// `bdev_null_resize`: gives a null bdev another size, which is that of its data.
struct NullResize: ConfigurationMethod {
    struct Parameters: Sendable {
        let bdev: String
        let byteCount: UInt64
    }

    let name = "bdev_null_resize"
    let module: NullModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let bdev = try reader.requiredString("name")
        let megabytes = try reader.requiredInteger("new_size", in: 1...(1 << 44 - 1))
        return Parameters(bdev: bdev, byteCount: megabytes << 20)
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let bdev = parameters.bdev
        let old = try await engine.info(bdev).geometry
        try await module.resize(bdev, blockCount: parameters.byteCount / UInt64(old.dataByteCountPerBlock))
        return ConfigurationOutcome { try? await module.resize(bdev, blockCount: old.blockCount) }
    }
}
