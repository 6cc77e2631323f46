import Bdev
import Reactors
import SimulatedReactors
import Synchronization

extension World {
    /// Builds the tower, does all I/O while everything else goes on, and takes everything down. What was wrong.
    func run() async throws -> [String] {
        try await tower.build()
        note("run", "workers")
        var workers: [Task<Void, Never>] = [], others: [Task<Void, Never>] = []
        for index in 0..<workerCount {
            let worker = Worker(index, self)
            workers.append(Task(executorPreference: worker.home.taskExecutor) { await worker.run() })
        }
        for (index, disturbance) in Disturbance.all.enumerated() {
            let disturber = Disturber(disturbance.name, index, self)
            let body = disturbance.body
            others.append(
                Task(executorPreference: disturber.home.taskExecutor) {
                    await disturber.run(body)
                })
        }
        for worker in workers { await worker.value }
        end()
        note("run", "waits for those who disturb")
        for other in others { await other.value }
        note("run", "stops the engine")
        await engine.stop()
        note("run", "stopped")
        let counts = (submitted.load(ordering: .relaxed), completed.load(ordering: .relaxed))
        if counts.0 != counts.1 { find("submitted \(counts.0), completed \(counts.1)") }
        for left in await lasting() { find(left) }
        return allFindings
    }

    /// What is left when everything has had its time to go: a timer may hold a channel a while longer.
    private func lasting() async -> [String] {
        for _ in 0..<300 {
            if await leftovers().isEmpty { return [] }
            await pause(10_000, on: reactors[0])
        }
        return await leftovers()
    }

    /// Two or three for each bdev on top, on both reactors.
    private var workerCount: Int { 6 }

    /// Everything there is to know about a run that stands still.
    func report() async -> String {
        var text = "\(name) stands still at \(submitted.load(ordering: .relaxed)) I/Os\n\(allDoings)\n"
        for reactor in reactors {
            text += await reactor.run { local in
                "\(reactor.name): \(local.loop.parkedTaskCount) tasks parked\n"
                    + local.outstandingRequests.map { "  \($0)\n" }.joined()
            }
        }
        return text
    }
}
