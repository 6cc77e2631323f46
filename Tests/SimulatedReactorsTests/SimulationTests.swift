import Reactors
import SimulatedReactors
import Testing

struct SimulationTests {
    @Test func `a body's result comes back`() throws {
        let result = try Simulation(seed: 1).run { here in
            #expect(here.reactor.isCurrent)
            return 42
        }
        #expect(result == 42)
    }

    @Test func `a body's error comes back with the seed`() throws {
        struct Failure: Error {}
        let error = #expect(throws: SimulationError.self) {
            try Simulation(seed: 77).run { _ in throw Failure() }
        }
        #expect(error?.code == .bodyFailed)
        #expect(error?.seed == 77)
        #expect(error?.underlying is Failure)
        #expect(error?.description.contains("seed 77") == true)
    }

    @Test func `a call to another reactor runs there and comes back`() throws {
        let simulation = Simulation(seed: 3, reactorCount: 3)
        try simulation.run { here in
            for reactor in simulation.reactors {
                let index = await reactor.run { there in
                    #expect(there.reactor.isCurrent)
                    return Reactor.current?.index
                }
                #expect(index == reactor.index)
            }
            #expect(here.reactor.isCurrent)
        }
    }

    @Test func `tasks, groups and streams of the body stay on its reactor`() throws {
        let simulation = Simulation(seed: 4, reactorCount: 2)
        try simulation.run { here in
            let home = here.reactor
            let sum = await withTaskGroup(of: Int.self) { group in
                for index in 0..<10 {
                    group.addTask {
                        #expect(home.isCurrent)
                        return index
                    }
                }
                return await group.reduce(0, +)
            }
            #expect(sum == 45)
            let (stream, continuation) = AsyncStream<Int>.makeStream()
            let reader = Task(executorPreference: home.taskExecutor) { () -> Int in
                var count = 0
                for await _ in stream { count += 1 }
                return count
            }
            for index in 0..<5 { continuation.yield(index) }
            continuation.finish()
            let count = await reader.value
            #expect(count == 5)
        }
    }

    @Test func `time stands still while something is ready and then jumps`() throws {
        let simulation = Simulation(seed: 5)
        try simulation.run { here in
            for _ in 0..<100 { await Task.yield() }
            #expect(simulation.now == .zero)
            await simulation.pause(.seconds(3600), on: here)
            #expect(simulation.now == .seconds(3600))
        }
    }

    @Test func `a task that gives way until something has happened lets time pass`() throws {
        let simulation = Simulation(seed: 5)
        try simulation.run { here in
            let fired = Shared(false)
            here.schedule(after: .milliseconds(3)) { fired.value = true }
            while !fired.value { await here.yield() }
            #expect(simulation.now == .milliseconds(3))
        }
    }

    @Test func `timers of several reactors go off in the order of their instants`() throws {
        let simulation = Simulation(seed: 6, reactorCount: 3)
        let order = Shared<[Int]>([])
        try simulation.run { _ in
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<12 {
                    let reactor = simulation.reactors[index % 3]
                    group.addTask {
                        await reactor.run { there in
                            await simulation.pause(.milliseconds(100 - index), on: there)
                            order.value.append(index)
                        }
                    }
                }
            }
        }
        #expect(order.value == (0..<12).reversed())
        #expect(simulation.now == .milliseconds(100))
    }

    @Test func `messages of one sender arrive in their order whatever the seed`() throws {
        for seed in UInt64(0)..<50 {
            let simulation = Simulation(seed: seed, reactorCount: 2)
            let received = Shared<[Int]>([])
            try simulation.run { _ in
                for index in 0..<40 { simulation.reactors[1].post { _ in received.value.append(index) } }
            }
            #expect(received.value == Array(0..<40), "seed \(seed)")
        }
    }

    @Test func `advancing lets what is due happen and no more`() throws {
        let simulation = Simulation(seed: 8)
        let fired = Shared<[Int]>([])
        try simulation.run { here in
            for milliseconds in [5, 10, 11] {
                _ = here.loop.schedule(after: .milliseconds(milliseconds)) { fired.value.append(milliseconds) }
            }
        }
        #expect(fired.value == [])
        simulation.advance(by: .milliseconds(10))
        #expect(fired.value == [5, 10])
        #expect(simulation.now == .milliseconds(10))
        simulation.advance(by: .milliseconds(1))
        #expect(fired.value == [5, 10, 11])
    }

    @Test func `a poller that only polling can serve lets time pass, in longer and longer steps`() throws {
        let simulation = Simulation(seed: 9)
        try simulation.run { here in
            let poller = CountingPoller(pendingVisits: .max)
            here.add(poller)
            await simulation.pause(.microseconds(15), on: here)
            #expect(poller.visits >= 15)
            await simulation.pause(.seconds(1), on: here)
            #expect((1000...2000).contains(poller.visits))
            here.remove(poller)
        }
    }
}

/// Sendable unchecked: a simulation has one thread.
final class Shared<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}

private final class CountingPoller: Poller {
    private let pendingVisits: Int
    private(set) var visits = 0

    init(pendingVisits: Int) {
        self.pendingVisits = pendingVisits
        super.init(name: "counting")
    }

    override func poll() -> PollResult {
        visits += 1
        return visits < pendingVisits ? .pending : .idle
    }
}

extension Simulation {
    /// Suspends the task, which is isolated to `here`, for `duration` of virtual time.
    func pause(_ duration: Duration, on here: isolated LocalReactor) async {
        let loop = here.loop, spot = loop.makeSpot()
        _ = loop.schedule(after: duration) { loop.unpark(spot) }
        await here.reactor.park(at: spot)
        loop.release(spot)
    }
}
