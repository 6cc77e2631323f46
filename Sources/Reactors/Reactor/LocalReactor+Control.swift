extension LocalReactor {
    /// Puts a poller on this reactor: visited on every turn, or once in `period`.
    public func add(_ poller: Poller, every period: Duration? = nil) { loop.add(poller, period: period) }

    /// Ends a poller's visits. Also from inside the poller.
    public func remove(_ poller: Poller) { loop.remove(poller) }
}

extension LocalReactor {
    /// Gives way to everything that is queued on this reactor now.
    public func yield() async { await reactor.yieldTurn() }
}
