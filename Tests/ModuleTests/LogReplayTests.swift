import Bdev
import LogBdev
import Reactors
import SimulatedReactors
import Testing

@Suite("A log brings a bdev into every state it has gone through, and into those a power cut may leave")
struct LogReplayTests {
    // MARK: One after another

    @Test(arguments: [false, true], 1...10 as ClosedRange<UInt64>)
    func `the replay of every prefix is what the model held then`(isOnBdev: Bool, seed: UInt64) throws {
        try simulateLog(seed: seed, reactorCount: 3, isOnBdev: isOnBdev) { scene in
            var random = SeededRandom(seed: seed)
            var model = [UInt64?](repeating: 0, count: Int(LogScene.blockCount))
            // After each entry.
            var states = [model]
            var channels: [BdevChannel] = []
            for reactor in scene.stack.reactors { channels.append(try await scene.descriptor.channel(on: reactor)) }
            for number in 1...25 {
                let channel = channels[Int.random(in: 0..<3, using: &random)]
                let start = UInt64.random(in: 0..<200, using: &random)
                let count = UInt64.random(in: 1...56, using: &random)
                let blocks = Int(start)..<Int(start + count)
                switch Int.random(in: 0..<8, using: &random) {
                case 0: try await channel.flush()
                case 1:
                    try await channel.unmap(at: .block(start), count: .blocks(count))
                    for block in blocks { model[block] = 0 }
                case 2:
                    try await channel.writeZeroes(at: .block(start), count: .blocks(count))
                    for block in blocks { model[block] = 0 }
                case 3: try await scene.module.mark("logged", "\(number)")
                case 4:
                    scene.stack.device.answer = { _, _, _ in .mediumFailed }
                    _ = await status { () throws(BdevError) in try await channel.write(999, at: start) }
                    scene.stack.device.answer = { _, _, _ in .success }
                default:
                    try await channel.write(UInt64(number), at: start, count: Int(count))
                    for block in blocks { model[block] = UInt64(number) }
                }
                states.append(model)
            }
            for channel in channels { await channel.close() }
            let log = try await scene.module.contents(of: "logged")
            #expect(log.entries == log.entriesByCompletion, "seed \(seed)")
            #expect(log.entries.count + 1 == states.count, "seed \(seed)")
            for count in states.indices {
                let image = try await scene.image(after: log.steps(log.entries, first: count), of: log)
                #expect(image == states[count], "seed \(seed): the first \(count) entries")
            }
            #expect(try await scene.image(of: scene.descriptor) == model, "seed \(seed)")
        }
    }

    // MARK: At once

    /// What one worker did, in its own blocks, one after another. By a count that all workers share.
    struct Operation: Sendable {
        /// Nil: a flush.
        let value: UInt64?
        let blocks: Range<UInt64>
        let called: Int
        let returned: Int
    }

    /// Sendable unchecked: a simulation has one thread.
    final class Workload: @unchecked Sendable {
        static let area: UInt64 = 32
        private(set) var operations: [[Operation]]
        private var clock = 0
        private let seed: UInt64

        init(seed: UInt64, workerCount: Int) {
            self.seed = seed
            operations = Array(repeating: [], count: workerCount)
        }

        private func tick() -> Int {
            clock += 1
            return clock
        }

        func run(_ worker: Int, on channel: BdevChannel) async throws {
            var random = SeededRandom(seed: seed &* 100 &+ UInt64(worker))
            for number in 1...15 {
                let called = tick()
                let start = UInt64(worker) * Self.area + UInt64.random(in: 0..<24, using: &random)
                let count = UInt64.random(in: 1...8, using: &random)
                let value: UInt64?
                switch Int.random(in: 0..<6, using: &random) {
                case 0:
                    try await channel.flush()
                    value = nil
                case 1:
                    try await channel.writeZeroes(at: .block(start), count: .blocks(count))
                    value = 0
                default:
                    let mine = UInt64(worker * 1000 + number)
                    try await channel.write(mine, at: start, count: Int(count))
                    value = mine
                }
                operations[worker].append(
                    Operation(
                        value: value, blocks: value == nil ? 0..<0 : start..<start + count, called: called,
                        returned: tick()))
            }
        }
    }

