import Reactors

/// The async calls that wait on one queue pair.
final class CommandWaits: NVMeClient {
    private struct Wait {
        let spot: ParkingSpot
        /// Commands that have not ended.
        var left = 0
        /// What the first that failed ended with, or the last that did not.
        var completion = NVMeCompletion()
    }

    /// A command for which no request was free.
    private struct Pending {
        let index: Int
        let command: SubmissionQueueEntry
        let data: IOMemory?
        let metadata: IOMemory?
    }

    private let loop: ReactorLoop
    let reactor: Reactor
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
        if waits[index].completion.status.isSuccess { waits[index].completion = completion }
        waits[index].left -= 1
        // The task may not have come as far as its wait.
        if waits[index].left == 0, loop.isParked(at: waits[index].spot) { loop.unpark(waits[index].spot) }
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
        _ command: SubmissionQueueEntry, data: IOMemory? = nil, metadata: IOMemory? = nil
    ) async -> NVMeCompletion {
        let index = take()
        give(Pending(index: index, command: command, data: data, metadata: metadata))
        return await end(index)
    }

    /// Gives a command in parts, all at once, and suspends the task until all have ended. What the first that failed
    /// ended with.
    nonisolated(nonsending) func run(
        _ command: SubmissionQueueEntry, parts: BlockParts, data: IOMemory?, metadata: IOMemory?
    ) async -> NVMeCompletion {
        let index = take()
        var part = command, parts = parts, place = 0, metadataPlace = 0
        while let (start, count) = parts.next() {
            part.startBlock = start
            part.cdw12 = command.cdw12 & ~0xFFFF | UInt32(count - 1)
            let byteCount = count * parts.blockByteCount, metadataByteCount = count * parts.metadataByteCount
            give(
                Pending(
                    index: index, command: part, data: data?.slice(from: place, count: byteCount),
                    metadata: metadata?.slice(from: metadataPlace, count: metadataByteCount)))
            place += byteCount
            metadataPlace += metadataByteCount
        }
        return await end(index)
    }

    private func give(_ each: Pending) {
        waits[each.index].left += 1
        if !pending.isEmpty || !submit(each) { pending.append(each) }
    }

    private nonisolated(nonsending) func end(_ index: Int) async -> NVMeCompletion {
        while waits[index].left > 0 { await reactor.park(at: waits[index].spot) }
        free.append(index)
        return waits[index].completion
    }

    private func take() -> Int {
        if let index = free.popLast() {
            waits[index].completion = NVMeCompletion()
            return index
        }
        waits.append(Wait(spot: loop.makeSpot()))
        return waits.count - 1
    }

    /// Gives the spots back, when nobody waits any more.
    func close() {
        for index in free { loop.release(waits[index].spot) }
        free = []
    }
}
