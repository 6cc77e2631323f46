import CLinux
import Foundation
import Synchronization
import Testing

@testable import Reactors

@Suite struct ReactorGroupTests {
    @Test func `each reactor's thread has its name and runs on its core`() async throws {
        try await withGroup(2) { group in
            for reactor in group.reactors {
                let (name, core, allowed) = await reactor.run { _ in
                    let name = (try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)) ?? ""
                    let status = (try? String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8)) ?? ""
                    let allowed = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
                    return (name, clinux_current_core(), allowed.map { String($0.split(separator: "\t")[1]) })
                }
                #expect(name == "reactor_\(reactor.core)\n" && reactor.name == "reactor_\(reactor.core)")
                #expect(core == Int32(reactor.core) && allowed == "\(reactor.core)")
                #expect(reactor.node == group.topology.core(reactor.core)?.node)
            }
            #expect(group.reactors.map(\.index) == [0, 1])
        }
    }

    @Test func `without a core list there is one reactor, on the first core the process may use`() async throws {
        let group = try ReactorGroup(options: .test)
        #expect(group.reactors.map(\.core) == [CoreList.processCores()[0]])
        await group.shutDown()
    }

    @Test func `one per core is one for each physical core`() async throws {
        let group = try ReactorGroup.onePerCore(options: .test)
        #expect(try group.reactors.map(\.core) == CoreList.onePerCore.resolve(in: group.topology))
        await group.shutDown()
    }

    @Test func `a core that does not exist is refused by name, before any thread starts`() throws {
        let error = try #require(throws: ReactorError.self) { _ = try ReactorGroup(cores: [0, 4000], options: .test) }
        #expect(
            error.code == .coreUnavailable
                && error.description.hasPrefix("core 4000 does not exist: this machine has core"))
    }

    @Test func `two groups on one core are refused, and locks can be turned off`() async throws {
        let tree = try RecordedTree()
        var options = ReactorOptions()
        options.coreLockDirectory = tree.root
        let core = CoreList.processCores()[0]
        let group = try ReactorGroup(cores: [core], options: options)
        let error = try #require(throws: ReactorError.self) { _ = try ReactorGroup(cores: [core], options: options) }
        #expect(error.code == .coreInUse && error.description.contains("pid \(getpid())"))
        let unlocked = try ReactorGroup(cores: [core], options: .test)
        await unlocked.shutDown()
        await group.shutDown()
        let again = try ReactorGroup(cores: [core], options: options)
        await again.shutDown()
        #expect(try FileManager.default.contentsOfDirectory(atPath: tree.root) == [])
    }

    @Test func `a group that cannot have all its cores lets go of those it had`() async throws {
        let cores = CoreList.processCores()
        try #require(cores.count >= 2, "this test needs two cores")
        let tree = try RecordedTree()
        var options = ReactorOptions()
        options.coreLockDirectory = tree.root
        let second = try ReactorGroup(cores: [cores[1]], options: options)
        #expect(throws: ReactorError.self) { _ = try ReactorGroup(cores: [cores[0], cores[1]], options: options) }
        let first = try ReactorGroup(cores: [cores[0]], options: options)
        await first.shutDown()
        await second.shutDown()
    }

    @Test func `a thread that does not start undoes the others`() throws {
        let core = CoreList.processCores()[0]
        let reactors = try [core, 5000].enumerated().map { index, core in
            Reactor(core: core, index: index, backend: try KernelBackend(), options: .test)
        }
        let tree = try RecordedTree()
        let lock = try CoreLock(core: 1, directory: tree.root)
        let error = try #require(throws: ReactorError.self) { _ = try ReactorCrew(reactors: reactors, locks: [lock]) }
        #expect(error.code == .coreUnavailable && error.description.contains("core 5000"))
        let isStopped = reactors[0].stopRequested.load(ordering: .relaxed)
        #expect(isStopped)
    }

    @Test func `for-each visits the reactors in order and stops at the first error`() async throws {
        struct Refusal: Error {}
        try await withGroup(2) { group in
            let log = Log()
            // swift-format-ignore: ReplaceForEachWithForLoop
            await group.forEach { local in
                try? await local.sleep(for: .milliseconds(local.reactor.index == 0 ? 5 : 1))
                log.note("\(local.reactor.index)")
            }
            #expect(log.take() == ["0", "1"])
            await #expect(throws: Refusal.self) {
                // swift-format-ignore: ReplaceForEachWithForLoop
                try await group.forEach { local throws(Refusal) in
                    log.note("\(local.reactor.index)")
                    throw Refusal()
                }
            }
            #expect(log.take() == ["0"])
        }
    }

    @Test func `a node has a reactor when one of its cores has`() async throws {
        try await withGroup { group in
            let reactor = group.reactors[0]
            #expect(group.reactor(onNode: reactor.node) === reactor)
            #expect(group.reactor(onNode: 4711) == nil)
        }
    }

    @Test func `shutting down runs what is queued anywhere in the group first`() async throws {
        try await withGroup(2) { group in
            // Each message sends the next one to the other reactor: neither may end while the other still has work.
            @Sendable func pass(_ left: Int, _ group: [Reactor], _ log: Log) {
                group[left % 2].post { _ in
                    if left > 0 { pass(left - 1, group, log) } else { log.note("end") }
                }
            }
            let log = Log()
            pass(2000, group.reactors, log)
            await group.shutDown()
            #expect(log.all == ["end"])
        }
    }

    @Test func `shutting down twice, and from several threads, ends once`() async throws {
        let group = try ReactorGroup(options: .test)
        await withTaskGroup { tasks in
            for _ in 0..<4 { tasks.addTask { await group.shutDown() } }
        }
        group.shutDownBlocking()
    }

    @Test func `a group that is let go shuts down, also from its own reactor`() async throws {
        let log = Log()
        do {
            let group = try ReactorGroup(options: .test)
            group.reactors[0].post { _ in log.note("ran") }
        }
        #expect(log.take() == ["ran"])
        let ended = Log()
        var group: ReactorGroup? = try ReactorGroup(options: .test)
        let reactor = group!.reactors[0]
        let held = ThreadLock<ReactorGroup?>(group)
        group = nil
        reactor.post { _ in
            held.withLock { $0 = nil }
            ended.note("let go")
        }
        #expect(await eventually { ended.all == ["let go"] && reactor.loop.activity.load(ordering: .relaxed) == 0 })
    }

    @Test func `work sent after the end traps`() async {
        await #expect(processExitsWith: .failure) {
            let group = try ReactorGroup(options: .test)
            let reactor = group.reactors[0]
            await group.shutDown()
            reactor.post { _ in }
        }
    }

    @Test func `shutting down on a reactor of the group traps`() async {
        await #expect(processExitsWith: .failure) {
            let group = try ReactorGroup(options: .test)
            await group.reactors[0].run { _ in await group.shutDown() }
        }
    }

    @Test func `statistics tell busy from idle`() async throws {
        try await withGroup(2) { group in
            await group.reactors[0].run { local in
                let end = local.now.advanced(by: .milliseconds(20))
                while local.now < end {}
            }
            try await Task.sleep(for: .milliseconds(30))
            let all = await group.statistics()
            #expect(all.map(\.reactor) == group.reactors.map(\.name) && all.map(\.core) == group.reactors.map(\.core))
            #expect(all[0].busy >= .milliseconds(20) && all[0].longestTurn >= .milliseconds(20))
            #expect(all[0].idle >= .milliseconds(10) && all[0].jobs >= 2 && all[0].turns >= 2 && all[0].sleeps >= 1)
            #expect(all[1].busy < .milliseconds(20))
        }
    }

    @Test func `an idle group of two uses less than one hundredth of a core`() async {
        await #expect(processExitsWith: .success) {
            try await withGroup(2) { group in
                try await Task.sleep(for: .milliseconds(200))
                let before = clinux_process_cpu_nanoseconds()
                try await Task.sleep(for: .seconds(1))
                let used = clinux_process_cpu_nanoseconds() - before
                precondition(used < 10_000_000, "\(used) ns of CPU time in one idle second")
                for reactor in group.reactors {
                    let sleeps = await reactor.run { local in local.statistics.sleeps }
                    precondition(sleeps > 0, "\(reactor.name) never slept")
                }
            }
        }
    }
}

extension ReactorGroup {
    /// The blocking form, which overload resolution does not choose in a task.
    func shutDownBlocking() { shutDown() }
}
