import CLinux

/// For rings that are nobody's queue but do the work themselves.
extension RingOperation {
    /// Does it now, on the calling thread, with the system call that is the same. May block. The result is as of the
    /// operation; polls and cancellations are not for this.
    package func perform() -> Int32 {
        // SAFETY: its starter keeps the memory until the result is delivered.
        var raw = unsafe raw
        return Int32(clamping: unsafe clinux_operation_perform(&raw))
    }

    /// The same for the first part of its memory: so many bytes, or so many pieces of a vector.
    package func shortened(to length: UInt64) -> RingOperation {
        precondition(length > 0 && length <= self.length, "an operation is shortened to a part of itself")
        var copy = self
        // SAFETY: less of the same memory.
        unsafe copy.raw.length = length
        return copy
    }
}