    /// Six workers on three reactors, and then the log.
    private static func work(_ scene: LogScene, seed: UInt64) async throws -> (Workload, WriteLog) {
        let workload = Workload(seed: seed, workerCount: 6)
        var channels: [BdevChannel] = []
        for reactor in scene.stack.reactors { channels.append(try await scene.descriptor.channel(on: reactor)) }
        let tasks = (0..<6).map { worker in
            let channel = channels[worker % 3]
            return Task(executorPreference: channel.reactor.taskExecutor) {
                try await workload.run(worker, on: channel)
            }
        }
        for task in tasks { try await task.value }
        for channel in channels { await channel.close() }
        return (workload, try await scene.module.contents(of: "logged"))
    }

    /// The entry of each operation: a worker's writes are the only ones in its blocks, in their order.
    private static func entries(_ workload: Workload, _ log: WriteLog) -> [[LogEntry]] {
        workload.operations.indices.map { worker in
            let area = UInt64(worker) * Workload.area..<UInt64(worker + 1) * Workload.area
            return log.entries.filter { !$0.blocks.isEmpty && area.contains($0.startBlock) }
        }
    }

    @Test(arguments: [false, true], 1...10 as ClosedRange<UInt64>)
    func `the order of the log is the order of what happened`(isOnBdev: Bool, seed: UInt64) throws {
        try simulateLog(seed: seed, reactorCount: 3, isOnBdev: isOnBdev) { scene in
            let (workload, log) = try await Self.work(scene, seed: seed)
            let entries = Self.entries(workload, log)
            var pairs: [(Operation, LogEntry)] = []
            for (worker, operations) in workload.operations.enumerated() {
                let writes = operations.filter { $0.value != nil }
                #expect(writes.map(\.blocks) == entries[worker].map(\.blocks), "seed \(seed)")
                pairs += zip(writes, entries[worker])
            }
            let flushCount = workload.operations.joined().count { $0.value == nil }
            #expect(log.entries.count { $0.kind == .flush } == flushCount, "seed \(seed)")
            for (first, firstEntry) in pairs {
                for (second, secondEntry) in pairs where first.returned < second.called {
                    #expect(firstEntry.completed < secondEntry.submitted, "seed \(seed)")
                }
            }
            let events = log.entries.flatMap { [$0.submitted, $0.completed] }.sorted()
            #expect(events == Array(1...UInt64(log.entries.count * 2)), "seed \(seed)")
            let image = try await scene.image(after: log.steps(log.entriesByCompletion), of: log)
            #expect(try await scene.image(of: scene.descriptor) == image, "seed \(seed)")
        }
    }

    // MARK: Power cuts

    /// What a block may hold after a cut at `event`: the last value that a flush has made durable, or one of those
    /// written after it.
    ///
    /// Of the log it takes when an operation was submitted and complete, and nothing else.
    private static func allowed(
        _ operations: [Operation], _ entries: [LogEntry], _ flushes: [LogEntry], at event: UInt64
    ) -> [Set<UInt64>] {
        var sets = [Set<UInt64>](repeating: [0], count: Int(LogScene.blockCount))
        for (operation, entry) in zip(operations, entries) where entry.submitted <= event {
            guard let value = operation.value else { continue }
            let isDurable = flushes.contains { $0.completed <= event && $0.submitted > entry.completed }
            for block in operation.blocks {
                if isDurable { sets[Int(block)] = [value] } else { sets[Int(block)].insert(value) }
            }
        }
        return sets
    }

