import CLinux
import SystemPackage

// SAFETY (below): the mapping is made in init and lives as long as self; it is exchanged in place, at the same address,
// by detach() and by the guard.

/// A base address register, mapped. Accesses do not crash when the device goes.
@safe final class MappedRegion: @unchecked Sendable {
    let memory: MMIO
    let failures: RegionGuard
    private let base: UnsafeMutableRawPointer
    private let byteCount: Int

    /// Nil: the function has no such register, or it cannot be mapped.
    init?(_ device: FileDescriptor, number: Int) throws(Errno) {
        var region = clinux_vfio_region()
        let result = unsafe clinux_vfio_region(device.rawValue, UInt32(number), &region)
        if result < 0 { throw Errno(rawValue: -result) }
        guard region.can_map, let byteCount = Int(exactly: region.byte_count) else { return nil }
        var cause: Int32 = 0
        guard let base = unsafe clinux_vfio_map_region(device.rawValue, &region, &cause) else {
            throw Errno(rawValue: -cause)
        }
        let guardNumber = unsafe clinux_guard_add(base, region.byte_count)
        if guardNumber < 0 {
            unsafe clinux_vfio_unmap_region(base, region.byte_count)
            throw Errno(rawValue: -guardNumber)
        }
        unsafe self.base = base
        self.byteCount = byteCount
        failures = RegionGuard(number: guardNumber)
        memory = unsafe MMIO(base: base, byteCount: byteCount)
    }

    /// Lets go of the device: from here on the region reads as ones, and what is written to it is lost.
    func detach() { unsafe clinux_region_detach(base, UInt64(byteCount)) }

    deinit {
        clinux_guard_remove(failures.number)
        unsafe clinux_vfio_unmap_region(base, UInt64(byteCount))
    }
}

/// Watches a mapped region for accesses that fail.
struct RegionGuard: Sendable {
    let number: Int32

    /// Whether one has failed: the device does not answer any more.
    var isTripped: Bool { clinux_guard_is_tripped(number) }
}
