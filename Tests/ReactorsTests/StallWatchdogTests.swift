import Synchronization
import Testing

@testable import Reactors

@Suite struct StallWatchdogTests {
    private let reports = ThreadLock<[StallReport]>([])

    private func spin(_ local: isolated LocalReactor, for duration: Duration) {
        let end = local.now.advanced(by: duration)
        while local.now < end {}
    }

    private func stalled(
        _ cause: @escaping @Sendable (isolated LocalReactor) async -> Void
    ) async throws -> [StallReport] {
        try await withGroup { group in
            try group.startWatchdog(threshold: .milliseconds(100)) { report in reports.withLock { $0.append(report) } }
            await group.reactors[0].run { local in await cause(local) }
            _ = await eventually { reports.withLock { !$0.isEmpty } }
        }
        return reports.withLock { $0 }
    }

    @Test func `a poller that holds its reactor is reported once, by name`() async throws {
        let seen = try await stalled { local in
            var visits = 0
            local.addPoller(named: "other") { .idle }
            var poller: Poller!
            poller = local.addPoller(named: "nvme0 completions") {
                visits += 1
                if visits == 3 {
                    spin(local, for: .milliseconds(500))
                    local.remove(poller)
                }
                return .pending
            }
        }
        #expect(seen.count == 1, "\(seen)")
        let report = try #require(seen.first)
        #expect(report.activity == .poller("nvme0 completions"))
        #expect(report.duration >= .milliseconds(100) && report.duration < .milliseconds(500))
        #expect(report.threadID > 0 && report.reactor == "reactor_\(report.core)")
        #expect(report.description.contains("it is in poller 'nvme0 completions'"))
    }

    @Test func `a job that holds its reactor is called a job`() async throws {
        let seen = try await stalled { local in
            // In a turn of its own: the watchdog starts to look while the first one is under way.
            await local.yield()
            spin(local, for: .milliseconds(400))
        }
        #expect(seen.map(\.activity) == [.job], "\(seen)")
    }

    @Test func `a timer that holds its reactor is called a timer`() async throws {
        let seen = try await stalled { local in
            local.schedule(after: .milliseconds(10)) { spin(local, for: .milliseconds(400)) }
        }
        #expect(seen.map(\.activity) == [.timer], "\(seen)")
    }

    @Test func `each stall is reported, and a sleeping reactor never is`() async throws {
        try await withGroup { group in
            try group.startWatchdog(threshold: .milliseconds(60)) { report in reports.withLock { $0.append(report) } }
            try await Task.sleep(for: .milliseconds(400))
            #expect(reports.withLock { $0 } == [], "asleep")
            for stall in 1...2 {
                await group.reactors[0].run { local in spin(local, for: .milliseconds(250)) }
                #expect(await eventually { reports.withLock { $0.count } == stall })
            }
            try await Task.sleep(for: .milliseconds(200))
            #expect(reports.withLock { $0.count } == 2)
        }
    }

    @Test func `the names of pollers that were removed are used again`() {
        let names = PollerNames()
        let first = names.add("first")
        #expect(names.add("second") != first)
        names.remove(first)
        #expect(names.name(first) == nil && names.add("third") == first && names.name(first) == "third")
        #expect(names.name(77) == nil)
    }
}
