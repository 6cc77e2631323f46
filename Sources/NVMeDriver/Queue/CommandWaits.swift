import Reactors

/// The async calls that wait on one queue pair.
final class CommandWaits: NVMeClient {
    private struct Wait {
        let spot: ParkingSpot
        /// Commands that have not ended.
        var left = 0
        /// What the first that failed ended with, or the last that did not.
        var completion = NVMeCompletion()
        /// Its task has been cancelled, and its commands are being aborted.
        var isGivenUp = false
    }

    /// A command for which no request was free.
    private struct Pending {
        let index: Int
        let command: SubmissionQueueEntry
        let data: IOMemory?
        let metadata: IOMemory?
        /// Of a fused operation.
        var second: (command: SubmissionQueueEntry, data: IOMemory)?
        var commandCount: Int { second == nil ? 1 : 2 }
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
        note(completion, 1, at: index)
    }

    private func note(_ completion: NVMeCompletion, _ commandCount: Int, at index: Int) {
        let known = waits[index].completion.status
        // Why the first of a fused operation failed says more than that the second was not done.
        if known.isSuccess || known.matches(.abortedByFailedFused) { waits[index].completion = completion }
        waits[index].left -= commandCount
        // The task may not have come as far as its wait.
        if waits[index].left == 0, loop.isParked(at: waits[index].spot) { loop.unpark(waits[index].spot) }
    }

    /// Gives up what tasks wait for that have been cancelled. Called once in a period of the scan.
    func giveUpCancelled() {
        guard let requestAbort = pair.requestAbort else { return }
        for index in waits.indices where waits[index].left > 0 && !waits[index].isGivenUp {
            let spot = waits[index].spot
            if !loop.isParked(at: spot) || !loop.isCancelled(at: spot) { continue }
            waits[index].isGivenUp = true
            let identifiers = pair.beginAbort(token: UInt64(index), of: self)
            if !identifiers.isEmpty { requestAbort(pair, identifiers) }
            for each in pending where each.index == index {
                note(NVMeCompletion(status: .abortRequested), each.commandCount, at: index)
            }
            pending.removeAll { $0.index == index }
        }
    }

    override func queueHasRoom() {
        while let first = pending.first {
            if !submit(first) { return }
            pending.removeFirst()
        }
    }

    private func submit(_ each: Pending) -> Bool {
        if let second = each.second, let data = each.data {
            return pair.submitFused(
                each.command, data: data, then: second.command, data: second.data, client: self,
                token: UInt64(each.index))
        }
        return pair.submit(
            each.command, data: each.data, metadata: each.metadata, client: self, token: UInt64(each.index))
    }

    /// Gives a command, and suspends the task until it has ended. The memory is the caller's, who waits.
    nonisolated(nonsending) func run(
        _ command: SubmissionQueueEntry, data: IOMemory? = nil, metadata: IOMemory? = nil
    ) async -> NVMeCompletion {
        let index = take()
        give(Pending(index: index, command: command, data: data, metadata: metadata))
        return await end(index)
    }

    /// Gives two commands that are one operation, and suspends the task until both have ended.
    nonisolated(nonsending) func run(
        _ first: SubmissionQueueEntry, data: IOMemory, then second: SubmissionQueueEntry, data secondData: IOMemory
    ) async -> NVMeCompletion {
        let index = take()
        give(Pending(index: index, command: first, data: data, metadata: nil, second: (second, secondData)))
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
            part.countTag(of: command, by: start &- command.startBlock, mask: parts.tagMask)
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
        waits[each.index].left += each.commandCount
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
            waits[index].isGivenUp = false
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
