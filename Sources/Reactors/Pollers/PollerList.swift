// SAFETY (below): the list is allocated as long as the object lives; `owned` keeps alive what it refers to.

/// The pollers that run on every turn. Visiting one costs a virtual call and no reference counting.
@safe final class PollerList {
    /// Keeps them alive; the order is the order of visits.
    private var owned: [Poller] = []
    private var active: UnsafeMutablePointer<Unmanaged<Poller>>
    private var capacity = 16
    private(set) var count = 0
    private var needsSweep = false

    init() { unsafe active = .allocate(capacity: capacity) }

    // SAFETY: allocated in init or `refresh`, trivially destroyed.
    deinit { unsafe active.deallocate() }

    func add(_ poller: Poller) {
        owned.append(poller)
        refresh()
    }

    func scheduleSweep() { needsSweep = true }

    /// Forgets removed pollers. Between walks only.
    @inline(__always)
    func sweepIfNeeded() { if needsSweep { sweep() } }

    @inline(never)
    private func sweep() {
        needsSweep = false
        owned.removeAll { $0.state == .removed }
        refresh()
    }

    private func refresh() {
        // SAFETY: the new allocation holds as many as `owned`, which keeps each of them alive until the next refresh.
        if owned.count > capacity {
            unsafe active.deallocate()
            capacity = owned.count * 2
            unsafe active = .allocate(capacity: capacity)
        }
        for (index, poller) in owned.enumerated() { unsafe (active + index).initialize(to: .passUnretained(poller)) }
        count = owned.count
    }

    var all: [Poller] { owned }

    /// One visit to the poller at `index`.
    @inline(__always)
    func visit(_ index: Int, by loop: ReactorLoop) -> PollResult {
        // SAFETY: below `count`; `owned` keeps the poller alive, and a removed one is forgotten between walks only.
        unsafe active[index]._withUnsafeGuaranteedRef { $0.visit(by: loop) }
    }
}

extension Poller {
    /// One visit, if it is not paused or removed.
    @inline(__always)
    final func visit(by loop: ReactorLoop) -> PollResult {
        if state != .waiting { return .idle }
        state = .running
        loop.publish(activity)
        let result = poll()
        runCount &+= 1
        if result == .busy { busyCount &+= 1 }
        if state == .running { state = .waiting } else if state == .pausing { state = .paused }
        return result
    }
}
