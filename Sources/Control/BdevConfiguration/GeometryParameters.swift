// Parameters that several methods share.

extension ParameterReader {
    /// A block size in bytes: a multiple of 512 up to 2^31.
    mutating func blockSize(_ key: String, required: Bool) throws(ConfigurationError) -> Int? {
        let range: ClosedRange<UInt64> = 512...(1 << 31)
        let found = required ? try requiredInteger(key, in: range) : try integer(key, in: range)
        guard let size = found else { return nil }
        if size % 512 != 0 {
            throw error(.outOfRange, key, "a block of \(size) bytes is not possible", advice: "use a multiple of 512")
        }
        return Int(size)
    }

    mutating func refusePhysicalBlockSize(otherThan size: Int) throws(ConfigurationError) {
        guard let physical = try integer("physical_block_size"), physical != 0, physical != UInt64(size) else { return }
        throw error(
            .notSupported, "physical_block_size", "\(physical) is not supported: a bdev has one block size",
            advice: "leave it out or make it \(size)")
    }

    /// Metadata and its protection information are not offered: the defaults, which mean "none", are taken, anything else is refused.
    mutating func refuseMetadata(interleave: Bool = false) throws(ConfigurationError) {
        let reason = "bdevs have no metadata and no protection information"
        try only("md_size", .unsigned(0), because: reason)
        if interleave { try only("md_interleave", .bool(false), because: reason) }
        try only("dif_type", .unsigned(0), because: reason)
        try only("dif_pi_format", .unsigned(0), because: reason)
        try only("dif_is_head_of_md", .bool(false), because: reason)
    }
}
