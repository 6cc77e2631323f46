import Bdev
import Reactors
import SimulatedReactors
import Testing

struct BdevDeterminismTests {
    @Test(arguments: UInt64(0)..<20)
    func `the same seed drives engine, channels and devices the same way`(seed: UInt64) throws {
        func digest() throws -> UInt64 {
            let digest = Shared<UInt64>(0)
            try simulate(seed: seed, reactorCount: 3) { here, scene in
                let random = Shared(SeededRandom(seed: seed))
                scene.device.depth = 3
                scene.device.pace = .later { _ in .microseconds(Int.random(in: 1...100, using: &random.value)) }
                await withTaskGroup(of: Void.self) { group in
                    for index in 0..<9 {
                        group.addTask {
                            guard let descriptor = try? await scene.engine.open("disk", mode: .readWrite) else {
                                return
                            }
                            if let channel = try? await descriptor.channel(on: scene.reactors[index % 3]) {
                                let work = Task(executorPreference: here.reactor.taskExecutor) {
                                    for block in UInt64(0)..<10 { _ = await channel.readOnce(at: block) }
                                }
                                if index % 4 == 0 { work.cancel() }
                                await work.value
                            }
                            await descriptor.close()
                        }
                    }
                }
                digest.value = scene.simulation.digest
            }
            return digest.value
        }
        #expect(try digest() == digest(), "seed \(seed)")
    }
}
