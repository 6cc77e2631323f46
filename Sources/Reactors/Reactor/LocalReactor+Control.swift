extension LocalReactor {
    /// Puts a poller on this reactor: visited on every turn, or once in `period`.
    public func add(_ poller: Poller, every period: Duration? = nil) { loop.add(poller, period: period) }

    /// Ends a poller's visits. Also from inside the poller.
    public func remove(_ poller: Poller) { loop.remove(poller) }
}
