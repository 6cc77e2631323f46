/// Counts what is under way on one reactor, so that closing can wait for it and refuse what comes after.
///
/// Belongs to the reactor it was made on and is used only there; whoever enters leaves exactly once. Destroying a gate
/// with work inside traps: that work would outlive what it works on.
public final class Gate {
    /// What lies behind it, for messages.
    public let name: String
    private let reactor: Reactor
    /// How many are inside.
    public private(set) var count = 0
    public private(set) var isClosed = false
    private var closers: [ParkingSpot] = []

    public init(name: String, on local: isolated LocalReactor) {
        self.name = name
        reactor = local.reactor
    }

    deinit { precondition(count == 0, "the gate '\(name)' was destroyed with work inside: close it and wait first") }

    /// Goes in; ``leave()`` is then owed. Cost: an addition.
    ///
    /// - Throws: ``ReactorError/Code/stopped`` once the gate is closed.
    public func enter() throws(ReactorError) {
        if isClosed {
            throw ReactorError(.stopped, "'\(name)' is closed", advice: "start no new work on it after closing it")
        }
        count += 1
    }

    /// Comes out. The last one out of a closed gate wakes whoever closed it. Cost: a subtraction.
    public func leave() {
        precondition(count > 0, "the gate '\(name)' was left more often than entered")
        count -= 1
        if count == 0 && !closers.isEmpty { wakeClosers() }
    }

    private func wakeClosers() {
        let waiting = closers
        closers = []
        for spot in waiting { reactor.loop.unpark(spot) }
    }

    /// Refuses entry from now on and returns when nobody is inside. May be called more than once; every caller waits.
    ///
    /// Cancellation does not end the wait: what is inside still uses what the gate protects. On the gate's reactor.
    public nonisolated(nonsending) func close() async {
        reactor.checkIsolated()
        isClosed = true
        if count == 0 { return }
        let spot = reactor.loop.makeSpot()
        closers.append(spot)
        await reactor.park(at: spot)
        reactor.loop.release(spot)
    }
}
