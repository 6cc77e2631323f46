import Bdev
import Reactors
import SimulatedReactors
import Testing

struct ExamineTests {
    /// An engine with two virtual modules, the second of which is asked first, and one that has disks.
    private func withModules(
        seed: UInt64 = 1, automaticallyExamines: Bool = true,
        _ body:
            @escaping @Sendable (
                isolated LocalReactor, BdevEngine, _ first: VirtualModule, _ second: VirtualModule, RecordedModule
            ) async throws -> Void
    ) throws {
        try simulateEngine(seed: seed, automaticallyExamines: automaticallyExamines) { here, engine, log in
            let late = VirtualModule("late", log), early = VirtualModule("early", log)
            let disks = RecordedModule("disks", log)
            try await engine.start([late, early, disks])
            log.value = []
            try await body(here, engine, early, late, disks)
        }
    }

    /// Opens the bdev for as long as the engine goes on, and claims it.
    private static func claimer(_ kind: ClaimKind, count: Int = 1) -> Examine {
        { info, host throws(BdevError) in
            for _ in 0..<count {
                let opened = Shared<BdevDescriptor?>(nil), reactor = host.engine.reactors[0]
                let descriptor = try await host.engine.open(info.name, on: reactor) { _, event in
                    guard event == .removed else { return }
                    Task(executorPreference: reactor.taskExecutor) { await opened.value?.close() }
                }
                opened.value = descriptor
                do throws(BdevError) {
                    try await host.claim(descriptor, kind)
                } catch {
                    await descriptor.close()
                    throw error
                }
            }
        }
    }

    @Test func `the module added last looks first, and nobody looks at the disk before all have seen what it is`()
        throws
    {
        try withModules { _, engine, first, _, disks in
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(first.log.value.prefix(2) == ["early: configuration of a", "late: configuration of a"])
            #expect(Set(first.log.value.suffix(2)) == ["early: disk of a", "late: disk of a"])
            #expect(first.log.value.count == 4)
        }
    }

