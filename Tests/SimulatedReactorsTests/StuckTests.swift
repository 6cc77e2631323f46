import Glibc
import Reactors
import SimulatedReactors
import Testing

struct StuckTests {
    @Test func `a body that waits for what cannot happen is reported with what is parked`() throws {
        let simulation = Simulation(seed: 11, reactorCount: 2)
        let error = #expect(throws: SimulationError.self) {
            try simulation.run { _ in
                await simulation.reactors[1].run { there in
                    await there.reactor.park(at: there.loop.makeSpot())
                }
            }
        }
        #expect(error?.code == .nothingCanHappen)
        #expect(error?.message.contains("1 task is parked on simulated_1") == true)
        #expect(error?.seed == 11)
    }

    @Test func `pollers that find nothing do not hide that nothing can happen`() throws {
        let simulation = Simulation(seed: 12)
        let error = #expect(throws: SimulationError.self) {
            try simulation.run { here in
                here.add(IdlePoller(), every: .milliseconds(10))
                await here.reactor.park(at: here.loop.makeSpot())
            }
        }
        #expect(error?.code == .nothingCanHappen)
        #expect(error?.message.contains("only pollers run") == true)
    }

    @Test func `a long sleep is not taken for standing still`() throws {
        let simulation = Simulation(seed: 13)
        try simulation.run { here in
            here.add(IdlePoller(), every: .milliseconds(10))
            await simulation.pause(.seconds(200), on: here)
        }
        #expect(simulation.now == .seconds(200))
    }

    @Test func `a task that leaves for the global thread pool stops the process with a sentence`() async {
        await #expect(processExitsWith: .failure) {
            let simulation = Simulation(seed: 14)
            _ = try? simulation.run { here in
                let reactor = here.reactor
                // From the pool, while the simulation goes on for as long as it takes.
                let stray = Task.detached { reactor.post { _ in } }
                let end = ContinuousClock.now + .seconds(20)
                while ContinuousClock.now < end { await Task.yield() }
                await stray.value
            }
        }
    }

    @Test func `a task that waits for the global thread pool is reported as stuck`() async {
        await #expect(processExitsWith: .exitCode(3)) {
            let simulation = Simulation(seed: 15)
            do throws(SimulationError) {
                try simulation.run { _ in
                    let stray = Task.detached { try? await Task.sleep(for: .seconds(30)) }
                    await stray.value
                }
            } catch {
                let isRight = error.code == .nothingCanHappen && error.message.contains("global thread pool")
                exit(isRight ? 3 : 4)
            }
        }
    }
}

private final class IdlePoller: Poller {
    init() { super.init(name: "idle") }
    override func poll() -> PollResult { .idle }
}
