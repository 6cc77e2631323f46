// SAFETY (below): a served block is off the free lists and this waiter's alone.

/// One who waits for a buffer.
@safe package final class BufferWaiter {
    /// What is done when there is one.
    enum Wake {
        case task(ParkingSpot, heedsCancellation: Bool)
        case call(() -> Void)
    }

    let byteCount: Int
    let wake: Wake
    var block: UnsafeMutablePointer<BufferBlock>?

    init(byteCount: Int, _ wake: Wake) {
        self.byteCount = byteCount
        self.wake = wake
        unsafe block = nil
    }

    /// There is one, to be collected.
    package var isServed: Bool { unsafe block != nil }
}
