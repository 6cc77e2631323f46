extension LocalReactor {
    /// A buffer of `byteCount` bytes from this reactor's memory, or nil when none is free now. Its contents are
    /// undefined.
    public func allocateBuffer(byteCount: Int) -> IOBuffer? { loop.allocateBuffer(byteCount: byteCount) }

    /// A buffer of `byteCount` bytes from this reactor's memory, waiting in turn until one is free. Its contents are
    /// undefined. Cancellation does not end the wait.
    public func buffer(byteCount: Int) async -> IOBuffer {
        guard let buffer = await waitForBuffer(byteCount, heedsCancellation: false) else {
            preconditionFailure("who waits for a buffer was sent away without one")
        }
        return buffer
    }

    /// As ``buffer(byteCount:)``; nil when the task is cancelled meanwhile, which
    /// `ReactorLoop.dismissCancelledBufferWaiters` looks for.
    package func bufferUnlessCancelled(byteCount: Int) async -> IOBuffer? {
        await waitForBuffer(byteCount, heedsCancellation: true)
    }

    private func waitForBuffer(_ byteCount: Int, heedsCancellation: Bool) async -> IOBuffer? {
        while true {
            if let buffer = loop.allocateBuffer(byteCount: byteCount) { return buffer }
            let spot = loop.makeSpot()
            let waiter = loop.pool.addWaiter(
                byteCount: byteCount, .task(spot, heedsCancellation: heedsCancellation))
            if let waiter {
                await reactor.park(at: spot)
                loop.release(spot)
                return loop.pool.collect(waiter)
            }
            loop.release(spot)
        }
    }
}

extension ReactorLoop {
    /// A buffer of the reactor's own memory, or nil when there is none now.
    package func allocateBuffer(byteCount: Int) -> IOBuffer? { pool.allocate(byteCount: byteCount) }

    /// A place among those who wait for a buffer: `told` is called when there is one to ``collect(_:)``. Nil when one
    /// is free now.
    package func awaitBuffer(byteCount: Int, told: @escaping () -> Void) -> BufferWaiter? {
        pool.addWaiter(byteCount: byteCount, .call(told))
    }

    package func collect(_ waiter: BufferWaiter) -> IOBuffer? { pool.collect(waiter) }

    /// Wakes the cancelled among the tasks that wait in `bufferUnlessCancelled`.
    package func dismissCancelledBufferWaiters() { pool.dismissCancelledWaiters() }

    /// How long a buffer could be that takes as much memory as one of `byteCount` bytes.
    package func bufferCapacity(byteCount: Int) -> Int { pool.capacity(byteCount) }

    /// The most memory that there can be for buffers, in bytes.
    package var bufferByteCountLimit: Int { pool.byteCountLimit }
}

extension Reactor {
    /// The pool has mapped more memory: the ring, if there is one, should know it.
    func poolDidGrow(_ region: MemoryRegion) { _ = loop.ring?.register(region) }

    /// The last act on the reactor's thread, when nothing will run there any more: closes the ring and lets go of the
    /// memory and of what the layer above kept here, which all refer back to the reactor.
    ///
    /// - Returns: operations of the ring that had to be abandoned; their memory is left in place for good.
    package func tearDown() -> Int {
        loop.attachment = nil
        let abandoned = loop.closeRing()
        loop.pool = nil
        return abandoned
    }
}

extension LocalReactor {
    /// How many buffers of each size there are, and how many of those are free.
    package var bufferOccupancy: [(byteCount: Int, total: Int, available: Int)] { loop.pool.occupancy }
}
