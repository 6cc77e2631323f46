import Bdev
import Reactors

/// I/O of one kind that waits, first in, first out. Its memory grows to the most that ever waited; an I/O allocates
/// nothing.
final class DelayLine {
    private let loop: ReactorLoop
    private let requests: RequestTable
    private var waiting = WaitingList()
    /// Goes off when the first is due, or before.
    private var timer: ReactorTimer?
    private var isTimerSet = false

    init(loop: ReactorLoop, requests: RequestTable) {
        self.loop = loop
        self.requests = requests
    }

    var isEmpty: Bool { waiting.isEmpty }

    func append(_ token: RequestToken, _ status: IOStatus, at deadline: UInt64) {
        waiting.append(WaitingIO(token: token, status: status, deadline: deadline))
        if !isTimerSet { setTimer() }
    }

    func remove(_ token: RequestToken) -> Bool {
        waiting.remove(token)
    }

    func abortAll() {
        while let first = waiting.popFirst() { requests.request(first.token).complete(.aborted) }
    }

    func close() { timer?.cancel() }

    private func setTimer() {
        guard let first = waiting.first else { return }
        isTimerSet = true
        if let timer, loop.schedule(timer, atTick: first.deadline) { return }
        timer = loop.schedule(atTick: first.deadline) { [unowned self] in timerFired() }
    }

    private func timerFired() {
        let now = loop.clock.now()
        while let first = waiting.first, first.deadline <= now {
            _ = waiting.popFirst()
            requests.request(first.token).complete(first.status)
        }
        isTimerSet = false
        setTimer()
    }
}

/// What the base has done, and when that is told.
private struct WaitingIO {
    let token: RequestToken
    let status: IOStatus
    /// In ticks.
    let deadline: UInt64
}

/// First in, first out, in a ring that grows when it is full.
private struct WaitingList {
    /// As many as a power of two.
    private var places: [WaitingIO?] = Array(repeating: nil, count: 64)
    private var head = 0
    private var count = 0

    var isEmpty: Bool { count == 0 }
    var first: WaitingIO? { count == 0 ? nil : places[head] }

    mutating func append(_ io: WaitingIO) {
        if count == places.count { grow() }
        places[(head + count) & (places.count - 1)] = io
        count += 1
    }

    mutating func popFirst() -> WaitingIO? {
        if count == 0 { return nil }
        let first = places[head]
        head = (head + 1) & (places.count - 1)
        count -= 1
        return first
    }

    /// Whether it was there. The others keep their order.
    mutating func remove(_ token: RequestToken) -> Bool {
        var found = false
        for _ in 0..<count {
            guard let io = popFirst() else { break }
            if io.token == token { found = true } else { append(io) }
        }
        return found
    }

    private mutating func grow() {
        places = Array(places[head...] + places[..<head]) + Array(repeating: nil, count: places.count)
        head = 0
    }
}
