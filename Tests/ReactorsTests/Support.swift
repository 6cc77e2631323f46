import Synchronization
import SystemPackage
import Testing

@testable import Reactors

extension ReactorOptions {
    /// Tests share the machine's cores with each other and with whatever else runs.
    static var test: ReactorOptions {
        var options = ReactorOptions()
        options.locksCores = false
        return options
    }
}

/// Runs `body` with a group on the first `count` cores this process may use, which is shut down whatever happens.
func withGroup(
    _ count: Int = 1, options: ReactorOptions = .test, _ body: (ReactorGroup) async throws -> Void
) async throws {
    let cores = CoreList.processCores()
    try #require(cores.count >= count, "these tests need \(count) cores")
    let group = try ReactorGroup(cores: Array(cores.prefix(count)), options: options)
    do {
        try await body(group)
    } catch {
        await group.shutDown()
        throw error
    }
    await group.shutDown()
}

/// A reactor without a thread, on time that stands still: the test is its thread and takes each turn itself.
final class ManualReactor: @unchecked Sendable {
    // SAFETY: used by one thread at a time, the test's.
    let reactor: Reactor
    private let backend = Backend()

    private final class Backend: ReactorBackend, @unchecked Sendable {
        // SAFETY: as for the reactor.
        let clock = ReactorClock.simulated()
        func makeRing(options: Ring.Options) throws(RingError) -> Ring {
            throw RingError(
                attempt: "a ring", cause: .notSupported, reason: "a manual reactor has no kernel",
                advice: "use a real one")
        }
        func sleep(until deadline: UInt64?, ring: Ring?) {}
        func wake() {}
        func randomWord() -> UInt64 { 0 }
    }

    init() { reactor = Reactor(core: 0, index: 0, name: "manual", backend: backend, options: .test) }

    @discardableResult
    func turn() -> PollResult { reactor.loop.turn() }

    /// Turns until one finds nothing.
    func settle() { while turn() == .busy {} }

    func advance(by duration: Duration) {
        backend.clock.advance(to: backend.clock.now() + backend.clock.ticks(duration))
    }
}

/// Runs a test on a manual reactor of its own: all of it is code of that reactor's thread.
func manually(_ body: @Sendable (isolated LocalReactor, ManualReactor) throws -> Void) throws {
    let manual = ManualReactor()
    try manual.reactor.asCurrent {
        try manual.reactor.local.assumeIsolated { local in try body(local, manual) }
    }
}

extension LocalReactor {
    /// Starts a task isolated to this reactor, without a visit to the global pool.
    @discardableResult
    func start(_ body: @escaping @Sendable (isolated LocalReactor) async -> Void) -> Task<Void, Never> {
        Task { await body(self) }
    }
}

/// Notes of what happened, in order.
final class Log: Sendable {
    private let entries = ThreadLock<[String]>([])
    func note(_ entry: String) { entries.withLock { $0.append(entry) } }
    var all: [String] { entries.withLock { $0 } }
    /// And forgets them.
    func take() -> [String] {
        entries.withLock { entries in
            defer { entries = [] }
            return entries
        }
    }
}

/// Waits for `condition` off the reactors; false after ten seconds.
func eventually(_ condition: () -> Bool) async -> Bool {
    for _ in 0..<10_000 {
        if condition() { return true }
        try? await Task.sleep(for: .milliseconds(1))
    }
    return condition()
}
