import CLinux

// SAFETY (below): the segments live as long as the list, and indices are checked.

/// Pieces of memory for one vectored read or write, in the kernel's own layout (struct iovec). Made once and used
/// again and again: filling it does not allocate. Belongs to one thread.
@safe public final class IOVectorList {
    /// How many pieces it takes.
    public let capacity: Int
    /// How many it has.
    public private(set) var count = 0
    /// Of all pieces.
    public private(set) var byteCount = 0
    // SAFETY: `capacity` entries, the first `count` of them initialized.
    private let segments: UnsafeMutablePointer<clinux_segment>
    /// Of the first piece.
    private var arena: UInt32 = 0

    /// - Parameter capacity: 1 to 1,024, the kernel's limit (IOV_MAX).
    public init(capacity: Int = 64) {
        precondition((1...1024).contains(capacity), "a vector list takes 1 to 1,024 pieces")
        self.capacity = capacity
        unsafe segments = .allocate(capacity: capacity)
    }

    // SAFETY: the entries are trivial; no operation uses the list any more.
    deinit { unsafe segments.deallocate() }

    public func removeAll() { (count, byteCount) = (0, 0) }

    /// False: it is full.
    public func append(_ memory: IOMemory) -> Bool {
        if count == capacity { return false }
        if count == 0 { arena = memory.arena }
        // SAFETY: below the capacity.
        unsafe (segments + count).initialize(to: clinux_segment(base: memory.base, length: memory.byteCount))
        count += 1
        byteCount += memory.byteCount
        return true
    }

    /// Drops the first `removed` bytes: what a short read or write has done already. Traps beyond the end. In time
    /// linear in `count`.
    public func removeFirst(byteCount removed: Int) {
        precondition(removed >= 0 && removed <= byteCount, "a vector list does not hold that many bytes")
        var left = removed, skipped = 0
        // SAFETY: all indexes are below `count`; an address moves within its own piece.
        while skipped < count, unsafe segments[skipped].length <= left {
            left -= unsafe segments[skipped].length
            skipped += 1
        }
        for index in skipped..<count { unsafe segments[index - skipped] = segments[index] }
        count -= skipped
        byteCount -= removed
        if count > 0, left > 0 {
            unsafe segments[0].base = segments[0].base! + left
            unsafe segments[0].length -= left
        }
        if skipped > 0 { arena = 0 }
    }

    var address: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(segments) }

    /// The memory, when it is one piece only: then the plain operation is cheaper.
    var single: IOMemory? {
        if count != 1 { return nil }
        // SAFETY: the first entry is initialized; the piece lives as whoever appended it says.
        return unsafe IOMemory(base: segments[0].base!, byteCount: segments[0].length, arena: arena)
    }
}