    @Test(arguments: [ClaimKind.exclusiveWrite, .readManyWriteOne])
    func `of two modules that want the same bdev the first that is asked has it, and alone looks at its disk`(
        kind: ClaimKind
    ) throws {
        try withModules { _, engine, first, second, disks in
            first.onConfiguration = Self.claimer(kind)
            let refusal = Shared<BdevError?>(nil)
            second.onConfiguration = { info, host throws(BdevError) in
                do throws(BdevError) { try await Self.claimer(kind)(info, host) } catch {
                    refusal.value = error
                    throw error
                }
            }
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(refusal.value?.code == .claimed)
            #expect(refusal.value?.message.contains("module 'early'") == true)
            #expect(
                first.log.value == [
                    "early: configuration of a", "late: configuration of a", "early: disk of a",
                ])
            #expect(try await engine.info("a").claims.map(\.module) == ["early"])
        }
    }

    @Test(arguments: [ClaimKind.readManyWriteNone, .readManyWriteShared(key: 3)])
    func `each module that shares a claim looks at the disk once, however many claims it has`(kind: ClaimKind) throws {
        try withModules { _, engine, first, second, disks in
            first.onConfiguration = Self.claimer(kind, count: 2)
            second.onConfiguration = Self.claimer(kind)
            let third = VirtualModule("third", first.log)
            try await engine.register(third)
            first.log.value = []
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(try await engine.info("a").claims.map(\.module) == ["early", "early", "late"])
            #expect(first.log.value.count { $0 == "early: disk of a" } == 1)
            #expect(first.log.value.count { $0 == "late: disk of a" } == 1)
            #expect(!first.log.value.contains("third: disk of a"))
        }
    }

    @Test func `a bdev claimed by a module that does not examine is looked at by nobody`() throws {
        try withModules { _, engine, first, _, disks in
            first.onConfiguration = { info, _ throws(BdevError) in
                try await Self.claimer(.exclusiveWrite)(info, disks.host.value)
            }
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(first.log.value == ["early: configuration of a", "late: configuration of a"])
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `a claim made while the disk is looked at keeps no other module from looking`(seed: UInt64) throws {
        try withModules(seed: seed) { _, engine, first, second, disks in
            first.onDisk = Self.claimer(.exclusiveWrite)
            second.onDisk = Self.claimer(.exclusiveWrite)
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(Set(first.log.value.suffix(2)) == ["early: disk of a", "late: disk of a"])
            #expect(try await engine.info("a").claims.count == 1)
        }
    }

    @Test func `a module that comes later sees the bdevs that are there, and of claimed ones only its own`() throws {
        try withModules { _, engine, first, _, disks in
            try await disks.register("a")
            first.onConfiguration = Self.claimer(.exclusiveWrite)
            try await disks.register("b")
            await engine.waitForExamine()
            first.log.value = []
            let newcomer = VirtualModule("newcomer", first.log)
            try await engine.register(newcomer)
            #expect(
                first.log.value.filter { !$0.contains("disk of") } == [
                    "newcomer: start", "newcomer: configuration of a", "newcomer: configuration of b",
                    "newcomer: startCompleted",
                ])
            #expect(first.log.value.filter { $0.contains("disk of") } == ["newcomer: disk of a"])
        }
    }

    @Test func `a bdev that cannot be read is not examined`() throws {
        try withModules { _, engine, first, _, disks in
            try await disks.register("a", types: [.write])
            await engine.waitForExamine()
            #expect(first.log.value == [])
            #expect(await engine.list().map(\.name) == ["a"])
        }
    }

    @Test func `a registration that is refused is not examined`() throws {
        try withModules { _, engine, first, _, disks in
            try await disks.register("a")
            await engine.waitForExamine()
            first.log.value = []
            #expect(
                await code { () throws(BdevError) in try await disks.register("b", aliases: ["c", "a"]) } == .nameInUse)
            await engine.waitForExamine()
            #expect(first.log.value == [])
            for name in ["b", "c"] {
                #expect(await code { () throws(BdevError) in _ = try await engine.info(name) } == .noSuchBdev)
            }
        }
    }

    @Test func `what one module throws keeps no other from looking`() throws {
        try withModules { _, engine, first, _, disks in
            let failing: Examine = { _, _ throws(BdevError) in throw BdevError(.mediaError, "cannot read it") }
            (first.onConfiguration, first.onDisk) = (failing, failing)
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(first.log.value.contains("late: configuration of a"))
            #expect(first.log.value.contains("late: disk of a"))
            #expect(await engine.list().map(\.name) == ["a"])
        }
    }

    // MARK: Waiting

    @Test(arguments: UInt64(0)..<10)
    func `a bdev can be opened while it is examined, is listed when that is over, and does not go before`(
        seed: UInt64
    ) throws {
        try withModules(seed: seed) { here, engine, first, second, disks in
            let home = here.reactor
            for module in [first, second] {
                module.onDisk = { _, _ in
                    await home.local.rest(.milliseconds(module === first ? 30 : 20))
                    module.note("disk seen")
                }
            }
            try await disks.register("a")
            #expect(await engine.list().isEmpty)
            #expect(await engine.leaves().isEmpty)
            await (try await engine.open("a", mode: .readWrite)).close()
            let removal = Task(executorPreference: home.taskExecutor) {
                await here.rest(.milliseconds(25))
                try await engine.remove("a")
            }
            let begin = here.now
            await engine.waitForExamine()
            #expect(begin.duration(to: here.now) >= .milliseconds(30))
            try await removal.value
            #expect(first.log.value.suffix(3) == ["late: disk seen", "early: disk seen", "destroy a"])
            try await disks.register("b")
            await engine.waitForExamine()
            #expect(await engine.list().map(\.name) == ["b"])
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `each module sees each bdev once, whichever came first`(seed: UInt64) throws {
        try simulateEngine(seed: seed) { here, engine, log in
            let disks = RecordedModule("disks", log), home = here.reactor
            try await engine.start([disks])
            let random = Shared(SeededRandom(seed: seed))
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<4 {
                    let module = VirtualModule("virtual \(index)", log)
                    let slow: Examine = { _, _ in
                        await home.local.rest(.microseconds(Int.random(in: 0...40, using: &random.value)))
                    }
                    (module.onConfiguration, module.onDisk) = (slow, slow)
                    group.addTask {
                        await home.local.rest(.microseconds(Int.random(in: 0...100, using: &random.value)))
                        try? await engine.register(module)
                    }
                    group.addTask {
                        await home.local.rest(.microseconds(Int.random(in: 0...100, using: &random.value)))
                        try? await disks.register("bdev \(index)")
                    }
                }
            }
            await engine.waitForExamine()
            for module in 0..<4 {
                for bdev in 0..<4 {
                    for part in ["configuration", "disk"] {
                        let seen = log.value.count { $0 == "virtual \(module): \(part) of bdev \(bdev)" }
                        #expect(seen == 1, "seed \(seed): \(part) of bdev \(bdev) by virtual \(module)")
                    }
                }
            }
            #expect(await engine.list().count == 4, "seed \(seed)")
        }
    }

    // MARK: From inside

    @Test(arguments: UInt64(0)..<10)
    func `a stack builds itself from inside the examinations`(seed: UInt64) throws {
        try withModules(seed: seed) { _, engine, first, second, disks in
            let next = ["a": "b", "b": "c", "c": "d"]
            first.onConfiguration = { [unowned first] info, _ throws(BdevError) in
                if info.name != "c", let name = next[info.name] { try await first.stack(name, on: info.name) }
            }
            second.onDisk = { [unowned second] info, _ throws(BdevError) in
                if info.name == "c" { try await second.stack("d", on: "c") }
            }
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(await engine.list().map(\.name) == ["a", "b", "c", "d"])
            #expect(await engine.leaves().map(\.name) == ["d"])
            first.log.value = []
            await engine.stop()
            #expect(
                first.log.value.filter { $0.hasPrefix("destroy") } == [
                    "destroy d", "destroy c", "destroy b", "destroy a",
                ])
        }
    }

    @Test(arguments: UInt64(0)..<10, [true, false])
    func `a bdev can be removed from inside its own examination`(seed: UInt64, inConfiguration: Bool) throws {
        try withModules(seed: seed) { _, engine, first, second, disks in
            let remove: Examine = { info, host throws(BdevError) in
                try await host.engine.remove(info.name)
                first.note("removed \(info.name)")
            }
            if inConfiguration { first.onConfiguration = remove } else { first.onDisk = remove }
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(first.log.value.contains("early: removed a"))
            #expect(first.log.value.contains("destroy a"))
            #expect(first.log.value.contains("late: configuration of a") == !inConfiguration)
            #expect(await engine.list().isEmpty)
            (first.onConfiguration, first.onDisk) = (nil, nil)
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(await engine.list().map(\.name) == ["a"])
        }
    }

    @Test func `a bdev can be removed from inside the examination of one that stands on it`() throws {
        try withModules { _, engine, first, second, disks in
            first.onConfiguration = { [unowned first] info, host throws(BdevError) in
                switch info.name {
                case "a": try await first.stack("b", on: "a")
                case "b": try await host.engine.remove("b")
                default: break
                }
            }
            second.onConfiguration = { info, host throws(BdevError) in
                if info.name == "a" { try await host.engine.remove("a") }
            }
            try await disks.register("a")
            await engine.waitForExamine()
            #expect(
                first.log.value == [
                    "early: configuration of a", "early: configuration of b", "destroy b",
                    "late: configuration of a", "destroy a",
                ])
        }
    }

    // MARK: The allow list

    @Test func `nothing is examined that is not asked for, and what is asked for is when it comes`() throws {
        try withModules(automaticallyExamines: false) { _, engine, first, _, disks in
            try await disks.register("a", aliases: ["alias"])
            try await engine.examine("later")
            #expect(first.log.value == [])
            #expect(await engine.list().map(\.name) == ["a"])
            try await engine.examine("alias")
            #expect(await code { () throws(BdevError) in try await engine.examine("alias") } == .nameInUse)
            await engine.waitForExamine()
            #expect(first.log.value.count { $0.hasSuffix("of a") } == 4)
            try await disks.register("b", aliases: ["later"])
            await engine.waitForExamine()
            #expect(first.log.value.count { $0.hasSuffix("of b") } == 4)
            #expect(await engine.examinedNames == ["later", "alias"])
            // A bdev that goes takes its entries with it, whichever of its names they have.
            try await engine.remove("a")
            #expect(await engine.examinedNames == ["later"])
            first.log.value = []
            try await disks.register("a", aliases: ["alias"])
            await engine.waitForExamine()
            #expect(first.log.value == [])
        }
    }

    @Test func `where everything is examined nothing needs to be asked for`() throws {
        try withModules { _, engine, _, _, _ in
            #expect(await code { () throws(BdevError) in try await engine.examine("a") } == .invalidArgument)
            #expect(await engine.examinedNames == [])
        }
    }
}
