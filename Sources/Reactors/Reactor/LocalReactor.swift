/// A reactor seen from its own thread: pollers, timers, sleeping, memory.
///
/// An actor whose executor is the reactor. Code that is given an `isolated LocalReactor` runs on that reactor and calls
/// all of this without `await`; from anywhere else the same calls do not compile without one.
public actor LocalReactor {
    public nonisolated unowned let reactor: Reactor

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }

    init(reactor: Reactor) { self.reactor = reactor }

    package var loop: ReactorLoop { reactor.loop }

    /// Never inlined: a body without effects would leave two hops with nothing in between, which the optimizer removes;
    /// and whoever uses `run` to wait until the reactor has got here would not.
    @inline(never)
    func perform<Result: Sendable, Failure: Error>(
        _ body: (isolated LocalReactor) async throws(Failure) -> Result
    ) async throws(Failure) -> Result {
        try await body(self)
    }
}

extension Reactor {
    /// Suspends the running task until `loop.unpark(spot)`. The caller is isolated to this reactor.
    ///
    /// Cost: one suspension, no allocation. Cancellation does not end it: whoever holds the spot does.
    package nonisolated(nonsending) func park(at spot: ParkingSpot) async {
        loop.expectParking(at: spot)
        #if ContinuationParking
        _ = await lot.park(on: ReactorConfined(loop))
        #else
        // Not `park(on:)`: where nobody looks at its result, the optimizer is left with two hops and nothing in
        // between, and removes them.
        await lot.giveWay()
        #endif
    }

    /// Suspends the running task until everything that is queued now has run. The caller is isolated to this reactor.
    package nonisolated(nonsending) func yieldTurn() async {
        await yieldLot.giveWay()
    }
}
