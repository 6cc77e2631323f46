import Reactors
import SystemPackage

/// What one simulated reactor takes from outside itself: the world's time, and random numbers from its seed.
///
/// Sendable unchecked: all of a simulation is used by one thread at a time, and `wake` traps when another comes.
final class SimulatedBackend: ReactorBackend, @unchecked Sendable {
    let clock: ReactorClock
    private let world: World
    private let index: Int

    init(world: World, index: Int) {
        self.world = world
        self.index = index
        clock = world.clock
    }

    func makeRing(options: Ring.Options) throws(RingError) -> Ring {
        if world.ringBehavior.isForbidden || options.isForbidden {
            throw RingError(
                attempt: "cannot make a simulated ring", cause: .notPermitted, reason: "the simulation forbids it",
                advice: "unset isForbidden")
        }
        return world.makeRing(at: index, options)
    }

    /// Threads are not simulated: what stands in does the same.
    func makeThreadRing(options: Ring.Options) -> Ring { world.makeRing(at: index, options) }

    /// Never called: the world lets nobody sleep, it moves the time instead.
    func sleep(until deadline: UInt64?, ring: Ring?) {}

    func wake() {
        let sender = Reactor.current?.backend as? SimulatedBackend
        precondition(
            sender?.world === world,
            """
            work from outside a simulation was sent to its reactor \(index): what a simulation runs must not leave \
            its reactors (root every task on one of them, and do not use the global thread pool)
            """)
        world.workArrived(at: index)
    }

    func randomWord() -> UInt64 { world.random.next() }
}
