import Bdev
import Reactors
import SimulatedReactors
import Testing

struct LifeCycleTests {
    @Test(arguments: UInt64(0)..<10)
    func `modules start, are shown the bdevs, and stop in the order that the reference has`(seed: UInt64) throws {
        try simulateEngine(seed: seed) { here, engine, log in
            let one = VirtualModule("virtual 1", log), two = VirtualModule("virtual 2", log)
            let reactor = here.reactor
            // Slow enough for `startCompleted` to overtake, if it did not wait.
            two.onDisk = { _, _ in await reactor.local.rest(.milliseconds(50)) }
            let first = RecordedModule("physical 1", log, bdevs: ["a"]), second = RecordedModule("physical 2", log)
            let begin = here.now
            try await engine.start([first, one, second, two])
            #expect(
                log.value.filter { !$0.contains("disk of") } == [
                    "virtual 2: start", "virtual 1: start", "physical 1: start", "virtual 2: configuration of a",
                    "virtual 1: configuration of a", "physical 2: start", "virtual 2: startCompleted",
                    "virtual 1: startCompleted", "physical 1: startCompleted", "physical 2: startCompleted",
                ])
            // Tasks of their own, in any order, which nobody overtakes.
            let disks = log.value.indices.filter { log.value[$0].contains("disk of") }
            #expect(Set(disks.map { log.value[$0] }) == ["virtual 2: disk of a", "virtual 1: disk of a"])
            #expect(disks.last! < log.value.firstIndex(of: "virtual 2: startCompleted")!)
            #expect(here.now >= begin.advanced(by: .milliseconds(50)))
            log.value = []
            await engine.stop()
            #expect(
                log.value == [
                    "physical 2: willStop", "physical 1: willStop", "virtual 1: willStop", "virtual 2: willStop",
                    "destroy a", "physical 2: stop", "physical 1: stop", "virtual 1: stop", "virtual 2: stop",
                ])
        }
    }

    @Test func `modules that are registered one by one stand in the same order`() throws {
        try simulateEngine { _, engine, log in
            try await engine.register(RecordedModule("physical 1", log))
            try await engine.register(VirtualModule("virtual 1", log))
            try await engine.register(RecordedModule("physical 2", log))
            try await engine.register(VirtualModule("virtual 2", log))
            log.value = []
            await engine.stop()
            #expect(
                log.value.prefix(4) == [
                    "physical 2: willStop", "physical 1: willStop", "virtual 1: willStop", "virtual 2: willStop",
                ])
        }
    }

    @Test func `a start that fails undoes what was started, in reverse, and leaves nothing behind`() throws {
        try simulateEngine { _, engine, log in
            try await engine.register(RecordedModule("earlier", log, bdevs: ["kept"]))
            log.value = []
            let virtual = VirtualModule("virtual", log)
            let first = RecordedModule("first", log, bdevs: ["a", "b"])
            let failing = RecordedModule("failing", log, bdevs: ["c"]), last = RecordedModule("last", log)
            failing.startFailure = BdevError(.moduleFailed, "no device")
            first.onWillStop = { [unowned first] in
                let refusal = await code { () throws(BdevError) in try await first.register("late") }
                #expect(refusal == .closed)
            }
            virtual.onConfiguration = { [unowned virtual] info, _ throws(BdevError) in
                if info.name == "a" { try await virtual.stack("on a", on: "a") }
            }
            #expect(
                await code { () throws(BdevError) in try await engine.start([virtual, first, failing, last]) }
                    == .moduleFailed)
            #expect(
                log.value.filter { !$0.contains(" of ") } == [
                    "virtual: start", "first: start", "failing: start", "first: willStop", "virtual: willStop",
                    "destroy c", "destroy b", "destroy on a", "destroy a", "first: stop", "virtual: stop",
                ])
            #expect(await engine.list().map(\.name) == ["kept"])
            // Neither what was undone nor what failed can register anything.
            for module in [first, failing] {
                #expect(await code { () throws(BdevError) in try await module.register("late") } == .closed)
            }
            // All names are free again.
            let again = RecordedModule("failing", log, bdevs: ["a", "b", "c"])
            try await engine.start([again])
            #expect(await engine.list().map(\.name) == ["kept", "a", "b", "c"])
        }
    }

    @Test func `a name that is taken, or given twice, is refused before anything starts`() throws {
        try simulateEngine { _, engine, log in
            try await engine.register(RecordedModule("a", log))
            log.value = []
            for names in [["b", "a"], ["b", "b"]] {
                let refusal = await code { () throws(BdevError) in
                    try await engine.start(names.map { RecordedModule($0, log) })
                }
                #expect(refusal == .nameInUse)
            }
            #expect(log.value == [])
            try await engine.start([])
            try await engine.register(RecordedModule("b", log))
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a stack of three is taken down from its top`(seed: UInt64) throws {
        try simulateEngine(seed: seed) { _, engine, log in
            let disks = RecordedModule("disks", log, bdevs: ["bottom"])
            let virtual = VirtualModule("virtual", log)
            try await engine.start([virtual, disks])
            try await virtual.stack("middle", on: "bottom")
            try await virtual.stack("top", on: "middle", .readManyWriteOne)
            log.value = []
            await engine.stop()
            #expect(
                log.value == [
                    "disks: willStop", "virtual: willStop", "destroy top", "destroy middle", "destroy bottom",
                    "disks: stop", "virtual: stop",
                ], "seed \(seed)")
        }
    }

    @Test func `a bdev that is claimed goes after the one that stands on it, though it is newer`() throws {
        try simulateEngine { _, engine, log in
            let disks = RecordedModule("disks", log, bdevs: ["old"]), virtual = VirtualModule("virtual", log)
            try await engine.start([virtual, disks])
            let old = try await engine.open("old")
            try await virtual.register("top", on: old)
            try await disks.register("new")
            let new = try await engine.open("new", on: engine.reactors[0]) { _, _ in }
            try await virtual.host.value.claim(new, .exclusiveWrite)
            virtual.onWillStop = { log.value.append("claims: \((try? await engine.info("new").claims.count) ?? -1)") }
            let home = engine.reactors[0]
            let closer = Task(executorPreference: home.taskExecutor) {
                for _ in 0..<1000 where !log.value.contains("destroy top") { await home.local.rest(.milliseconds(1)) }
                await new.close()
            }
            await engine.stop()
            await closer.value
            #expect(
                log.value.suffix(6) == [
                    "claims: 1", "destroy top", "destroy old", "destroy new", "disks: stop", "virtual: stop",
                ])
        }
    }

    @Test func `bdevs that are all claimed are removed all the same`() throws {
        try simulateEngine { here, engine, log in
            let disks = RecordedModule("disks", log, bdevs: ["a", "b"])
            try await engine.start([disks])
            let reactor = here.reactor
            for name in ["a", "b"] {
                let opened = Shared<BdevDescriptor?>(nil)
                opened.value = try await engine.open(name, on: reactor) { _, event in
                    guard event == .removed else { return }
                    log.value.append("\(name) is to go")
                    Task(executorPreference: reactor.taskExecutor) { await opened.value?.close() }
                }
                try await disks.host.value.claim(opened.value!, .readManyWriteNone)
            }
            log.value = []
            await engine.stop()
            #expect(
                log.value == [
                    "disks: willStop", "b is to go", "destroy b", "a is to go", "destroy a", "disks: stop",
                ])
        }
    }

    @Test func `a module that is to stop makes no more bdevs`() throws {
        try simulateEngine { _, engine, log in
            let disks = RecordedModule("disks", log)
            disks.onWillStop = { [unowned disks] in
                let refusal = await code { () throws(BdevError) in try await disks.register("late") }
                log.value.append("late: \(refusal.map(\.description) ?? "registered")")
            }
            try await engine.start([disks])
            await engine.stop()
            #expect(log.value.contains("late: closed"))
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `an engine that stops while modules start undoes the start, and every stop waits`(seed: UInt64) throws {
        try simulateEngine(seed: seed) { here, engine, log in
            let home = here.reactor
            let slow = VirtualModule("slow", log), disks = RecordedModule("disks", log, bdevs: ["a"])
            slow.onDisk = { _, _ in await home.local.rest(.milliseconds(10)) }
            let start = Task(executorPreference: home.taskExecutor) {
                await code { () throws(BdevError) in try await engine.start([slow, disks]) }
            }
            let random = Shared(SeededRandom(seed: seed))
            for _ in 0..<Int.random(in: 0...20, using: &random.value) { await here.yield() }
            let second = Task(executorPreference: home.taskExecutor) {
                await engine.stop()
                return log.value.last
            }
            await engine.stop()
            let last = log.value.last
            #expect(await second.value == last, "seed \(seed)")
            let refusal = await start.value
            #expect(refusal == nil || refusal == .closed, "seed \(seed)")
            for module in ["slow", "disks"] {
                let starts = log.value.count { $0 == "\(module): start" }
                let stops = log.value.count { $0 == "\(module): stop" }
                #expect(starts == stops, "seed \(seed): \(log.value)")
            }
            #expect(await engine.list().isEmpty)
        }
    }
}

extension LocalReactor {
    /// Sleeps, whatever happens to the task.
    func rest(_ duration: Duration) async { try? await sleep(for: duration) }
}
