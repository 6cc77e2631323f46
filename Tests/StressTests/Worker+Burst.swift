import Bdev
import Reactors
import Synchronization
import SystemPackage

extension Worker {
    /// Submits reads and writes by the synchronous face, gives some of them up, and waits until all have come back.
    func burst(_ channel: BdevChannel) async -> [BdevError.Code] {
        world.note(name, "burst")
        let moment = world.moment
        let words = (0..<15).map { _ in nextWord() }
        let writes = (0..<15).map { _ in Bool.random(using: &random) }
        let aborted = (0..<15).filter { _ in Int.random(in: 0..<6, using: &random) == 0 }
        let outcome = await channel.burst(self, words, writes, aborted)
        for (index, status) in outcome.statuses.enumerated() {
            let range = index * 4..<index * 4 + 4
            if writes[index] { learn(range, words[index], status?.isSuccess == true ? nil : .aborted) }
            guard let status, !status.isSuccess else { continue }
            let code = status.code
            let isAllowed =
                (code == .aborted && aborted.contains(index)) || status == .removed
                || (code == .systemError && status == .system(.noSpace) && world.tower.layers.last?.kind == .log)
            let meant: BdevError.Code =
                code == .aborted ? .aborted : status == .removed ? .removed : .deviceFailed
            world.judge(meant, since: moment, isAllowed ? [meant] : [], "\(name): burst: \(status)")
        }
        return outcome.failures
    }

    func offset(ofBurst index: Int) -> BdevOffset { offset(index * 4..<index * 4 + 4) }
}

/// What a burst came to.
struct BurstOutcome: Sendable {
    /// nil: it was refused.
    var statuses: [IOStatus?] = []
    var failures: [BdevError.Code] = []
}

extension BdevChannel {
    /// Writes to all blocks of a worker at once, and then reads them.
    func batch(_ worker: Worker, _ words: [UInt64]) async -> [BdevError.Code] {
        var batch = IOBatch(capacity: words.count)
        for index in words.indices {
            var buffer = await self.buffer(byteCount: 4 * 512)
            buffer.fill(with: words[index])
            batch.write(from: buffer, at: worker.offset(ofBurst: index))
        }
        let failure = await perform(&batch, for: worker)
        for index in words.indices {
            worker.learn(index * 4..<index * 4 + 4, words[index], batch.status(index).isSuccess ? nil : .aborted)
        }
        if failure == .removed { return [.removed] }
        batch.removeAll()
        for index in words.indices {
            let buffer = await self.buffer(byteCount: 4 * 512)
            batch.read(into: buffer, at: worker.offset(ofBurst: index))
        }
        let second = await perform(&batch, for: worker)
        for index in words.indices where batch.status(index).isSuccess {
            batch.withBuffer(index) { buffer in worker.check(buffer, index * 4..<index * 4 + 4) }
        }
        return [failure, second].compactMap(\.self)
    }

    private func perform(_ batch: inout IOBatch, for worker: Worker) async -> BdevError.Code? {
        let world = worker.world, moment = world.moment, count = batch.count
        world.submitted.add(count, ordering: .relaxed)
        defer { world.completed.add(count, ordering: .relaxed) }
        do {
            try await perform(&batch)
            return nil
        } catch {
            world.judge(error.code, since: moment, worker.writeErrors, "\(worker.name): batch: \(error)")
            return error.code
        }
    }

    fileprivate func burst(
        _ worker: Worker, _ words: [UInt64], _ writes: [Bool], _ aborted: [Int]
    ) async -> BurstOutcome {
        let handler = BurstHandler(worker, writes), engine = engine
        var outcome = BurstOutcome(statuses: Array(repeating: nil, count: words.count))
        for index in words.indices {
            var buffer: IOBuffer? = await self.buffer(byteCount: 4 * 512)
            if writes[index] { buffer?.fill(with: words[index]) }
            do throws(BdevError) {
                let offset = worker.offset(ofBurst: index)
                if writes[index] {
                    try engine.write(from: &buffer, at: offset, tag: UInt64(index), handler: handler)
                } else {
                    try engine.read(into: &buffer, at: offset, tag: UInt64(index), handler: handler)
                }
                handler.submitted += 1
                worker.world.submitted.add(1, ordering: .relaxed)
            } catch {
                outcome.failures.append(error.code)
            }
        }
        for index in aborted { engine.abort(tag: UInt64(index), of: handler) }
        while handler.completed < handler.submitted { await worker.world.pause(5, on: reactor) }
        for (index, status) in handler.statuses { outcome.statuses[index] = status }
        return outcome
    }
}

private final class BurstHandler: IOHandler {
    var submitted = 0
    private(set) var completed = 0
    private(set) var statuses: [(Int, IOStatus)] = []
    private let worker: Worker
    private let writes: [Bool]

    init(_ worker: Worker, _ writes: [Bool]) {
        self.worker = worker
        self.writes = writes
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        completed += 1
        worker.world.completed.add(1, ordering: .relaxed)
        let index = Int(completion.tag)
        statuses.append((index, completion.status))
        guard let buffer = completion.buffer.take() else {
            return worker.world.find("\(worker.name): an I/O has come back without its buffer")
        }
        if !writes[index], completion.status.isSuccess { worker.check(buffer, index * 4..<index * 4 + 4) }
    }
}
