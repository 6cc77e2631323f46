import CLinux
import Synchronization
import SystemPackage

/// The threads of a group and the locks of their cores: apart from the group, so that they can end after the last
/// reference to it.
final class ReactorCrew: Sendable {
    private struct State {
        var threads: [UInt64] = []
        var locks: [CoreLock]
        var watchdogs: [StallWatchdog] = []
        var hasEnded = false
    }

    private let reactors: [Reactor]
    private let state: ThreadLock<State>
    /// Wakes whoever ends the crew when a reactor has answered.
    private let answered: WakeEvent

    /// Starts the threads; when one fails, ends those that run and lets go of the locks.
    init(reactors: [Reactor], locks: [CoreLock]) throws(ReactorError) {
        self.reactors = reactors
        answered = try WakeEvent()
        state = ThreadLock(State(locks: locks))
        for reactor in reactors {
            do {
                let thread = try startThread(onCore: reactor.core) { reactor.runThread() }
                state.withLock { $0.threads.append(thread) }
            } catch {
                shutDown()
                throw error
            }
        }
    }

    var isOnOneOfItsThreads: Bool { reactors.contains(where: \.isCurrent) }

    func add(_ watchdog: StallWatchdog) {
        let isLate = state.withLock { state in
            if !state.hasEnded { state.watchdogs.append(watchdog) }
            return state.hasEnded
        }
        if isLate { watchdog.stop() }
    }

    /// Blocks until all threads have ended. The lock is held all the while, so that a second caller waits for the
    /// first.
    func shutDown() {
        state.withLock { state in
            if state.hasEnded { return }
            state.hasEnded = true
            if state.threads.count == reactors.count { settle() }
            for (reactor, thread) in zip(reactors, state.threads) {
                reactor.requestStop()
                clinux_join_thread(thread)
            }
            for watchdog in state.watchdogs { watchdog.stop() }
            state.threads = []
            state.watchdogs = []
            state.locks = []
        }
    }

    /// Lets the threads end by themselves, with nobody waiting for them.
    func abandon() {
        for reactor in reactors { reactor.requestStop() }
    }

    /// Returns when no reactor has anything queued: asks each in turn how much it has run, until a whole round finds
    /// that nothing but the asking was run since the round before. One reactor that ends while another still sends to
    /// it would lose work.
    private func settle() {
        var before: UInt64?
        while true {
            var total: UInt64 = 0
            for reactor in reactors { total &+= jobsRun(by: reactor) }
            if let before, total == before &+ UInt64(reactors.count) { return }
            before = total
        }
    }

    private func jobsRun(by reactor: Reactor) -> UInt64 {
        let answer = Answer()
        let event = answered
        reactor.post { local in
            answer.jobs.store(local.reactor.loop.figures.jobs, ordering: .relaxed)
            answer.isThere.store(true, ordering: .releasing)
            event.signal()
        }
        while !answer.isThere.load(ordering: .acquiring) {
            event.wait(nanoseconds: nil)
            event.drain()
        }
        return answer.jobs.load(ordering: .relaxed)
    }

    private final class Answer: Sendable {
        let jobs = Atomic<UInt64>(0)
        let isThere = Atomic<Bool>(false)
    }
}

extension Reactor {
    /// The body of the reactor's thread.
    func runThread() {
        // SAFETY: a string the call reads.
        unsafe clinux_name_thread(name)
        threadID.store(clinux_thread_id(), ordering: .relaxed)
        asCurrent {
            loop.run()
            let abandoned = tearDown()
            if abandoned > 0 { reportAbandoned(abandoned) }
        }
    }

    /// Standard error: there is nobody left to throw to, and silence would hide memory lost for good.
    private func reportAbandoned(_ count: Int) {
        let text = "\(name): \(count) operations did not end in time; their memory is left in place\n"
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }
}
