/// All that a reactor takes from outside itself: time, wake-ups, the ring and randomness.
///
/// `KernelBackend` takes them from Linux. `SimulatedReactors` has another whose world is a seed.
package protocol ReactorBackend: AnyObject, Sendable {
    /// The reactor's time. Must not block.
    var clock: ReactorClock { get }
    /// The ring through which this reactor reaches files and devices. Called on the reactor, once. Must not block.
    func makeRing(options: Ring.Options) throws(RingError) -> Ring
    /// What stands in when `makeRing(options:)` throws: the same operations, done by threads. Called on the reactor,
    /// once.
    func makeThreadRing(options: Ring.Options) -> Ring
    /// Waits until `wake()` is called, a completion is ready on `ring`, or `deadline` (ticks) has come. May block;
    /// called on the reactor, and only when it has nothing to run. May return early.
    func sleep(until deadline: UInt64?, ring: Ring?)
    /// Ends the present or next `sleep`. From any thread. Must not block.
    func wake()
    /// A random word. Must not block.
    func randomWord() -> UInt64
}

extension ReactorBackend {
    package func makeThreadRing(options: Ring.Options) -> Ring {
        preconditionFailure("this backend's ring cannot be refused")
    }
}

/// Linux underneath.
package final class KernelBackend: ReactorBackend, @unchecked Sendable {
    // SAFETY: immutable after init but for a simulated clock's time, which this backend's clock does not have.
    package let clock: ReactorClock
    private let event: WakeEvent

    package init() throws(ReactorError) {
        clock = ReactorClock.kernel()
        event = try WakeEvent()
    }

    package func makeRing(options: Ring.Options) throws(RingError) -> Ring {
        try KernelRing(options: options, wakeEvent: event)
    }

    package func makeThreadRing(options: Ring.Options) -> Ring {
        ThreadPoolRing(options: options, wakeEvent: event)
    }

    package func sleep(until deadline: UInt64?, ring: Ring?) {
        let now = clock.now()
        var timeout: UInt64?
        if let deadline {
            if deadline <= now { return }
            timeout = clock.nanoseconds(ticks: deadline - now)
        }
        if let ring { ring.wait(nanoseconds: timeout) } else { event.wait(nanoseconds: timeout) }
        event.drain()
    }

    package func wake() { event.signal() }

    package func randomWord() -> UInt64 { UInt64.random(in: .min ... .max) }
}