    @Test(arguments: [false, true], 1...10 as ClosedRange<UInt64>)
    func `what a power cut leaves is durable or was written since`(isOnBdev: Bool, seed: UInt64) throws {
        try simulateLog(seed: seed, reactorCount: 3, isOnBdev: isOnBdev) { scene in
            let (workload, log) = try await Self.work(scene, seed: seed)
            let entries = Self.entries(workload, log), flushes = log.entries.filter { $0.kind == .flush }
            var random = SeededRandom(seed: seed)
            var (lostCount, keptCount, tornCount) = (0, 0, 0)
            for _ in 0..<12 {
                let event = UInt64.random(in: 0...log.lastEvent, using: &random)
                let cutSeed = random.next()
                var generator = SeededRandom(seed: cutSeed), same = SeededRandom(seed: cutSeed)
                let steps = log.powerCut(at: event, using: &generator)
                #expect(steps == log.powerCut(at: event, using: &same), "seed \(seed)")
                let image = try await scene.image(after: steps, of: log)
                for (worker, operations) in workload.operations.enumerated() {
                    let writes = operations.filter { $0.value != nil }
                    let allowed = Self.allowed(writes, entries[worker], flushes, at: event)
                    let area = Int(Workload.area) * worker..<Int(Workload.area) * (worker + 1)
                    for block in area {
                        let isAllowed = image[block].map(allowed[block].contains) ?? false
                        #expect(isAllowed, "seed \(seed), cut \(cutSeed) at \(event): block \(block)")
                    }
                    for (write, entry) in zip(writes, entries[worker]) where entry.submitted <= event {
                        let blocks = write.blocks.filter { image[Int($0)] == write.value }
                        if blocks.isEmpty { lostCount += 1 } else { keptCount += 1 }
                    }
                }
                tornCount += steps.count { $0.blocks != [$0.entry.blocks] }
            }
            // The cuts are of use: they lose things, keep things, and tear them.
            #expect(lostCount > 0 && keptCount > 0 && tornCount > 0, "seed \(seed)")
        }
    }

    @Test func `what was flushed, or forced, is never lost; what was not, sometimes`() throws {
        try simulateLog { scene in
            try await scene.withChannel { channel in
                try await channel.write(1, at: 0, count: 4)
                try await channel.flush()
                try await channel.write(2, at: 0, count: 4)
                var options = IOOptions()
                options.forcesUnitAccess = true
                var buffer = await channel.buffer(byteCount: 512)
                buffer.fill(words: 3)
                try await channel.write(from: buffer, at: .block(9), options: options)
            }
            let log = try await scene.module.contents(of: "logged")
            var seen: Set<[UInt64?]> = []
            for seed in 0..<60 {
                var generator = SeededRandom(seed: UInt64(seed))
                let steps = log.powerCut(at: log.lastEvent, using: &generator)
                let image = try await scene.image(after: steps, of: log)
                seen.insert(Array(image[..<4]))
                #expect(image[9] == 3, "seed \(seed)")
            }
            #expect(seen.allSatisfy { $0.allSatisfy { $0 == 1 || $0 == 2 } })
            #expect(seen.contains([1, 1, 1, 1]) && seen.contains([2, 2, 2, 2]))
            #expect(seen.count > 4, "blocks of a write are lost one by one")
            // Before anything was complete, anything may be there; before anything was submitted, nothing is.
            var generator = SeededRandom(seed: 1)
            #expect(log.powerCut(at: 0, using: &generator).isEmpty)
            let first = (0..<20).map { _ in log.powerCut(at: 1, using: &generator).count }
            #expect(first.contains(0) && first.contains(1))
        }
    }

    @Test func `a flush makes nothing durable before it is complete, nor what ended after it began`() throws {
        try simulateLog { scene in
            scene.stack.device.delays = [.write: .microseconds(10), .flush: .microseconds(100)]
            try await scene.withChannel { channel in
                try await channel.write(1, at: 0)
                let flush = Task { try await channel.flush() }
                try await channel.reactor.local.sleep(for: .microseconds(1))
                try await channel.write(2, at: 1)
                try await flush.value
            }
            let log = try await scene.module.contents(of: "logged")
            #expect(log.entries.map(\.submitted) == [1, 3, 4] && log.entries.map(\.completed) == [2, 6, 5])
            /// The blocks that are there in some cut, and those that are there in all.
            func written(at event: UInt64) -> (some: Set<UInt64>, all: Set<UInt64>) {
                let cuts = (0..<40 as Range<UInt64>).map { seed in
                    var generator = SeededRandom(seed: seed)
                    return Set(log.powerCut(at: event, using: &generator).flatMap { $0.blocks.joined() })
                }
                return (cuts.reduce([]) { $0.union($1) }, cuts.reduce([0, 1]) { $0.intersection($1) })
            }
            #expect(written(at: 5) == ([0, 1], []))
            #expect(written(at: 6) == ([0, 1], [0]))
            #expect(written(at: 3) == ([0], []))
        }
    }
}
