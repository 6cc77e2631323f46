import Bdev
import ZoneBlockBdev

/// `bdev_zone_block_create`: makes a bdev with zones. `max_open_zones` and `max_active_zones` are ours.
struct ZoneBlockCreate: ConfigurationMethod {
    let name = "bdev_zone_block_create"
    let module: ZoneBlockModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> ZoneBlockModule.Options {
        let most = UInt64(Int32.max)
        var options = ZoneBlockModule.Options(
            name: try reader.requiredString("name"), base: try reader.requiredString("base_bdev"),
            zoneCapacity: try reader.requiredInteger("zone_capacity", in: 1 ... .max),
            optimalOpenCount: Int(try reader.requiredInteger("optimal_open_zones", in: 1...most)))
        options.openLimit = Int(try reader.integer("max_open_zones", in: 0...most) ?? 0)
        options.activeLimit = Int(try reader.integer("max_active_zones", in: 0...most) ?? 0)
        options.uuid = try reader.uuid("uuid")
        return options
    }

    func apply(
        _ options: ZoneBlockModule.Options, to engine: BdevEngine
    ) async throws(BdevError) -> ConfigurationOutcome {
        try await module.create(options)
        return .created(options.name, on: engine)
    }
}

/// `bdev_zone_block_delete`.
struct ZoneBlockDelete: ConfigurationMethod {
    let name = "bdev_zone_block_delete"
    let module: ZoneBlockModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
