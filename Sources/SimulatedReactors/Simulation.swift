public import Reactors

/// Reactors on virtual time, all of them driven by one thread, in an order that a seed decides.
///
/// The reactors are the real ones: actors, tasks, pollers, timers, channels and bdevs work on them as on any other.
/// What is simulated is what they take from outside: time stands still while something is ready (for a thousand turns
/// at most, so that a task may also give way until something has happened) and then jumps to the next timer or
/// completion; which reactor goes on, and which of its jobs, is chosen at random. The same seed makes the same choices,
/// so a failure can be repeated, and many seeds try many orders.
///
/// What runs in a simulation must stay in it: tasks wait on the reactors' clocks, take their randomness from a
/// ``SeededRandom``, and are rooted on the reactors. An actor's calls, groups and `async let` keep to that by
/// themselves; `Task { … }` does where it is isolated to an actor of a reactor, and needs `Task(executorPreference:
/// reactor.taskExecutor)` where it is not. Work that arrives from another thread traps.
///
///     let simulation = Simulation(seed: 7, reactorCount: 2)
///     let answer = try simulation.run { here in
///         await simulation.reactors[1].run { _ in 42 }
///     }
///
/// Sendable, so that bodies can capture it; driven by one thread at a time.
public final class Simulation: Sendable {
    /// What the order of everything follows from.
    public let seed: UInt64
    private let world: World

    /// At an instant at which this many turns have been made, nothing else will ever happen.
    private static let stepLimit = 5_000_000
    /// So many movements of time without a job, and with nobody who waits for an instant: only pollers are left, and
    /// they find nothing.
    private static let idleMoveLimit = 10_000
    /// The same when somebody does: a timer that sets itself again and again and changes nothing.
    private static let moveLimit = 1_000_000

    /// - Parameters:
    ///   - seed: any; decides the order of everything.
    ///   - reactorCount: at least 1. Their cores are numbered from 0 and mean nothing.
    ///   - memory: of each reactor.
    public init(seed: UInt64, reactorCount: Int = 1, memory: BufferPool.Options = BufferPool.Options()) {
        precondition(reactorCount > 0, "a simulation needs at least one reactor")
        self.seed = seed
        var options = ReactorOptions()
        options.memory = memory
        // Small, so that the paths of a full queue are taken.
        options.remoteQueueCapacity = 16
        options.jobCapacity = 16
        // Every job is a choice.
        options.jobsPerTurn = 1
        world = World(seed: seed, reactorCount: reactorCount, options: options)
    }

    deinit {
        // What a failed run has left in its reactors refers to them: it stays for good, and they with it.
        if world.parkedTaskCount == 0 && !world.hasWork { world.takeApart() }
    }

    /// At least one, in their order.
    public var reactors: [Reactor] { world.reactors }
    /// Virtual time since the start.
    public var now: Duration { world.clock.duration(ticks: world.clock.now()) }
    /// Stands for everything that has happened so far, and when. Two simulations of one program with one seed have the
    /// same one.
    public var digest: UInt64 { world.digest.value }
    /// How files behave from here on. Set between runs, or by what the simulation runs.
    public var ringBehavior: RingBehavior {
        get { world.ringBehavior }
        set { world.ringBehavior = newValue }
    }
    /// Tasks that wait on a reactor of the simulation, for whatever reason.
    public var parkedTaskCount: Int { world.parkedTaskCount }

    // MARK: Driving

    /// Runs `body` on the first reactor, and all reactors with it, until it has returned and nothing is ready any more.
    ///
    /// The task of `body` prefers the first reactor, so that whatever it starts or awaits stays in the simulation.
    /// Called on a thread that is no reactor's, which drives everything; on a simulation several times if wanted, one
    /// after another.
    ///
    /// - Throws: `bodyFailed` with the error that `body` threw; `nothingCanHappen` when it waits for something that
    ///   cannot come any more, and `noProgress` when the reactors are busy without end. Both name what waits; what is
    ///   left then stays in memory.
    public func run<Result: Sendable>(
        _ body: @escaping @Sendable (isolated LocalReactor) async throws -> Result
    ) throws(SimulationError) -> Result {
        precondition(Reactor.current == nil, "a simulation cannot be driven by a reactor's thread")
        let home = reactors[0], outcome = Outcome<Result>()
        home.asCurrent {
            _ = Task(executorPreference: home.taskExecutor) {
                let result: Swift.Result<Result, any Error>
                do { result = .success(try await body(home.local)) } catch { result = .failure(error) }
                outcome.value = result
            }
        }
        world.wakeAll()
        while outcome.value == nil { try step() }
        settle()
        switch outcome.value! {
        case .success(let result): return result
        case .failure(let error): throw failure(.bodyFailed, "\(error)", underlying: error)
        }
    }

    /// Lets `duration` of virtual time pass, and everything happen that is due in it. Called like ``run(_:)``, between
    /// its calls.
    public func advance(by duration: Duration) {
        precondition(Reactor.current == nil, "a simulation cannot be driven by a reactor's thread")
        let end = world.clock.now() + world.clock.ticks(duration)
        world.wakeAll()
        while world.step(limit: end) != .nothing {}
        world.moveTime(to: end)
        settle()
    }

    /// Runs what is ready, without moving time.
    private func settle() {
        while world.step(limit: world.clock.now()) == .worked {}
    }

    private func step() throws(SimulationError) {
        switch world.step() {
        case .worked:
            if world.stepsSinceTimeMoved < Self.stepLimit { return }
            throw failure(.noProgress, "\(Self.stepLimit) turns at one instant: something gives way again and again")
        case .timeMoved:
            let moves = world.movesSinceJob
            if moves % Self.idleMoveLimit != 0 || moves == 0 { return }
            if !world.somebodySleeps {
                throw failure(.nothingCanHappen, "only pollers run, and find nothing: \(stuck)")
            }
            if moves >= Self.moveLimit {
                throw failure(.noProgress, "timers went off \(moves) times, and no task or message ran: \(stuck)")
            }
        case .nothing:
            throw failure(.nothingCanHappen, "the body has not returned, and nothing can happen any more: \(stuck)")
        }
    }

    private var stuck: String {
        "\(world.waiting); a task that is not parked waits for something outside, such as the global thread pool"
    }

    private func failure(_ code: SimulationError.Code, _ message: String, underlying: (any Error)? = nil)
        -> SimulationError
    {
        SimulationError(code, seed: seed, time: now, message, underlying: underlying)
    }
}

/// Sendable unchecked: of one simulation, used by its thread only.
private final class Outcome<Value>: @unchecked Sendable {
    var value: Swift.Result<Value, any Error>?
}
