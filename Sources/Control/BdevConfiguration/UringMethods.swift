import Bdev
import UringBdev

/// `bdev_uring_create` and `bdev_aio_create`: make a bdev of a file or block device. One module does both here; the
/// second name takes SPDK's parameters of its own.
struct UringCreate: ConfigurationMethod {
    let name: String
    let module: UringModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> UringModule.Options {
        var options = UringModule.Options(
            name: try reader.requiredString("name"), path: try reader.requiredString("filename"))
        options.blockByteCount = try reader.fileBlockSize("block_size")
        options.uuid = try reader.uuid("uuid")
        if name == "bdev_aio_create" {
            options.isReadOnly = try reader.bool("readonly") ?? false
            // Holes are always punched here, so there is nothing to switch on.
            _ = try reader.bool("fallocate")
            try reader.only("nowait", .bool(false), because: "I/O through io_uring does not block")
        }
        return options
    }

    func apply(_ options: UringModule.Options, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.create(options)
        return .created(options.name, on: engine)
    }
}

/// `bdev_uring_delete` and `bdev_aio_delete`.
struct UringDelete: ConfigurationMethod {
    let name: String
    let module: UringModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}

/// `bdev_uring_rescan` and `bdev_aio_rescan`.
struct UringRescan: ConfigurationMethod {
    let name: String
    let module: UringModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.rescan(bdev)
        return ConfigurationOutcome()
    }
}
