import Reactors

/// Wakes the tasks that wait for something in the registry to be so: each looks again, and waits again if it is not.
///
/// One for an engine and its bdevs. Belongs to the engine's reactor, on which the actors that use it live; changes are
/// control work, and few wait.
final class ChangeSignal: @unchecked Sendable {
    private final class Waiter {
        let spot: ParkingSpot
        init(_ spot: ParkingSpot) { self.spot = spot }
    }

    private let home: Reactor
    private var waiters: [Waiter] = []

    init(home: Reactor) { self.home = home }

    /// Something has changed.
    func signal() {
        for waiter in waiters { home.loop.unpark(waiter.spot) }
        waiters = []
    }

    /// Returns at the next change, or once `limit` has passed.
    nonisolated(nonsending) func wait(atMost limit: Duration? = nil) async {
        let waiter = Waiter(home.loop.makeSpot())
        waiters.append(waiter)
        let timer = limit.map { limit in
            home.loop.schedule(after: limit) { [self] in
                // A change may have woken it already, and the task not have run since.
                guard let index = waiters.firstIndex(where: { $0 === waiter }) else { return }
                waiters.remove(at: index)
                home.loop.unpark(waiter.spot)
            }
        }
        await home.park(at: waiter.spot)
        timer?.cancel()
        home.loop.release(waiter.spot)
    }
}
