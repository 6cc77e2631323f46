// Parameters that several methods share.

extension ParameterReader {
    /// The block size of a file or device: a power of two from 512 to 2^31. 0, like none at all, means that it is to
    /// be found out.
    mutating func fileBlockSize(_ key: String) throws(ConfigurationError) -> Int? {
        guard let size = try integer(key, in: 0...(1 << 31)), size != 0 else { return nil }
        if size >= 512 && size & (size - 1) == 0 { return Int(size) }
        throw error(
            .outOfRange, key, "a block of \(size) bytes is not possible",
            advice: "use a power of two from 512 on, or leave it out")
    }

    /// A block size that has to be there.
    mutating func requiredBlockSize(_ key: String) throws(ConfigurationError) -> Int {
        try multipleOf512(key, try requiredInteger(key, in: 1...(1 << 31)))
    }

    private func multipleOf512(_ key: String, _ size: UInt64) throws(ConfigurationError) -> Int {
        if size % 512 == 0 { return Int(size) }
        throw error(.outOfRange, key, "a block of \(size) bytes is not possible", advice: "use a multiple of 512")
    }

    /// A NUMA node; -1 means any, as SPDK writes it.
    mutating func node(_ key: String) throws(ConfigurationError) -> Int? {
        if isMinusOne(key) { return nil }
        return try integer(key, in: 0...1023).map { Int($0) }
    }

    mutating func refusePhysicalBlockSize(otherThan size: Int) throws(ConfigurationError) {
        guard let physical = try integer("physical_block_size"), physical != 0, physical != UInt64(size) else { return }
        throw error(
            .notSupported, "physical_block_size", "\(physical) is not supported: a bdev has one block size",
            advice: "leave it out or make it \(size)")
    }

    /// Metadata and its protection information are not offered: the defaults, which mean "none", are taken, anything
    /// else is refused.
    mutating func refuseMetadata(interleave: Bool = false) throws(ConfigurationError) {
        let reason = "bdevs have no metadata and no protection information"
        try only("md_size", .unsigned(0), because: reason)
        if interleave { try only("md_interleave", .bool(false), because: reason) }
        try only("dif_type", .unsigned(0), because: reason)
        try only("dif_pi_format", .unsigned(0), because: reason)
        try only("dif_is_head_of_md", .bool(false), because: reason)
    }
}
