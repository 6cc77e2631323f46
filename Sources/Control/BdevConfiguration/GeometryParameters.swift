// Parameters that several methods share.

import Bdev

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

    /// The block size of the medium; 0, like none at all, means that of the bdev.
    mutating func physicalBlockSize() throws(ConfigurationError) -> Int {
        let key = "physical_block_size"
        return try multipleOf512(key, try integer(key, in: 0...(1 << 31)) ?? 0)
    }

    /// The metadata of blocks of `dataByteCount` bytes, which `block_size` gave, and its protection information.
    mutating func metadata(isInterleaved: Bool, dataByteCount: Int) throws(ConfigurationError) -> BlockMetadata? {
        let size = try integer("md_size") ?? 0
        if size != 0 && !BlockMetadata.byteCounts.contains(Int(clamping: size)) {
            throw error(
                .outOfRange, "md_size", "\(size) bytes of metadata are not possible",
                advice: "use 8, 16, 32, 64 or 128, or leave it out")
        }
        let protection = try protection(metadataByteCount: size, dataByteCount: dataByteCount)
        if size == 0 { return nil }
        return BlockMetadata(byteCount: Int(size), isInterleaved: isInterleaved, protection: protection)
    }

    /// nil for a `dif_type` of 0; the rest says nothing then. As with SPDK, application tags are not checked.
    private mutating func protection(
        metadataByteCount: UInt64, dataByteCount: Int
    ) throws(ConfigurationError) -> ProtectionInformation? {
        let type = try integer("dif_type", in: 0...3) ?? 0
        let formatNumber = try integer("dif_pi_format", in: 0...2) ?? 0
        let isAtHead = try bool("dif_is_head_of_md") ?? false
        guard let type = ProtectionInformation.ProtectionType(rawValue: UInt8(type)),
            let format = ProtectionInformation.Format(rawValue: UInt8(formatNumber))
        else { return nil }
        if metadataByteCount < UInt64(format.byteCount) {
            throw error(
                .outOfRange, "md_size",
                "protection information of \(format.byteCount) bytes does not fit in \(metadataByteCount)",
                advice: "use \(format.byteCount) or more, or a dif_type of 0")
        }
        if format != .guard16 && dataByteCount % 4096 != 0 {
            throw error(
                .outOfRange, "block_size", "a block of \(dataByteCount) bytes cannot have a guard of 32 or 64 bits",
                advice: "use a multiple of 4096, or a dif_pi_format of 0")
        }
        return ProtectionInformation(
            type, format: format, placement: isAtHead ? .head : .tail, checks: [.guard, .referenceTag])
    }

    /// What suits a bdev best, in blocks.
    mutating func preferences() throws(ConfigurationError) -> IOPreferences {
        var preferences = IOPreferences()
        preferences.writeGranularity = try blocks("preferred_write_granularity")
        preferences.writeAlignment = try blocks("preferred_write_alignment")
        preferences.optimalWriteSize = try blocks("optimal_write_size")
        preferences.unmapGranularity = try blocks("preferred_unmap_granularity")
        preferences.unmapAlignment = try blocks("preferred_unmap_alignment")
        return preferences
    }

    private mutating func blocks(_ key: String) throws(ConfigurationError) -> UInt32 {
        UInt32(try integer(key, in: 0...UInt64(UInt32.max)) ?? 0)
    }
}
