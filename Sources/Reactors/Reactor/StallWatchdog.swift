import CLinux
import Synchronization

/// A reactor that did not finish its turn in time, and what held it.
public struct StallReport: Sendable, Hashable, CustomStringConvertible {
    /// What the reactor was running when the report was made.
    public enum Activity: Sendable, Hashable {
        case poller(String)
        case timer
        case ring
        /// A piece of a task, or a message.
        case job
        /// The turn itself: taking in what other threads sent.
        case turn
    }

    public let reactor: String
    public let core: Int
    /// Of the reactor's thread, as `gdb`, `perf` and `top -H` number them.
    public let threadID: Int
    /// How long the turn has run at least: the watchdog looks four times in a threshold.
    public let duration: Duration
    public let activity: Activity

    /// One line.
    public var description: String {
        let what =
            switch activity {
            case .poller(let name): "in poller '\(name)'"
            case .timer: "in a timer"
            case .ring: "in its ring"
            case .job: "in a job"
            case .turn: "in its turn"
            }
        return "\(reactor) (thread \(threadID)) has not come round for \(duration): it is \(what)"
    }
}

/// Looks at a group's reactors from a thread of its own and reports each one that holds its turn too long, once for
/// each stall.
///
/// A reactor that sleeps is not stalled. Reactors pay nothing for being watched: what they publish they always publish.
final class StallWatchdog: Sendable {
    private struct Watched {
        let reactor: Reactor
        var turns: UInt64 = 0
        /// CLOCK_MONOTONIC, when it was last seen asleep or in another turn.
        var progress: UInt64
        var isReported = false
    }

    private let reactors: [Reactor]
    private let threshold: UInt64
    private let report: @Sendable (StallReport) -> Void
    private let event: WakeEvent
    private let isStopping = Atomic<Bool>(false)
    private let thread = Atomic<UInt64>(0)

    init(
        reactors: [Reactor], threshold: Duration, report: @escaping @Sendable (StallReport) -> Void
    ) throws(ReactorError) {
        precondition(threshold > .zero, "a stall threshold must be positive")
        self.reactors = reactors
        self.threshold = ReactorClock.simulated().ticks(threshold)
        self.report = report
        event = try WakeEvent()
        thread.store(
            try startThread { [self] in
                // SAFETY: a string the call reads.
                unsafe clinux_name_thread("reactor_watch")
                watch()
            }, ordering: .releasing)
    }

    /// Returns when no more reports come. Not from within a report.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        event.signal()
        clinux_join_thread(thread.load(ordering: .acquiring))
    }

    private func watch() {
        let start = clinux_monotonic_nanoseconds()
        var watched = reactors.map { Watched(reactor: $0, progress: start) }
        while !isStopping.load(ordering: .acquiring) {
            let now = clinux_monotonic_nanoseconds()
            for index in watched.indices { look(at: &watched[index], now) }
            event.wait(nanoseconds: max(1_000_000, threshold / 4))
        }
    }

    private func look(at watched: inout Watched, _ now: UInt64) {
        let loop = watched.reactor.loop
        let activity = ReactorActivity(word: loop.activity.load(ordering: .acquiring))
        let turns = loop.turns.load(ordering: .acquiring)
        if activity == .asleep || turns != watched.turns {
            watched.turns = turns
            watched.progress = now
            watched.isReported = false
        } else if !watched.isReported && now - watched.progress >= threshold {
            watched.isReported = true
            report(
                StallReport(
                    reactor: watched.reactor.name, core: watched.reactor.core,
                    threadID: Int(watched.reactor.threadID.load(ordering: .relaxed)),
                    duration: .nanoseconds(Int64(clamping: now - watched.progress)),
                    activity: name(activity, loop.pollerNames)))
        }
    }

    private func name(_ activity: ReactorActivity, _ names: PollerNames) -> StallReport.Activity {
        switch activity {
        case .jobs: .job
        case .timer: .timer
        case .ring: .ring
        default: activity.pollerSlot.map { .poller(names.name($0) ?? "removed") } ?? .turn
        }
    }
}
