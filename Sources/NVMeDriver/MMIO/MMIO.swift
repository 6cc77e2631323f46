import CLinux
package import Reactors

// SAFETY (below): whoever makes an MMIO keeps its mapping until nobody uses it any more; every access is checked
// against its size and is aligned to its own width.

/// Memory that a device shares: a base address register, a controller memory buffer, or what stands for one in a soft
/// controller. The only place where registers are loaded and stored.
///
/// Any thread may use it; the device decides what concurrent accesses mean.
@safe package struct MMIO: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    /// In bytes.
    package let byteCount: Int

    /// `base`: aligned to 8 bytes.
    @unsafe package init(base: UnsafeMutableRawPointer, byteCount: Int) {
        precondition(UInt(bitPattern: base) & 7 == 0, "registers lie at a multiple of 8 bytes")
        unsafe self.base = base
        self.byteCount = byteCount
    }

    /// The whole of a region, which the caller keeps.
    package init(_ region: MemoryRegion) {
        let memory = region.memory(from: 0, count: region.byteCount)
        unsafe self.init(base: memory.base, byteCount: memory.byteCount)
    }

    /// Memory that a device shares for a moment, such as an entry of a queue; the caller keeps it.
    package init(_ memory: IOMemory) { unsafe self.init(base: memory.base, byteCount: memory.byteCount) }

    @inline(__always)
    private func address(_ offset: Int, _ width: Int) -> UnsafeMutableRawPointer {
        precondition(
            offset >= 0 && offset <= byteCount &- width && offset & (width &- 1) == 0,
            "a register lies outside of its mapping")
        return unsafe base + offset
    }

    package func load32(_ offset: Int) -> UInt32 { unsafe clinux_mmio_load32(address(offset, 4)) }

    package func store32(_ value: UInt32, _ offset: Int) { unsafe clinux_mmio_store32(address(offset, 4), value) }

    /// Stores another value and returns the one before, at once. For memory that stands for registers: a device's own
    /// cannot do it.
    package func exchange32(_ value: UInt32, _ offset: Int) -> UInt32 {
        unsafe clinux_mmio_exchange32(address(offset, 4), value)
    }

    /// In two halves, the lower first, as every controller accepts it.
    package func load64(_ offset: Int) -> UInt64 {
        UInt64(load32(offset)) | UInt64(load32(offset + 4)) << 32
    }

    /// In two halves, the lower first, as every controller accepts it.
    package func store64(_ value: UInt64, _ offset: Int) {
        store32(UInt32(truncatingIfNeeded: value), offset)
        store32(UInt32(truncatingIfNeeded: value >> 32), offset + 4)
    }

    /// The register at `offset`, 4 bytes wide, to be stored to again and again without a check.
    package func doorbell(_ offset: Int) -> Doorbell { unsafe Doorbell(address: address(offset, 4)) }

    /// A part of it as memory for I/O: of a device that shows it as memory. `owner` keeps the mapping.
    package func region(from offset: Int, byteCount count: Int, of owner: any AnyObject & Sendable) -> MemoryRegion {
        let part = slice(from: offset, byteCount: count)
        return unsafe MemoryRegion(base: part.base, byteCount: count, of: owner)
    }

    /// A part of it.
    package func slice(from offset: Int, byteCount count: Int) -> MMIO {
        precondition(
            offset >= 0 && count >= 0 && offset <= byteCount && count <= byteCount - offset,
            "a part of a mapping reaches beyond its end")
        return unsafe MMIO(base: base + offset, byteCount: count)
    }
}

/// One doorbell: a register, and where there are shadow doorbells what stands for it in memory.
@safe package struct Doorbell: @unchecked Sendable {
    private let address: UnsafeMutableRawPointer
    private var shadow: Shadow?

    /// The driver stores to `value`; up to which value the device needs no telling, it keeps in `event`.
    @safe private struct Shadow {
        let value: UnsafeMutableRawPointer
        let event: UnsafeMutableRawPointer
    }

    fileprivate init(address: UnsafeMutableRawPointer) { unsafe self.address = address }

    /// The same doorbell with words of memory before its register; the caller keeps them. Both are 0 as long as nothing
    /// has been told.
    package func shadowed(by value: IOMemory, event: IOMemory) -> Doorbell {
        precondition(value.byteCount == 4 && event.byteCount == 4, "a shadow doorbell is a word of 4 bytes")
        var copy = self
        copy.shadow = unsafe Shadow(value: value.base, event: event.base)
        return copy
    }

    /// Tells the device. What was stored to memory before is there when it looks. False: the register was spared, as
    /// the device is about to look anyhow.
    @inline(__always) @discardableResult
    package func ring(_ value: UInt32) -> Bool {
        if let shadow { return ring(value, shadow) }
        unsafe clinux_mmio_store32(address, value)
        return true
    }

    /// NVM Express Base Specification 2.0, annex B.5: the register is stored to when the new value passes the event.
    @inline(never)
    private func ring(_ value: UInt32, _ shadow: Shadow) -> Bool {
        let before = unsafe clinux_mmio_load32(shadow.value)
        unsafe clinux_mmio_store32(shadow.value, value)
        clinux_mmio_full_barrier()
        let event = unsafe clinux_mmio_load32(shadow.event)
        // Of 16 bits, as the values are.
        let passed = UInt16(truncatingIfNeeded: value &- event &- 1)
        if passed >= UInt16(truncatingIfNeeded: value &- before) { return false }
        unsafe clinux_mmio_store32(address, value)
        return true
    }
}
