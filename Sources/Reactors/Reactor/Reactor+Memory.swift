extension LocalReactor {
    /// A buffer of `byteCount` bytes from this reactor's memory, or nil when none is free now. Its contents are
    /// undefined.
    public func allocateBuffer(byteCount: Int) -> IOBuffer? { loop.allocateBuffer(byteCount: byteCount) }

    /// A buffer of `byteCount` bytes from this reactor's memory, waiting in turn until one is free. Its contents are
    /// undefined. Cancellation does not end the wait.
    public func buffer(byteCount: Int) async -> IOBuffer {
        while true {
            if let buffer = loop.allocateBuffer(byteCount: byteCount) { return buffer }
            let spot = loop.makeSpot()
            if let waiter = loop.pool.addWaiter(byteCount: byteCount, spot: spot) {
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
