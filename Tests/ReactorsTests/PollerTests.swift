import Testing

@testable import Reactors

@Suite struct PollerTests {
    let log = Log()

    @Test func `pollers are visited on every turn, in the order they were added`() throws {
        try manually { [log] local, manual in
            for name in ["a", "b", "c"] { local.addNoting(name, in: log) }
            manual.turn()
            manual.turn()
            #expect(log.take() == ["a", "b", "c", "a", "b", "c"])
        }
    }

    @Test(arguments: [
        ([PollResult.idle, .idle], PollResult.idle), ([.idle, .busy], .busy), ([.pending, .idle], .pending),
        ([.busy, .pending], .busy),
        ([.pending, .busy], .busy), ([], .idle),
    ])
    func `a turn found what the most demanding of its pollers found`(results: [PollResult], whole: PollResult) throws {
        try manually { [log] local, manual in
            for (index, result) in results.enumerated() { local.addNoting("\(index)", in: log, result) }
            #expect(manual.turn() == whole)
        }
    }

    @Test func `a poller with a period is gone when it has been removed`() throws {
        try manually { local, manual in
            weak var poller: Poller?
            do {
                let added = local.addPoller(named: "gone", every: .milliseconds(1)) { .idle }
                poller = added
                local.remove(added)
            }
            manual.advance(by: .milliseconds(2))
            manual.turn()
            #expect(poller == nil)
        }
    }

    @Test func `a poller pauses, resumes and removes itself from inside`() throws {
        try manually { local, manual in
            var visits = 0
            var poller: Poller!
            poller = local.addPoller(named: "self") {
                visits += 1
                switch visits {
                case 1: local.pause(poller)
                case 2:
                    local.pause(poller)
                    local.resume(poller)
                case 3: local.remove(poller)
                default: Issue.record("visited after it was removed")
                }
                return .idle
            }
            manual.turn()
            manual.turn()
            #expect(visits == 1, "paused")
            local.resume(poller)
            manual.turn()
            #expect(visits == 2)
            manual.turn()
            #expect(visits == 3, "paused and resumed in one visit is not paused")
            manual.turn()
            manual.turn()
            #expect(visits == 3)
            #expect(local.statistics.pollers.isEmpty)
        }
    }

    @Test func `a poller that removes another before its visit prevents it, and one added joins the next turn`() throws
    {
        try manually { [log] local, manual in
            var victim: Poller!
            var first: Poller!
            first = local.addPoller(named: "first") {
                log.note("first")
                local.remove(victim)
                local.addNoting("late", in: log)
                local.remove(first)
                return .idle
            }
            victim = local.addPoller(named: "victim") {
                Issue.record("visited after it was removed")
                return .idle
            }
            manual.turn()
            #expect(log.take() == ["first"])
            manual.turn()
            #expect(log.take() == ["late"])
        }
    }

    @Test func `a poller with a period is visited once in each, counted from its last visit`() throws {
        try manually { [log] local, manual in
            local.addNoting("slow", every: .milliseconds(10), in: log)
            manual.turn()
            #expect(log.take() == [])
            manual.advance(by: .milliseconds(10))
            manual.turn()
            manual.turn()
            #expect(log.take() == ["slow"])
            manual.advance(by: .milliseconds(35))
            manual.turn()
            manual.turn()
            #expect(log.take() == ["slow"], "it does not catch up")
            manual.advance(by: .milliseconds(9))
            manual.turn()
            #expect(log.take() == [])
            manual.advance(by: .milliseconds(1))
            manual.turn()
            #expect(log.take() == ["slow"])
        }
    }

    @Test func `a poller with a period can be paused, resumed and removed`() throws {
        try manually { [log] local, manual in
            let poller = local.addNoting("p", every: .milliseconds(1), in: log)
            local.pause(poller)
            manual.advance(by: .milliseconds(5))
            manual.turn()
            #expect(log.take() == [])
            local.resume(poller)
            manual.turn()
            #expect(log.take() == [], "a period after it was resumed")
            manual.advance(by: .milliseconds(1))
            manual.turn()
            #expect(log.take() == ["p"])
            local.remove(poller)
            local.remove(poller)
            local.resume(poller)
            manual.advance(by: .milliseconds(5))
            manual.turn()
            #expect(log.take() == [])
        }
    }

    @Test func `a poller with a period pauses and resumes itself without a second timer`() throws {
        try manually { [log] local, manual in
            var poller: Poller!
            poller = local.addPoller(named: "p", every: .milliseconds(1)) {
                log.note("p")
                local.pause(poller)
                local.resume(poller)
                return .idle
            }
            for _ in 0..<5 {
                manual.advance(by: .milliseconds(1))
                manual.turn()
                #expect(log.take() == ["p"])
            }
        }
    }

    @Test func `the table shows name, state, visits and period`() throws {
        try manually { [log] local, manual in
            local.addNoting("busy", in: log, .busy)
            local.addNoting("slow", every: .milliseconds(3), in: log)
            local.pause(local.addNoting("off", in: log))
            manual.turn()
            manual.turn()
            let table = local.statistics.pollers
            #expect(table.map(\.name) == ["busy", "off", "slow"])
            #expect(table.map(\.state) == [.active, .paused, .active])
            #expect(table.map(\.runs) == [2, 0, 0] && table.map(\.busyRuns) == [2, 0, 0])
            #expect(table.map(\.period) == [nil, nil, .milliseconds(3)])
        }
    }

    @Test func `a poller is added once`() async {
        await #expect(processExitsWith: .failure) {
            try manually { local, _ in local.add(local.addPoller(named: "twice") { .idle }) }
        }
    }
}

extension LocalReactor {
    @discardableResult
    func addNoting(_ name: String, every period: Duration? = nil, in log: Log, _ result: PollResult = .idle) -> Poller {
        addPoller(named: name, every: period) {
            log.note(name)
            return result
        }
    }
}
