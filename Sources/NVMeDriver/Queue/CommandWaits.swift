import Reactors

/// The async calls that wait on one queue pair.
final class CommandWaits: NVMeClient {
    private struct Wait {
        let spot: ParkingSpot
        var completion: NVMeCompletion?
    }

    /// A command for which no request was free.
    private struct Pending {
        let index: Int
        let command: SubmissionQueueEntry
        let data: IOMemory?
        let metadata: IOMemory?
    }

    private let loop: ReactorLoop
    private let reactor: Reactor
    private unowned let pair: NVMeQueuePair
    private var waits: [Wait] = []
    private var free: [Int] = []
    /// In the order they came.
    private var pending: [Pending] = []

    init(of pair: NVMeQueuePair, reactor: Reactor) {
        self.pair = pair
        loop = reactor.loop
        self.reactor = reactor
    }

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        let index = Int(token)
        waits[index].completion = completion
        // It may not have come as far as its wait.
        if loop.isParked(at: waits[index].spot) { loop.unpark(waits[index].spot) }
    }

    override func queueHasRoom() {
        while let first = pending.first {
            if !submit(first) { return }
            pending.removeFirst()
        }
    }

    private func submit(_ each: Pending) -> Bool {
        pair.submit(each.command, data: each.data, metadata: each.metadata, client: self, token: UInt64(each.index))
    }

    /// Gives a command, and suspends the task until it has ended. The memory is the caller's, who waits.
    nonisolated(nonsending) func run(
        _ command: SubmissionQueueEntry, data: IOMemory?, metadata: IOMemory?
    ) async -> NVMeCompletion {
        let index = take()
        let each = Pending(index: index, command: command, data: data, metadata: metadata)
        if !pending.isEmpty || !submit(each) { pending.append(each) }
        while waits[index].completion == nil { await reactor.park(at: waits[index].spot) }
        let completion = waits[index].completion!
        waits[index].completion = nil
        free.append(index)
        return completion
    }

    private func take() -> Int {
        if let index = free.popLast() { return index }
        waits.append(Wait(spot: loop.makeSpot(), completion: nil))
        return waits.count - 1
    }

    /// Gives the spots back, when nobody waits any more.
    func close() {
        for index in free { loop.release(waits[index].spot) }
        free = []
    }
}
