import Testing

@testable import Reactors

/// The facts about the toolchain's concurrency runtime that the reactors are built on, counted in jobs. When one of
/// these fails after an upgrade, what rests on that fact has to be looked at again before anything else.
@Suite(.serialized) struct RuntimeContractTests {
    private static let rounds = 1000

    /// Jobs for one wait.
    private struct Cost: Equatable, CustomStringConvertible {
        /// Run by the reactor.
        var reactor: Double
        /// Handed to the global pool by the reactor's thread.
        var global: Double
        var description: String { "\(reactor) on the reactor and \(global) through the global pool" }
    }

    private enum Rooting { case plain, preference }

    /// Runs `wait` many times in one task that is isolated to a reactor, and counts.
    private func cost(
        _ rooting: Rooting, _ wait: @escaping @Sendable (isolated LocalReactor, ContractScene) async -> Void
    ) async throws -> Cost {
        try #require(
            GlobalPool.isHooked, "the runtime has no swift_task_enqueueGlobal_hook: these facts cannot be counted")
        let result = ThreadLock(Cost(reactor: -1, global: -1))
        try await withGroup { group in
            let reactor = group.reactors[0]
            let scene = await reactor.run { local in ContractScene(on: local) }
            let body: @Sendable @concurrent () async -> Void = {
                await reactor.run { local in
                    await wait(local, scene)
                    GlobalPool.watch(reactor)
                    let before = local.loop.figures.jobs
                    for _ in 0..<Self.rounds { await wait(local, scene) }
                    let cost = Cost(
                        reactor: Double(local.loop.figures.jobs - before) / Double(Self.rounds),
                        global: Double(GlobalPool.jobs) / Double(Self.rounds))
                    result.withLock { $0 = cost }
                }
            }
            switch rooting {
            case .plain: await Task.detached(operation: body).value
            case .preference: await Task.detached(executorPreference: reactor.taskExecutor, operation: body).value
            }
            await reactor.run { local in
                local.remove(scene.waiters)
                local.loop.release(scene.waiters.spot)
            }
        }
        return result.withLock { $0 }
    }

    private func expect(
        _ cost: Cost, _ expected: Cost, _ note: String = "", at location: SourceLocation = #_sourceLocation
    ) {
        #expect(cost == expected, "\(cost) \(note)", sourceLocation: location)
    }

    private static let none = Cost(reactor: 0, global: 0)
    private static let one = Cost(reactor: 1, global: 0)
    private static let two = Cost(reactor: 2, global: 0)

    @Test func `awaiting an actor of the same reactor enqueues nothing`() async throws {
        for rooting in [Rooting.plain, .preference] {
            let direct = try await cost(rooting) { _, scene in _ = await scene.neighbour.call() }
            expect(direct, Self.none, "\(rooting)")
            let existential = try await cost(rooting) { _, scene in _ = await scene.behind.call() }
            expect(existential, Self.none, "\(rooting), through an existential")
        }
    }

    @Test func `an async function that returns without suspending enqueues nothing`() async throws {
        @Sendable @inline(never) nonisolated(nonsending) func completed() async {}
        for rooting in [Rooting.plain, .preference] {
            try await expect(cost(rooting) { _, _ in await completed() }, Self.none, "\(rooting)")
        }
    }

    @Test func `a continuation without a preference visits the global pool`() async throws {
        let cost = try await cost(.plain) { _, scene in
            // SAFETY: resumed once, by the poller.
            await unsafe withUnsafeContinuation { unsafe scene.waiters.add($0) }
        }
        expect(cost, Cost(reactor: 1, global: 1))
    }

    @Test func `a continuation with a preference stays on the reactor`() async throws {
        let cost = try await cost(.preference) { _, scene in
            // SAFETY: resumed once, by the poller.
            await unsafe withUnsafeContinuation { unsafe scene.waiters.add($0) }
        }
        expect(cost, Self.one)
    }

    @Test
    func
        `parking costs one job without a preference, and one more for each async function it returns through with one`()
        async throws
    {
        let wait: @Sendable (isolated LocalReactor, ContractScene) async -> Void = { local, scene in
            scene.waiters.wakeSpot()
            await local.reactor.park(at: scene.waiters.spot)
        }
        try await expect(cost(.plain, wait), Self.one)
        let preferring = try await cost(.preference, wait)
        #expect(preferring.reactor >= 2 && preferring.global == 0, "\(preferring)")
    }

    @Test func `giving way costs one job without a preference, and more with one`() async throws {
        try await expect(cost(.plain) { local, _ in await local.yield() }, Self.one)
        let preferring = try await cost(.preference) { local, _ in await local.yield() }
        #expect(preferring.reactor >= 2 && preferring.global == 0, "\(preferring)")
    }

    @Test func `a job run with the pair of executors of the other kind of task costs one job more`() async throws {
        try await expect(cost(.plain) { _, scene in await scene.wrong.visit() }, Self.two)
        try await expect(cost(.preference) { _, scene in await scene.wrong.visit() }, Self.one)
    }

    @Test func `the poll loop counts as the actors' own executor, outside any task`() throws {
        try manually { local, manual in
            var visited = false
            local.schedule(after: .zero) {
                #expect(manual.reactor.isIsolatingCurrentContext() == true)
                manual.reactor.local.assumeIsolated { _ in visited = true }
            }
            manual.turn()
            #expect(visited)
        }
    }

    @Test func `a task that an actor of the reactor starts goes to the reactor at once`() throws {
        try manually { local, manual in
            let log = Log()
            local.start { _ in log.note("ran") }
            #expect(manual.reactor.loop.readyCount == 1)
            manual.turn()
            #expect(log.all == ["ran"])
        }
    }
}
