import Bdev
import Reactors
import Synchronization
import ToolSupport

/// Runs jobs side by side and gathers what they did.
struct Run {
    let plan: Plan
    let jobs: [Job]
    let stop: StopFlag
    /// Where the live line goes; nil: nowhere.
    var live: (@Sendable (String) -> Void)?

    func perform() async throws -> RunResult {
        let reactors = jobs.map(\.reactor).reduce(into: [Reactor]()) { list, reactor in
            if !list.contains(where: { $0 === reactor }) { list.append(reactor) }
        }
        let before = await Self.cpuTimes(reactors)
        let clock = Task { await self.keepTime() }
        let results = try await runAll()
        clock.cancel()
        await clock.value
        let after = await Self.cpuTimes(reactors)
        return assemble(results, reactors, zip(before, after).map { ($1 - $0).seconds })
    }

    private func runAll() async throws -> [JobResult] {
        try await withThrowingTaskGroup(of: (Int, JobResult).self) { group in
            for (index, job) in jobs.enumerated() {
                group.addTask {
                    do {
                        return (index, try await job.run())
                    } catch {
                        stop.set()
                        throw error
                    }
                }
            }
            var results: [(Int, JobResult)] = []
            for try await result in group { results.append(result) }
            return results.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private static func cpuTimes(_ reactors: [Reactor]) async -> [Duration] {
        var times: [Duration] = []
        for reactor in reactors { times.append(await reactor.run { $0.threadCPUTime }) }
        return times
    }

    /// Ends the run when its time is up, and prints the live line until then.
    private func keepTime() async {
        let start = ContinuousClock.now
        var line = LiveLine(plan, jobs)
        while !stop.isSet && !Task.isCancelled {
            let left = plan.duration.map { $0 - (ContinuousClock.now - start) }
            if let left, left <= .zero { break }
            let pause = [left, live == nil ? nil : plan.liveInterval].compactMap { $0 }.min() ?? .seconds(3600)
            if (try? await Task.sleep(for: pause)) == nil { return }
            if let live, plan.liveInterval != nil, let text = await line.next() { live(text) }
        }
        stop.set()
    }

    private func assemble(_ results: [JobResult], _ reactors: [Reactor], _ cpuSeconds: [Double]) -> RunResult {
        var result = RunResult(jobs: results, coreCount: reactors.count)
        let busy = cpuSeconds.reduce(0, +)
        result.iopsPerCPUSecond = busy > 0 ? Double(result.completed) / busy : nil
        for (reactor, seconds) in zip(reactors, cpuSeconds) where seconds > 0 {
            // Jobs share their reactor's time: the figure is the reactor's.
            let mine = result.jobs.indices.filter { jobs[$0].reactor === reactor }
            let done = mine.reduce(UInt64(0)) { $0 + result.jobs[$1].completed }
            for index in mine { result.jobs[index].iopsPerCPUSecond = Double(done) / seconds }
        }
        return result
    }
}
