/// A bdev's geometry in the form that the checks of every request want.
struct ChannelShape {
    let blockByteCount: UInt64
    /// Of a block size that is a power of two; 0 otherwise.
    let blockMask: UInt64
    let blockShift: UInt64
    let isPowerOfTwo: Bool
    let alignmentMask: UInt
    var alignment: Int { Int(alignmentMask) + 1 }
    /// No request of any kind needs to be split, copied or emulated.
    let isPlain: Bool
    let native: IOTypes
    /// In blocks; 0 for none.
    let boundary: UInt64
    /// Writes are whole multiples of it, cut at it; 0 when the device does not mind.
    let writeUnit: UInt64
    let transferLimit: UInt64
    /// Reads and writes of no more blocks than this, from one stretch of memory, are never split.
    let simpleLimit: UInt64
    let unmapLimit: UInt64
    let writeZeroesLimit: UInt64
    /// What is written to a zone comes one after the other.
    let hasZones: Bool
    let metadataByteCount: Int
    let hasSeparateMetadata: Bool
    let copyLimit: UInt64
    let segmentCountLimit: Int
    let segmentByteCountLimit: Int

    init(_ geometry: BdevGeometry, native: IOTypes) {
        let size = UInt64(geometry.blockByteCount)
        blockByteCount = size
        blockMask = size & (size - 1) == 0 ? size - 1 : 0
        blockShift = UInt64(size.trailingZeroBitCount)
        isPowerOfTwo = size & (size - 1) == 0
        alignmentMask = UInt(geometry.memoryAlignment - 1)
        boundary = geometry.splitsAtOptimalBoundary ? geometry.optimalBoundaryBlockCount : 0
        writeUnit = geometry.splitsAtWriteUnit ? geometry.writeUnitBlockCount : 0
        transferLimit = geometry.transferBlockCountLimit
        unmapLimit = geometry.unmapBlockCountLimit
        writeZeroesLimit = geometry.writeZeroesBlockCountLimit
        hasZones = geometry.zones != nil
        metadataByteCount = geometry.metadataByteCount
        hasSeparateMetadata = metadataByteCount > 0 && !geometry.isMetadataInterleaved
        copyLimit = geometry.copyBlockCountLimit
        segmentCountLimit = geometry.segmentCountLimit
        segmentByteCountLimit = geometry.segmentByteCountLimit
        self.native = native
        // Where there are boundaries it depends on the place too.
        if boundary > 0 || writeUnit > 0 {
            simpleLimit = 0
        } else {
            simpleLimit = min(
                transferLimit > 0 ? transferLimit : .max,
                segmentByteCountLimit > 0 ? UInt64(segmentByteCountLimit) / size : .max)
        }
        isPlain =
            alignmentMask == 0 && boundary == 0 && writeUnit == 0 && transferLimit == 0 && unmapLimit == 0
            && writeZeroesLimit == 0
            && segmentCountLimit == 0 && (native.contains(.writeZeroes) || !native.contains(.write))
    }

    /// Bytes as blocks; nil when they are no whole number of them.
    @inline(__always)
    func blocks(bytes: UInt64) -> UInt64? {
        if isPowerOfTwo { return bytes & blockMask == 0 ? bytes &>> blockShift : nil }
        return Self.divide(bytes, blockByteCount)
    }

    /// Static, so that calling it does not have the whole shape copied for it.
    @inline(never)
    private static func divide(_ bytes: UInt64, _ blockByteCount: UInt64) -> UInt64? {
        let (quotient, remainder) = bytes.quotientAndRemainder(dividingBy: blockByteCount)
        return remainder == 0 ? quotient : nil
    }
}
