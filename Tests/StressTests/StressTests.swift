import Bdev
import Reactors
import SimulatedReactors
import Synchronization
import Testing

/// Everything at once: I/O of all kinds on a random stack, while everything else that a bdev layer can do goes on.
///
/// `STRESS_SEED` repeats the choices of a run, and `STRESS_IO_COUNT` says how long it is.
@Suite(.serialized)
struct StressTests {
    /// How many stacks the I/Os on threads are divided among.
    private static let runCount: UInt64 = 8

    @Test func `nothing is lost and nobody waits for ever, on two threads`() async throws {
        let first = StressOptions.seed, count = StressOptions.ioCount
        for seed in first..<first + Self.runCount {
            let options = StressOptions(seed: seed, ioCount: count / Int(Self.runCount))
            let findings = try await Self.runOnThreads(options)
            #expect(findings == [], "STRESS_SEED=\(seed)")
            if !findings.isEmpty { return }
        }
    }

    @Test func `nothing is lost and nobody waits for ever, in any order of events`() throws {
        let first = StressOptions.simulationSeed
        for seed in first..<first + StressOptions.simulationCount {
            let simulation = Simulation(seed: seed, reactorCount: 2)
            let findings = try simulation.run { _ in
                let world = World(StressOptions(seed: seed, ioCount: 600), reactors: simulation.reactors)
                return try await world.run()
            }
            #expect(findings == [], "STRESS_SEED=\(seed)")
            #expect(simulation.parkedTaskCount == 0, "STRESS_SEED=\(seed)")
            if !findings.isEmpty { return }
        }
    }

    private static func runOnThreads(_ stress: StressOptions) async throws -> [String] {
        var options = ReactorOptions()
        // Tests run beside each other.
        options.locksCores = false
        let group = try ReactorGroup(cores: [0, 1], options: options)
        let world = World(stress, reactors: group.reactors)
        let watchdog = Watchdog(world)
        let findings = try await world.run()
        watchdog.end()
        await group.shutDown()
        return findings
    }
}

/// Ends the process, and says what it was about, when nothing is completed for too long.
private final class Watchdog: Sendable {
    private let task: Task<Void, Never>

    init(_ world: World) {
        task = Task.detached {
            var last = -1
            while !Task.isCancelled {
                try? await Task.sleep(for: world.options.patience)
                let now = world.completed.load(ordering: .relaxed)
                if Task.isCancelled { return }
                if now == last { await Self.giveUp(world) }
                last = now
            }
        }
    }

    func end() { task.cancel() }

    private static func giveUp(_ world: World) async {
        print("STRESS_SEED=\(world.options.seed): \(world.name) stands still\n\(world.allDoings)")
        // What the reactors themselves can say, if they can.
        Task.detached { print(await world.report()) }
        try? await Task.sleep(for: .seconds(5))
        fatalError("STRESS_SEED=\(world.options.seed) stands still")
    }
}
