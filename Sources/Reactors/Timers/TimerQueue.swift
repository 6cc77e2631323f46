import HeapModule

/// What happens at one instant of a reactor's clock. Made by ``LocalReactor/schedule(after:_:)``.
public final class ReactorTimer {
    enum Action {
        case run(() -> Void)
        case poll(Poller)
    }

    /// In ticks.
    private(set) var deadline: UInt64
    let action: Action
    private(set) var isCancelled = false
    /// The action has begun or is done.
    private(set) var hasFired = false

    init(deadline: UInt64, action: Action) {
        self.deadline = deadline
        self.action = action
    }

    /// Nothing happens at its instant any more. Called on the timer's reactor; a timer that has fired is left alone.
    public func cancel() { if !hasFired { isCancelled = true } }

    /// Sets a timer that has fired, and is in no queue any more, for another instant: what comes round again does not
    /// allocate.
    func reuse(at deadline: UInt64) -> Bool {
        if !hasFired { return false }
        self.deadline = deadline
        hasFired = false
        return true
    }

    func fire() -> Action? {
        if isCancelled { return nil }
        hasFired = true
        return action
    }
}

/// Timers in the order of their instants; equal instants in the order they were set.
struct TimerQueue {
    private struct Entry: Comparable {
        let deadline: UInt64
        let sequence: UInt64
        let timer: ReactorTimer

        static func < (a: Entry, b: Entry) -> Bool { (a.deadline, a.sequence) < (b.deadline, b.sequence) }
        static func == (a: Entry, b: Entry) -> Bool { a.sequence == b.sequence }
    }

    private var heap = Heap<Entry>()
    /// Counts the timers added.
    private(set) var sequence: UInt64 = 0
    /// `.max` when there is none.
    private(set) var nextDeadline = UInt64.max

    var count: Int { heap.count }

    var hasTimersBesidesPollers: Bool {
        heap.unordered.contains { entry in
            if case .poll = entry.timer.action { return false }
            return !entry.timer.isCancelled
        }
    }

    mutating func add(_ timer: ReactorTimer) {
        sequence += 1
        heap.insert(Entry(deadline: timer.deadline, sequence: sequence, timer: timer))
        nextDeadline = min(nextDeadline, timer.deadline)
    }

    /// The earliest timer that is due at `now`, if it was among the first `count` added; cancelled ones are dropped on
    /// the way.
    mutating func popDue(at now: UInt64, amongFirst count: UInt64) -> ReactorTimer? {
        defer { nextDeadline = heap.min?.deadline ?? .max }
        while let first = heap.min, first.deadline <= now, first.sequence <= count {
            let timer = heap.removeMin().timer
            if !timer.isCancelled { return timer }
        }
        return nil
    }
}
