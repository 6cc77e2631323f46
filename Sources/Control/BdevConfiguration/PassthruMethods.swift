import Bdev
import PassthruBdev

/// `bdev_passthru_create`: makes a bdev that hands everything on to another, now or when that one comes.
struct PassthruCreate: ConfigurationMethod {
    struct Parameters: Sendable {
        let name: String
        let base: String
        let uuid: BdevUUID?
    }

    let name = "bdev_passthru_create"
    let module: PassthruModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            name: try reader.requiredString("name"), base: try reader.requiredString("base_bdev_name"),
            uuid: try reader.uuid("uuid"))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let isThere = try await module.create(parameters.name, on: parameters.base, uuid: parameters.uuid)
        return .stacked(.string(parameters.name), on: parameters.base, isThere: isThere) {
            try? await module.delete(parameters.name)
        }
    }
}

/// `bdev_passthru_delete`.
struct PassthruDelete: ConfigurationMethod {
    let name = "bdev_passthru_delete"
    let module: PassthruModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
