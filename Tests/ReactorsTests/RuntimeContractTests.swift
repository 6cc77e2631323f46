import Glibc
import Synchronization
import Testing

@testable import Reactors

/// The facts about this toolchain's concurrency runtime that the reactors are built on, each counted in jobs. When one of these fails
/// after an upgrade, the design behind it has to be looked at again: docs/reactors.md says what rests on which.
@Suite(.serialized) struct RuntimeContractTests {
    private static let rounds = 1000

    /// Jobs for one wait: on the reactor, and handed to the global pool by the reactor's thread.
    private struct Cost: Equatable, CustomStringConvertible {
        var reactor: Double
        var global: Double
        var description: String { "\(reactor) on the reactor, \(global) through the global pool" }
    }

    private actor Neighbour {
        private let reactor: Reactor
        nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }
        private var calls = 0

        init(_ reactor: Reactor) { self.reactor = reactor }

        @inline(never) func call() { calls += 1 }
        @inline(never) func callAndGiveWay() async {
            calls += 1
            await Task.yield()
        }
    }

    private protocol Callable: Actor { func call() async }
    private actor Behind: Callable {
        private let reactor: Reactor
        nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }
        private var calls = 0

        init(_ reactor: Reactor) { self.reactor = reactor }
        func call() async { calls += 1 }
    }

    /// Continuations that a poller resumes on its next visit, as a completion would.
    private final class Waiters: Poller, @unchecked Sendable {
        // SAFETY: on its reactor only.
        private var continuations: [UnsafeContinuation<Void, Never>] = unsafe []
        private var spots: [ParkingSpot] = []
        private let loop: ReactorLoop

        init(_ loop: ReactorLoop) {
            self.loop = loop
            super.init(name: "waiters")
        }

        func add(_ continuation: UnsafeContinuation<Void, Never>) { unsafe continuations.append(continuation) }
        func add(_ spot: ParkingSpot) { spots.append(spot) }

        override func poll() -> PollResult {
            let woken = unsafe continuations, unparked = spots
            unsafe continuations = []
            spots = []
            for unsafe continuation in unsafe woken { unsafe continuation.resume() }
            for spot in unparked { loop.unpark(spot) }
            return .pending
        }
    }

    private enum Rooting { case plain, preference }

    /// Runs `wait` many times in one task isolated to a reactor, and counts.
    private func cost(
        _ rooting: Rooting, _ wait: @escaping @Sendable (isolated LocalReactor, Waiters) async -> Void
    ) async throws -> Cost {
        let cost = ThreadLock(Cost(reactor: -1, global: -1))
        try await withGroup { group in
            let reactor = group.reactors[0]
            let waiters = await reactor.run { local in
                let waiters = Waiters(local.loop)
                local.add(waiters)
                return waiters
            }
            let body: @Sendable () async -> Void = {
                await reactor.run { local in
                    await wait(local, waiters)
                    let jobs = local.loop.figures.jobs
                    let global = GlobalPool.jobsFromReactors
                    for _ in 0..<Self.rounds { await wait(local, waiters) }
                    let counted = Cost(
                        reactor: Double(local.loop.figures.jobs - jobs) / Double(Self.rounds),
                        global: Double(GlobalPool.jobsFromReactors - global) / Double(Self.rounds))
                    cost.withLock { $0 = counted }
                }
            }
            switch rooting {
            case .plain: await Task.detached(operation: body).value
            case .preference: await Task.detached(executorPreference: reactor.taskExecutor, operation: body).value
            }
        }
        return cost.withLock { $0 }
    }

    @Test func `awaiting an actor of the same reactor enqueues nothing`() async throws {
        let counted = try await cost(.plain) { local, _ in
            let neighbour = local.neighbour as! Neighbour
            await neighbour.call()
        }
        #expect(counted == Cost(reactor: 0, global: 0))
    }
}
