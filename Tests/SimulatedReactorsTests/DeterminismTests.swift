import Reactors
import SimulatedReactors
import Testing

struct DeterminismTests {
    /// Tasks on three reactors that wait, send, yield and call each other, as their own random numbers say.
    private static func digest(seed: UInt64) throws -> (digest: UInt64, now: Duration, order: [Int]) {
        let simulation = Simulation(seed: seed, reactorCount: 3)
        let order = Shared<[Int]>([])
        try simulation.run { _ in
            await withTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        var random = SeededRandom(seed: seed &+ UInt64(worker))
                        for _ in 0..<10 {
                            let reactor = simulation.reactors.randomElement(using: &random)!
                            let wait = Int.random(in: 0..<50, using: &random)
                            await reactor.run { there in
                                if wait % 2 == 0 { await simulation.pause(.microseconds(wait), on: there) }
                                order.value.append(worker)
                                simulation.reactors[wait % 3].post { _ in order.value.append(100 + worker) }
                            }
                        }
                    }
                }
            }
        }
        return (simulation.digest, simulation.now, order.value)
    }

    @Test func `the same seed makes the same run`() throws {
        for seed in UInt64(0)..<200 {
            let first = try Self.digest(seed: seed), second = try Self.digest(seed: seed)
            #expect(first == second, "seed \(seed)")
        }
    }

    @Test func `other seeds make other runs`() throws {
        var digests: Set<UInt64> = [], orders: Set<[Int]> = []
        for seed in UInt64(0)..<50 {
            let run = try Self.digest(seed: seed)
            digests.insert(run.digest)
            orders.insert(run.order)
        }
        #expect(digests.count == 50)
        #expect(orders.count == 50)
    }

    @Test func `the order of ready tasks depends on the seed alone`() throws {
        var orders: Set<[Int]> = []
        for seed in UInt64(0)..<400 {
            let order = Shared<[Int]>([])
            try Simulation(seed: seed).run { here in
                let home = here.reactor
                var tasks: [Task<Void, Never>] = []
                for index in 0..<4 {
                    tasks.append(Task(executorPreference: home.taskExecutor) { order.value.append(index) })
                }
                for task in tasks { await task.value }
            }
            orders.insert(order.value)
        }
        #expect(orders.count == 24, "four tasks have 24 orders")
    }

    @Test func `a sequence of random numbers is that of its seed`() {
        var random = SeededRandom(seed: 0)
        // The first values of SplitMix64 as its author publishes them.
        #expect(random.next() == 0xE220_A839_7B1D_CDAF)
        #expect(random.next() == 0x6E78_9E6A_A1B9_65F4)
        #expect(random.next() == 0x06C4_5D18_8009_454F)
    }
}
