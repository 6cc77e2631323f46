// Integers in a buffer, checked against its bounds. In the machine's byte order: use `littleEndian` and `bigEndian`
// for a format.

extension IOBuffer {
    /// The integer at `offset`, in bytes from the start; no alignment is needed. Traps when it reaches beyond the end.
    @inlinable
    public func load<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type = Value.self, at offset: Int) -> Value {
        let memory = self.memory
        precondition(
            offset >= 0 && offset <= memory.byteCount - MemoryLayout<Value>.size,
            "an integer reaches beyond the end of the buffer")
        // SAFETY: the bound is checked, and every bit pattern is a value of an integer type.
        return unsafe memory.base.loadUnaligned(fromByteOffset: offset, as: Value.self)
    }

    /// Puts `value` at `offset`, in bytes from the start; no alignment is needed. Traps when it reaches beyond the end.
    @inlinable
    public mutating func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int) {
        let memory = self.memory
        precondition(
            offset >= 0 && offset <= memory.byteCount - MemoryLayout<Value>.size,
            "an integer reaches beyond the end of the buffer")
        // SAFETY: the bound is checked.
        unsafe memory.base.storeBytes(of: value, toByteOffset: offset, as: Value.self)
    }
}

extension IOBuffer {
    /// All of its bytes, for what is kept or taken apart outside of the path of an I/O. Cost: an allocation and a copy.
    public func copied() -> [UInt8] {
        // SAFETY: the buffer's own bounds; initialized, zero at first.
        unsafe [UInt8](UnsafeRawBufferPointer(start: memory.base, count: memory.byteCount))
    }
}
