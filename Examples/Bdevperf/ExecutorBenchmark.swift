import Reactors
import ToolSupport

/// What the executor does a second: jobs on one reactor, messages between two.
struct ExecutorBenchmark {
    let cores: CoreList
    let options: ReactorOptions

    private static let repeats = 3
    private static let yields = 2_000_000
    private static let bursts = 1000
    private static let burst = 1000
    private static let calls = 100_000

    func run() async throws -> String {
        let group = try ReactorGroup(cores: cores, options: options)
        // A task that yields to itself: each yield is one job through the queue.
        let jobs = await rate(Self.yields) {
            await group.reactors[0].run { local in for _ in 0..<Self.yields { await local.yield() } }
        }
        let busy = await group.reactors[0].run { local in
            let start = local.threadCPUTime
            for _ in 0..<Self.yields { await local.yield() }
            return local.threadCPUTime - start
        }
        var oneWay: Double?
        var calls: Double?
        if group.reactors.count > 1 {
            let (here, there) = (group.reactors[0], group.reactors[1])
            oneWay = await rate(Self.bursts * Self.burst) { await post(from: here, to: there) }
            // There and back: two messages.
            calls = await rate(Self.calls * 2) {
                let made = Cursor()
                await here.run { _ in for _ in 0..<Self.calls { _ = await there.run { _ in made.take() } } }
                precondition(made.count == Self.calls, "a call between reactors was lost")
            }
        }
        await group.shutDown()
        func text(_ value: Double?) -> String { value.map { fixed($0, 0) } ?? "null" }
        return """
            {"jobs_per_second": \(text(jobs)), \
            "jobs_per_cpu_second": \(text(Double(Self.yields) / busy.seconds)), \
            "messages_per_second": \(text(oneWay)), \
            "call_messages_per_second": \(text(calls)), \
            "core_count": \(group.reactors.count)}

            """
    }

    /// Each burst is as many messages as fit the queue; a call behind them waits until they have run.
    private func post(from here: Reactor, to there: Reactor) async {
        let arrived = Cursor()
        let done = await here.run { _ in
            var done: UInt64 = 0
            for _ in 0..<Self.bursts {
                for _ in 0..<Self.burst { there.post { _ in _ = arrived.take() } }
                // Of a call with nothing in it the optimizer would leave nothing.
                done = await there.run { _ in arrived.count }
            }
            return done
        }
        precondition(done == Self.bursts * Self.burst, "a message between reactors was lost")
    }

    /// The median of several runs, for each second.
    private func rate(_ count: Int, _ body: () async -> Void) async -> Double {
        var rates: [Double] = []
        for _ in 0..<Self.repeats {
            let start = ContinuousClock.now
            await body()
            rates.append(Double(count) / (ContinuousClock.now - start).seconds)
        }
        return rates.sorted()[Self.repeats / 2]
    }
}
