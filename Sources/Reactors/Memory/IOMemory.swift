import CLinux

// SAFETY (below): whoever hands a piece of I/O memory out keeps it alive until the operation is complete; only its own
// bounds are touched.

/// A stretch of I/O memory as a driver sees it: an address and a length that belong to a request.
///
/// It does not keep the memory alive: whoever hands one out (a request, a buffer) does, until the operation is
/// complete. That is why reading or writing through it is for this package's drivers only; everybody else goes through
/// ``IOBuffer`` or a request's spans.
@safe public struct IOMemory: @unchecked Sendable {
    // SAFETY: an address only; dereferenced where the owner is known to be waiting for the operation.
    @usableFromInline package let base: UnsafeMutableRawPointer
    /// Its length in bytes.
    public let byteCount: Int
    /// The arena it lies in, by which a ring knows its registered buffer; 0 for memory of no arena.
    @usableFromInline package let arena: UInt32

    @inlinable
    @unsafe package init(base: UnsafeMutableRawPointer, byteCount: Int, arena: UInt32) {
        unsafe self.base = base
        self.byteCount = byteCount
        self.arena = arena
    }

    /// Its address in this process, as a number: for arithmetic, not to be followed.
    @inlinable
    package var address: UInt64 { unsafe UInt64(UInt(bitPattern: base)) }

    /// Whether its address is a multiple of `alignment` bytes, a power of two.
    public func isAligned(to alignment: Int) -> Bool {
        unsafe UInt(bitPattern: base) & UInt(alignment - 1) == 0
    }

    /// The part from `offset`, `count` bytes long. Traps outside its bounds.
    public func slice(from offset: Int, count: Int) -> IOMemory {
        precondition(
            offset >= 0 && count >= 0 && offset <= byteCount && count <= byteCount - offset,
            "a slice of I/O memory reaches beyond its end")
        // SAFETY: within the bounds just checked.
        return unsafe IOMemory(base: base + offset, byteCount: count, arena: arena)
    }

    /// Copies all of `other` to the start of this one. Both must be owned by a waiting operation.
    package func copy(from other: IOMemory) {
        precondition(other.byteCount <= byteCount, "a copy reaches beyond the end of its target")
        // SAFETY: the bound is checked; memmove allows an overlap.
        unsafe base.copyMemory(from: other.base, byteCount: other.byteCount)
    }

    package func zero() {
        // SAFETY: within its own bounds.
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    }

    package func contentEquals(_ other: IOMemory) -> Bool {
        // SAFETY: both are owned by waiting operations; only the common length is read.
        if byteCount != other.byteCount { return false }
        return unsafe clinux_memory_equal(base, other.base, Int64(byteCount))
    }

    /// The integer at `offset`, in bytes from the start. Traps outside its bounds.
    package func load<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type = Value.self, at offset: Int) -> Value {
        precondition(offset >= 0 && offset <= byteCount - MemoryLayout<Value>.size, "an integer reaches beyond the end")
        // SAFETY: the bound is checked, and every bit pattern is a value of an integer type.
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: Value.self)
    }

    /// Puts `value` at `offset`. Traps outside its bounds.
    package func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount - MemoryLayout<Value>.size, "an integer reaches beyond the end")
        // SAFETY: the bound is checked.
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: Value.self)
    }
}
