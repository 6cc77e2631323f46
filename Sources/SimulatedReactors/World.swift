import Reactors
import SystemPackage

/// All that a simulation is made of: its reactors, one time for all of them, and the seeded choice of what happens
/// next.
///
/// Sendable unchecked: used by the thread that drives the simulation only.
final class World: @unchecked Sendable {
    enum Condition {
        /// May have something to do.
        case awake
        /// Had nothing to do in its last turn, and nothing has arrived since.
        case idle
        /// The same, but something is outstanding that only polling finds.
        case polling
    }

    /// What the next step found.
    enum Step { case worked, timeMoved, nothing }

    let clock = ReactorClock.simulated()
    var random: SeededRandom
    private(set) var reactors: [Reactor] = []
    private var rings: [SimulatedRing?]
    var ringBehavior = RingBehavior()
    private(set) var digest = TraceDigest()
    private var conditions: [Condition] = []
    private var awakeCount = 0
    /// Turns at this instant.
    private(set) var stepsSinceTimeMoved = 0
    /// Movements of time since a job or a message ran.
    private(set) var movesSinceJob = 0
    /// Movements of time since a turn found work.
    private var movesSinceWork = 0

    /// How far time moves while reactors only poll, in ticks: at first.
    private static let shortestPollInterval: UInt64 = 1000
    /// It doubles after so many movements in which they found nothing, up to about a millisecond: a second of waiting
    /// is not a million turns.
    private static let movesBeforeLonger = 16, doublingLimit = 10
    /// Turns at one instant after which time moves although something is ready.
    private static let patience = 1000

    init(seed: UInt64, reactorCount: Int, options: ReactorOptions) {
        random = SeededRandom(seed: seed)
        rings = Array(repeating: nil, count: reactorCount)
        for index in 0..<reactorCount {
            let backend = SimulatedBackend(world: self, index: index)
            let reactor = Reactor(
                core: index, index: index, name: "simulated_\(index)", backend: backend, options: options)
            reactor.announceArrivals()
            reactors.append(reactor)
            conditions.append(.idle)
        }
    }

    func workArrived(at index: Int) {
        // The reactor forgets the announcement when it has used it.
        reactors[index].announceArrivals()
        set(index, .awake)
    }

    private func set(_ index: Int, _ condition: Condition) {
        if conditions[index] == .awake { awakeCount -= 1 }
        if condition == .awake { awakeCount += 1 }
        conditions[index] = condition
    }

    func wakeAll() {
        for index in reactors.indices { set(index, .awake) }
    }

    // MARK: Steps

    /// A turn of a reactor that may have something to do; when there is none, time moves to the next event, at most to
    /// `limit`. Time moves as well when an instant has seen very many turns: somebody gives way again and again until
    /// something happens.
    func step(limit: UInt64 = .max) -> Step {
        if awakeCount > 0, stepsSinceTimeMoved < Self.patience || nextEvent > limit || nextEvent == .max {
            turn(chooseAwake())
            return .worked
        }
        let next = nextEvent
        if next > limit || next == .max { return .nothing }
        moveTime(to: next)
        return .timeMoved
    }

    private func chooseAwake() -> Int {
        var skip = awakeCount > 1 ? random.index(below: awakeCount) : 0
        for index in conditions.indices where conditions[index] == .awake {
            if skip == 0 { return index }
            skip -= 1
        }
        preconditionFailure("the count of awake reactors is wrong")
    }

    private func turn(_ index: Int) {
        let reactor = reactors[index], loop = reactor.loop
        let ready = loop.readyCount
        if ready > 0 { movesSinceJob = 0 }
        if ready > 1 { loop.bringForward(random.index(below: ready)) }
        // Idle until something says otherwise, also during the turn.
        set(index, .idle)
        let result = reactor.asCurrent { loop.turn() }
        switch result {
        case .busy:
            movesSinceWork = 0
            set(index, .awake)
        case .pending: if conditions[index] == .idle { set(index, .polling) }
        case .idle: break
        }
        stepsSinceTimeMoved += 1
        record(index, result)
    }

    private func record(_ index: Int, _ result: PollResult) {
        let kind: UInt64 =
            switch result {
            case .idle: 0
            case .busy: 1
            case .pending: 2
            }
        digest.add(UInt64(index) << 8 | kind)
        digest.add(clock.now())
    }

    // MARK: Time

    /// When something happens by itself; `.max`: never.
    private var nextEvent: UInt64 {
        var next = UInt64.max
        for reactor in reactors { next = min(next, reactor.loop.nextDeadline) }
        for ring in rings { if let ring { next = min(next, ring.nextDue) } }
        if conditions.contains(.polling) { next = min(next, clock.now() + pollInterval) }
        return next
    }

    private var pollInterval: UInt64 {
        Self.shortestPollInterval << UInt64(min(movesSinceWork / Self.movesBeforeLonger, Self.doublingLimit))
    }

    func moveTime(to instant: UInt64) {
        if instant > clock.now() { clock.advance(to: instant) }
        stepsSinceTimeMoved = 0
        movesSinceJob += 1
        movesSinceWork += 1
        digest.add(0x7469_6D65)
        digest.add(instant)
        wakeAll()
    }

    // MARK: Rings

    func makeRing(at index: Int, _ options: Ring.Options) -> Ring {
        let ring = SimulatedRing(world: self, options: options)
        rings[index] = ring
        return ring
    }

    /// Whether something happens that does so in this part of cases, 0 to 1.
    func chance(_ fraction: Double) -> Bool {
        fraction > 0 && Double(random.next() >> 11) < fraction * Double(UInt64(1) << 53)
    }

    /// What an operation takes, in ticks: at least 1.
    func latency() -> UInt64 {
        let range = ringBehavior.latency
        let least = max(1, clock.ticks(range.lowerBound)), most = max(least, clock.ticks(range.upperBound))
        let ticks = UInt64.random(in: least...most, using: &random)
        return chance(ringBehavior.slowFraction) ? ticks * 10 : ticks
    }

    func injectedFailure() -> Errno? {
        chance(ringBehavior.failureFraction) ? ringBehavior.failures.randomElement(using: &random) : nil
    }

    // MARK: What is left

    /// Whether somebody waits for an instant, rather than for something that may never happen.
    var somebodySleeps: Bool { reactors.contains { $0.loop.hasTimersBesidesPollers } }

    var hasWork: Bool {
        awakeCount > 0 || rings.contains { $0?.outstanding ?? 0 > 0 } || reactors.contains { $0.loop.readyCount > 0 }
    }

    func takeApart() {
        for reactor in reactors { reactor.takeApart() }
        reactors = []
        rings = []
    }

    var parkedTaskCount: Int { reactors.reduce(0) { $0 + $1.loop.parkedTaskCount } }

    /// What waits, for people: "2 tasks are parked on simulated_0".
    var waiting: String {
        let parts = reactors.filter { $0.loop.parkedTaskCount > 0 }.map { reactor in
            let count = reactor.loop.parkedTaskCount
            return "\(count) \(count == 1 ? "task is" : "tasks are") parked on \(reactor.name)"
        }
        return parts.isEmpty ? "no task is parked on a reactor" : parts.joined(separator: ", ")
    }
}
