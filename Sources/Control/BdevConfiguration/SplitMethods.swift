import Bdev
import SplitBdev

/// `bdev_split_create`: divides a bdev into parts, now or when it comes. The result is their names.
struct SplitCreate: ConfigurationMethod {
    struct Parameters: Sendable {
        let base: String
        let count: Int
        let partByteCount: UInt64?
    }

    let name = "bdev_split_create"
    let module: SplitModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let base = try reader.requiredString("base_bdev")
        let count = Int(try reader.requiredInteger("split_count", in: 1...UInt64(UInt32.max)))
        // As with SPDK, 0 divides evenly.
        let megabytes = try reader.integer("split_size_mb", in: 0...(1 << 44 - 1)) ?? 0
        return Parameters(base: base, count: count, partByteCount: megabytes == 0 ? nil : megabytes << 20)
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let base = parameters.base
        let parts = try await module.create(
            on: base, count: parameters.count, partByteCount: parameters.partByteCount)
        return .stacked(.array(parts.map { .string($0) }), on: base, isThere: !parts.isEmpty) {
            try? await module.delete(on: base)
        }
    }
}

/// `bdev_split_delete`.
struct SplitDelete: ConfigurationMethod {
    let name = "bdev_split_delete"
    let module: SplitModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("base_bdev")
    }

    func apply(_ base: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(on: base)
        return ConfigurationOutcome()
    }
}
