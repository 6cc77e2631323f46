import Bdev
import MallocBdev

/// `bdev_malloc_create`: makes a RAM disk.
struct MallocCreate: ConfigurationMethod {
    let name = "bdev_malloc_create"
    let module: MallocModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> MallocModule.Options {
        let name = try reader.string("name")
        let count = try reader.requiredInteger("num_blocks", in: 1 ... .max)
        let size = try reader.requiredBlockSize("block_size")
        var options = MallocModule.Options(name: name, blockCount: count, blockByteCount: size)
        options.uuid = try reader.uuid("uuid")
        options.optimalBoundaryBlockCount = try reader.integer("optimal_io_boundary", in: 0...UInt64(UInt32.max)) ?? 0
        options.node = try reader.node("numa_id")
        options.physicalBlockByteCount = try reader.physicalBlockSize()
        let isInterleaved = try reader.bool("md_interleave") ?? false
        options.metadata = try reader.metadata(isInterleaved: isInterleaved, dataByteCount: size)
        return options
    }

    func apply(_ options: MallocModule.Options, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        .created(try await module.create(options), on: engine)
    }
}

/// `bdev_malloc_delete`.
struct MallocDelete: ConfigurationMethod {
    let name = "bdev_malloc_delete"
    let module: MallocModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
