import CLinux
import Foundation
import Synchronization
import Testing

@testable import Reactors

@Suite struct MessageTests {
    /// What arrived, by sender. Touched on one reactor only until it is done.
    private final class Arrivals: @unchecked Sendable {
        var next = [0, 0]
        var misplaced = 0
        let done = Atomic<Bool>(false)
    }

    @Test(arguments: [8, 4096], [false, true])
    func `messages of one sender arrive in order, however many and whatever the queue holds`(
        capacity: Int, isHeld: Bool
    ) async throws {
        let count = 100_000
        var options = ReactorOptions.test
        options.remoteQueueCapacity = capacity
        try await withGroup(options: options) { group in
            let reactor = group.reactors[0]
            let arrivals = Arrivals()
            let mayGo = Flag()
            // A reactor that is held up does not take anything in: what does not fit goes the other way round.
            if isHeld { reactor.post { _ in while !mayGo.value.load(ordering: .acquiring) { clinux_spin_hint() } } }
            let producers = (0..<2).map { sender in
                Thread {
                    for number in 0..<count {
                        reactor.post { _ in
                            if arrivals.next[sender] != number { arrivals.misplaced += 1 }
                            arrivals.next[sender] = number + 1
                            if arrivals.next == [count, count] { arrivals.done.store(true, ordering: .releasing) }
                        }
                        if number == count / 2 { mayGo.value.store(true, ordering: .releasing) }
                    }
                }
            }
            for producer in producers { producer.start() }
            #expect(await eventually { arrivals.done.load(ordering: .acquiring) })
            let (next, misplaced) = await reactor.run { _ in (arrivals.next, arrivals.misplaced) }
            #expect(next == [count, count] && misplaced == 0)
        }
    }

    private final class Flag: Sendable { let value = Atomic<Bool>(false) }

    @Test func `a message wakes a reactor that sleeps`() async throws {
        try await withGroup { group in
            let reactor = group.reactors[0]
            for round in 0..<20 {
                #expect(
                    await eventually { reactor.loop.activity.load(ordering: .acquiring) == ReactorActivity.asleep.word }
                )
                let log = Log()
                reactor.post { _ in log.note("awake") }
                #expect(await eventually { log.all == ["awake"] }, "round \(round)")
            }
        }
    }

    @Test func `a message a reactor sends to itself runs after what is queued, on its thread`() async throws {
        try await withGroup { group in
            let log = Log()
            await group.reactors[0].run { local in
                for number in 1...3 {
                    local.reactor.post { local in log.note("\(number) \(local.reactor.isCurrent)") }
                }
                log.note("first")
                await local.yield()
                log.note("last")
            }
            #expect(log.all == ["first", "1 true", "2 true", "3 true", "last"])
        }
    }

    @Test func `a call returns what the body returns and throws what it throws`() async throws {
        struct Refusal: Error, Equatable { let code: Int }
        try await withGroup(2) { group in
            let sum = await group.reactors[0].run { _ in
                await group.reactors[1].run { _ in 20 } + 1
            }
            #expect(sum == 21)
            await #expect(throws: Refusal(code: 7)) {
                try await group.reactors[1].run { _ throws(Refusal) in throw Refusal(code: 7) }
            }
        }
    }

    @Test func `a sleep on a kernel reactor lasts as long as it says, and one cancelled from elsewhere ends at once`()
        async throws
    {
        try await withGroup { group in
            let clock = ContinuousClock()
            let elapsed = await clock.measure {
                await group.reactors[0].run { local in try? await local.sleep(for: .milliseconds(20)) }
            }
            #expect(elapsed >= .milliseconds(20))
            let task = Task {
                await group.reactors[0].run { local in
                    do {
                        try await local.sleep(for: .seconds(3600))
                        return false
                    } catch { return true }
                }
            }
            try await Task.sleep(for: .milliseconds(5))
            task.cancel()
            #expect(await task.value)
        }
    }

    @Test func `a thousand sleeps cancelled while their timers fire end once each`() async throws {
        try await withGroup { group in
            await withTaskGroup { tasks in
                for number in 0..<1000 {
                    tasks.addTask {
                        await withTaskGroup { inner in
                            inner.addTask {
                                await group.reactors[0].run { local in
                                    try? await local.sleep(for: .microseconds(number % 200))
                                }
                            }
                            try? await Task.sleep(for: .microseconds(number % 97))
                            inner.cancelAll()
                        }
                    }
                }
            }
            #expect(await group.reactors[0].run { local in local.loop.parkedTaskCount } == 0)
        }
    }
}
