/// A reactor seen from its own thread: pollers, timers, sleeping, memory.
///
/// An actor whose executor is the reactor. Code that is given an `isolated LocalReactor` runs on that reactor and calls
/// all of this without `await`; from anywhere else the same calls do not compile without one.
@safe public actor LocalReactor {
    public nonisolated unowned let reactor: Reactor

    // What every hop asks for is kept at hand: reading `reactor` retains and releases it.
    // SAFETY: the reactor's own executor; its actors do not outlive it.
    private nonisolated let executor: UnownedSerialExecutor
    @usableFromInline nonisolated let yieldLot: ParkingLot
    nonisolated let identity: ObjectIdentifier

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe executor }

    init(reactor: Reactor) {
        self.reactor = reactor
        unsafe executor = reactor.asUnownedSerialExecutor()
        yieldLot = reactor.yieldLot
        identity = ObjectIdentifier(reactor)
    }

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
