import Reactors

extension BdevEngine {
    /// Limits what a bdev may do in a second, on all reactors together; takes the place of the limits before. What
    /// waits goes on under the new ones: nothing fails, nothing is lost.
    ///
    /// - Throws: `noSuchBdev`; `invalidArgument` for a rate of 0 or a burst out of range.
    public func setLimits(_ limits: QoSLimits, of name: String) async throws(BdevError) {
        let bdev = try find(name)
        try limits.validate(name: bdev.name)
        bdev.setLimits(limits)
        for reactor in reactors { await reactor.local.adoptLimits(of: bdev) }
    }

    /// The limits of a bdev.
    ///
    /// - Throws: `noSuchBdev`.
    public func limits(of name: String) throws(BdevError) -> QoSLimits { try find(name).limiter?.limits ?? QoSLimits() }
}

extension RegisteredBdev {
    nonisolated func setLimits(_ limits: QoSLimits) {
        limiter = limits.isUnlimited ? nil : RateLimiter(limits, clock: home.backend.clock)
    }
}

extension LocalReactor {
    func adoptLimits(of bdev: RegisteredBdev) { existingChannel(bdev)?.adoptLimits() }
}
