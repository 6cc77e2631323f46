/// An address as a device uses it: behind the IOMMU, chosen by the driver.
public struct IOVA: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64

    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable
    public static func < (left: IOVA, right: IOVA) -> Bool { left.rawValue < right.rawValue }

    /// The address `byteCount` bytes further.
    @inlinable
    public static func + (address: IOVA, byteCount: Int) -> IOVA {
        IOVA(address.rawValue &+ UInt64(truncatingIfNeeded: byteCount))
    }

    /// Hexadecimal, as the kernel's messages print it.
    public var description: String { "0x" + String(rawValue, radix: 16) }
}

/// Which addresses of a device are free: hands out ranges, takes them back, and joins what touches.
///
/// First fit over a sorted list: mappings are few and large, and made on the control path.
package struct IOVASpace: Sendable {
    /// Free ranges in rising order; no two touch.
    private(set) var free: [Range<UInt64>]
    private let granule: UInt64

    /// `usable`: what the IOMMU lets through, last address included. `granule`: the least unit of a mapping in bytes, a
    /// power of two. Address 0 is never handed out: it means "no address" to people and to tables.
    package init(usable: [ClosedRange<UInt64>], granule: Int) {
        precondition(granule > 0 && granule & (granule - 1) == 0, "the granule of a mapping is a power of two")
        let step = UInt64(granule)
        self.granule = step
        free = usable.sorted { $0.lowerBound < $1.lowerBound }.compactMap { range in
            let first = (max(range.lowerBound, step) + step - 1) & ~(step - 1)
            // The last granule of all addresses stays out, so that an end never wraps.
            let end = min(range.upperBound, .max - step) + 1
            return first < end & ~(step - 1) ? first..<end & ~(step - 1) : nil
        }
    }

    /// A free range of `byteCount` bytes, rounded up to whole granules; nil when there is none.
    package mutating func allocate(byteCount: Int) -> IOVA? {
        let size = (UInt64(byteCount) + granule - 1) & ~(granule - 1)
        guard let index = free.firstIndex(where: { $0.upperBound - $0.lowerBound >= size }) else { return nil }
        let start = free[index].lowerBound
        if free[index].upperBound - start == size {
            free.remove(at: index)
        } else {
            free[index] = start + size..<free[index].upperBound
        }
        return IOVA(start)
    }

    /// Takes back what ``allocate(byteCount:)`` handed out for `byteCount` bytes.
    package mutating func release(_ address: IOVA, byteCount: Int) {
        let size = (UInt64(byteCount) + granule - 1) & ~(granule - 1)
        var range = address.rawValue..<address.rawValue + size
        var index = free.firstIndex { $0.lowerBound >= range.lowerBound } ?? free.count
        precondition(
            (index == 0 || free[index - 1].upperBound <= range.lowerBound)
                && (index == free.count || range.upperBound <= free[index].lowerBound),
            "a range of device addresses was given back twice")
        if index < free.count, free[index].lowerBound == range.upperBound {
            range = range.lowerBound..<free.remove(at: index).upperBound
        }
        if index > 0, free[index - 1].upperBound == range.lowerBound {
            index -= 1
            range = free.remove(at: index).lowerBound..<range.upperBound
        }
        free.insert(range, at: index)
    }
}
