import Testing

@testable import Reactors

@Suite struct TimerTests {
    let log = Log()

    @Test func `timers run in the order of their instants, equal ones in the order they were set`() throws {
        try manually { [log] local, manual in
            for (name, delay) in [("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("b3", 2)] {
                local.note(name, after: .milliseconds(delay), in: log)
            }
            manual.turn()
            #expect(log.take() == [])
            manual.advance(by: .milliseconds(1))
            manual.turn()
            #expect(log.take() == ["a"])
            manual.advance(by: .milliseconds(9))
            manual.turn()
            #expect(log.take() == ["b1", "b2", "b3", "c"])
        }
    }

    @Test func `a thousand timers set in any order run in order`() throws {
        try manually { [log] local, manual in
            let seed = UInt64.random(in: .min ... .max)
            var random = seed
            var delays: [Int] = []
            for _ in 0..<1000 {
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                delays.append(Int(random >> 33) % 100)
            }
            for (index, delay) in delays.enumerated() {
                local.note("\(delay) \(index)", after: .milliseconds(delay), in: log)
            }
            manual.advance(by: .seconds(1))
            manual.turn()
            let expected = delays.indices.sorted { (delays[$0], $0) < (delays[$1], $1) }.map { "\(delays[$0]) \($0)" }
            #expect(log.take() == expected, "seed \(seed)")
        }
    }

    @Test func `a cancelled timer does not run, also when another one due with it cancels it`() throws {
        try manually { [log] local, manual in
            let later = local.note("later", after: .milliseconds(2), in: log)
            local.note("never", after: .milliseconds(1), in: log).cancel()
            local.schedule(after: .milliseconds(1)) { later.cancel() }
            manual.advance(by: .milliseconds(5))
            manual.turn()
            #expect(log.take() == [])
        }
    }

    @Test func `a timer that sets itself again for now does not hold the turn`() throws {
        try manually { [log] local, manual in
            var again: (() -> Void)!
            again = {
                local.schedule(after: .zero) {
                    log.note("again")
                    again()
                }
            }
            again()
            manual.turn()
            #expect(log.take() == ["again"])
            manual.turn()
            #expect(log.take() == ["again"])
        }
    }

    @Test func `an instant in the past runs on the next turn`() throws {
        try manually { [log] local, manual in
            manual.advance(by: .seconds(1))
            local.schedule(at: local.now.advanced(by: .seconds(-5))) { log.note("past") }
            local.schedule(after: .seconds(-1)) { log.note("negative") }
            manual.turn()
            #expect(log.take() == ["past", "negative"])
        }
    }

    @Test func `a sleeping task goes on when its time has come, not before`() throws {
        try manually { [log] local, manual in
            local.start { local in
                let start = local.now
                try? await local.sleep(for: .milliseconds(10))
                log.note("woke after \(start.duration(to: local.now))")
                try? await local.sleep(until: start.advanced(by: .milliseconds(15)))
                log.note("woke again after \(start.duration(to: local.now))")
            }
            manual.settle()
            manual.advance(by: .milliseconds(9))
            manual.settle()
            #expect(log.take() == [])
            manual.advance(by: .milliseconds(1))
            manual.settle()
            manual.advance(by: .milliseconds(7))
            manual.settle()
            #expect(log.take() == ["woke after 0.01 seconds", "woke again after 0.017 seconds"])
        }
    }

    @Test func `cancelling a sleeping task wakes it at once with a CancellationError`() throws {
        try manually { [log] local, manual in
            let task = local.start { local in
                do {
                    try await local.sleep(for: .seconds(3600))
                    log.note("slept")
                } catch {
                    log.note("cancelled")
                }
                do { try await local.sleep(for: .seconds(1)) } catch { log.note("still cancelled") }
            }
            manual.settle()
            task.cancel()
            manual.settle()
            #expect(log.take() == ["cancelled", "still cancelled"])
            manual.advance(by: .seconds(7200))
            manual.settle()
            #expect(log.take() == [], "the timer went with it")
        }
    }

    @Test func `a cancellation that comes with the timer ends the sleep once`() throws {
        try manually { [log] local, manual in
            let task = local.start { local in
                do { try await local.sleep(for: .milliseconds(1)) } catch { log.note("cancelled") }
                log.note("done")
            }
            manual.settle()
            manual.advance(by: .milliseconds(1))
            manual.turn()
            task.cancel()
            manual.settle()
            #expect(log.take() == ["done"])
        }
    }

    @Test func `instants compare and measure`() throws {
        try manually { local, manual in
            let start = local.now
            manual.advance(by: .microseconds(1500))
            let end = local.now
            #expect(
                start < end && start.duration(to: end) == .microseconds(1500)
                    && start.advanced(by: .microseconds(1500)) == end)
        }
    }
}

extension LocalReactor {
    @discardableResult
    func note(_ name: String, after delay: Duration, in log: Log) -> ReactorTimer {
        schedule(after: delay) { log.note(name) }
    }
}
