import Bdev

/// `bdev_set_qos_limit`: limits what a bdev may do in a second. As with SPDK, 0 takes a limit away and a limit that is
/// not named stays; megabytes are 2^20 bytes. Unlike there, nothing is rounded.
struct SetLimits: ConfigurationMethod {
    struct Parameters: Sendable {
        let name: String
        var operations: UInt64?
        var megabytes: UInt64?
        var readMegabytes: UInt64?
        var writeMegabytes: UInt64?
    }

    let name = "bdev_set_qos_limit"
    /// More megabytes than that are more than 2^64 bytes.
    private static let most: UInt64 = 1 << 44 - 1

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            name: try reader.requiredString("name"), operations: try reader.integer("rw_ios_per_sec"),
            megabytes: try reader.integer("rw_mbytes_per_sec", in: 0...Self.most),
            readMegabytes: try reader.integer("r_mbytes_per_sec", in: 0...Self.most),
            writeMegabytes: try reader.integer("w_mbytes_per_sec", in: 0...Self.most))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let before = try await engine.limits(of: parameters.name)
        var limits = before
        func change(_ limit: inout UInt64?, to value: UInt64?, unit: UInt64) {
            if let value { limit = value == 0 ? nil : value * unit }
        }
        change(&limits.operationsPerSecond, to: parameters.operations, unit: 1)
        change(&limits.bytesPerSecond, to: parameters.megabytes, unit: 1 << 20)
        change(&limits.readBytesPerSecond, to: parameters.readMegabytes, unit: 1 << 20)
        change(&limits.writeBytesPerSecond, to: parameters.writeMegabytes, unit: 1 << 20)
        try await engine.setLimits(limits, of: parameters.name)
        return ConfigurationOutcome {
            // Only fails when the bdev is gone, and its limits with it.
            try? await engine.setLimits(before, of: parameters.name)
        }
    }
}
