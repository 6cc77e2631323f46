/// What one visit to a poller found.
public enum PollResult: Sendable {
    /// Nothing to do, and nothing outstanding that only polling could find: the reactor may sleep.
    case idle
    /// Work was done.
    case busy
    /// Nothing this time, but work is outstanding that only polling can find: the reactor must not sleep.
    case pending
}

/// Something a reactor visits again and again: on every turn, or once in a period.
///
/// Subclass it and override `poll()`, or give a closure to ``LocalReactor/addPoller(named:every:_:)``. A poller belongs
/// to the reactor it was added to and is only ever called there. It may pause, resume or remove any poller of its
/// reactor, itself included, also while it runs.
open class Poller {
    enum State { case unregistered, waiting, running, paused, pausing, removed }

    /// For statistics and the stall watchdog.
    public let name: String
    final var state = State.unregistered
    /// 0: on every turn. In ticks.
    final var period: UInt64 = 0
    /// The next visit of a poller with a period.
    final var timer: ReactorTimer?
    /// What the reactor publishes while it is visited; its place among the reactor's names.
    final var activity = ReactorActivity.turn
    /// Visits so far.
    final var runCount: UInt64 = 0
    /// Visits that found work.
    final var busyCount: UInt64 = 0

    public init(name: String) { self.name = name }

    /// Looks for work once. Must not block. Called on the reactor.
    open func poll() -> PollResult {
        preconditionFailure("poller '\(name)' does not override poll()")
    }

    /// Whether it is on a reactor.
    package final var isRegistered: Bool { state != .unregistered && state != .removed }
}

/// A poller made of a closure.
final class ClosurePoller: Poller {
    private let body: () -> PollResult

    init(name: String, body: @escaping () -> PollResult) {
        self.body = body
        super.init(name: name)
    }

    override func poll() -> PollResult { body() }
}
