import Testing

@testable import Reactors

@Suite struct GateTests {
    let log = Log()

    /// Used by the tests' tasks on the manual reactor only.
    struct Shared: @unchecked Sendable { let gate: Gate }

    @Test func `closing an empty gate does not wait`() throws {
        try manually { [log] local, manual in
            let shared = Shared(gate: Gate(name: "volume", on: local))
            local.start { _ in
                await shared.gate.close()
                await shared.gate.close()
                log.note("closed")
            }
            manual.turn()
            #expect(log.take() == ["closed"])
        }
    }

    @Test func `closing waits for what is inside, and everybody who closes waits`() throws {
        try manually { [log] local, manual in
            let shared = Shared(gate: Gate(name: "volume", on: local))
            try shared.gate.enter()
            try shared.gate.enter()
            for closer in 1...2 {
                local.start { _ in
                    await shared.gate.close()
                    log.note("closed \(closer)")
                }
            }
            manual.settle()
            shared.gate.leave()
            manual.settle()
            #expect(log.take() == [] && shared.gate.count == 1 && shared.gate.isClosed)
            shared.gate.leave()
            manual.settle()
            #expect(log.take() == ["closed 1", "closed 2"])
        }
    }

    @Test func `a closed gate refuses by name`() throws {
        try manually { local, manual in
            let shared = Shared(gate: Gate(name: "volume", on: local))
            local.start { _ in await shared.gate.close() }
            manual.settle()
            let error = try #require(throws: ReactorError.self) { try shared.gate.enter() }
            #expect(error.code == .stopped)
            #expect(error.description == "'volume' is closed; start no new work on it after closing it")
        }
    }

    @Test func `cancelling whoever closes does not cut the wait short`() throws {
        try manually { [log] local, manual in
            let shared = Shared(gate: Gate(name: "volume", on: local))
            try shared.gate.enter()
            let task = local.start { _ in
                await shared.gate.close()
                log.note("closed")
            }
            manual.settle()
            task.cancel()
            manual.settle()
            #expect(log.take() == [])
            shared.gate.leave()
            manual.settle()
            #expect(log.take() == ["closed"])
        }
    }

    @Test func `a gate destroyed with work inside traps`() async {
        await #expect(processExitsWith: .failure) {
            try manually { local, _ in try Gate(name: "volume", on: local).enter() }
        }
    }

    @Test func `leaving a gate that nobody entered traps`() async {
        await #expect(processExitsWith: .failure) {
            try manually { local, _ in Gate(name: "volume", on: local).leave() }
        }
    }

    @Test func `closing from another thread traps`() async {
        await #expect(processExitsWith: .failure) {
            let reactor = ManualReactor().reactor
            let shared = reactor.asCurrent {
                reactor.local.assumeIsolated { Shared(gate: Gate(name: "volume", on: $0)) }
            }
            await shared.gate.close()
        }
    }
}
