extension ReactorLoop {
    /// The reactor's ring, made at the first call. A failure is remembered and not tried again.
    ///
    /// - Throws: `RingError`: the kernel has no io_uring, or forbids it. See ``ringOrThreads()``.
    package func startRing() throws(RingError) -> Ring {
        if let ringFailure { throw ringFailure }
        if let ring { return ring }
        do {
            return adopt(try backend.makeRing(options: options.ring))
        } catch {
            ringFailure = error
            throw error
        }
    }

    /// The reactor's ring; where the kernel gives none, one that works with threads, and the reason.
    package func ringOrThreads() -> (Ring, RingError?) {
        do {
            return (try startRing(), nil)
        } catch {
            if let ring { return (ring, error) }
            return (adopt(backend.makeThreadRing(options: options.ring)), error)
        }
    }

    /// Registers what memory the reactor has with its new ring, as fixed buffers; more follows as the pool grows.
    private func adopt(_ made: Ring) -> Ring {
        ring = made
        for region in pool.regions { _ = made.register(region) }
        return made
    }

    /// Closes the ring, if there is one: the last act of a reactor's thread. How many operations had to be abandoned,
    /// see ``Ring/close(within:)``.
    package func closeRing() -> Int {
        defer { ring = nil }
        return ring?.close() ?? 0
    }
}
