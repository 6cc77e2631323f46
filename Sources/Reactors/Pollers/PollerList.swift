/// The pollers that run on every turn. Iterating costs one virtual call for each and no reference counting.
struct PollerList {
    /// Keeps them alive; the order is the order of calls.
    private var owned: [Poller] = []
    private var active: [Reference] = []
    private var needsSweep = false

    private struct Reference {
        // SAFETY: `owned` holds the poller; entries leave both arrays together, never during a walk.
        unowned(unsafe) let poller: Poller
        init(_ poller: Poller) { unsafe self.poller = poller }
    }

    mutating func add(_ poller: Poller) {
        owned.append(poller)
        active.append(Reference(poller))
    }

    mutating func scheduleSweep() { needsSweep = true }

    /// Forgets removed pollers. Between walks only.
    mutating func sweepIfNeeded() {
        if !needsSweep { return }
        needsSweep = false
        owned.removeAll { $0.state == .removed }
        active = owned.map(Reference.init)
    }

    var count: Int { active.count }
    var all: [Poller] { owned }

    /// One visit to the poller at `index`.
    func run(_ index: Int, _ visit: (Poller) -> PollResult) -> PollResult {
        // SAFETY: as for Reference.
        unsafe visit(active[index].poller)
    }
}
