import Bdev
import Reactors

extension Job {
    private static let batchCapacity = 32

    /// Tasks that submit many I/Os and await them once; together they have the depth in flight.
    func runBatches(_ channel: isolated BdevChannel) async {
        let size = Swift.min(plan.depth, Self.batchCapacity)
        let count = (plan.depth + size - 1) / size
        var tasks: [Task<Void, Never>] = []
        for index in 0..<count {
            let capacity = Swift.min(size, plan.depth - index * size)
            tasks.append(Task { await self.runBatch(index, of: count, capacity, channel) })
        }
        for task in tasks { await task.value }
    }

    private func runBatch(_ index: Int, of count: Int, _ capacity: Int, _ channel: isolated BdevChannel) async {
        let stream = stream(index, of: count)
        var batch = IOBatch(capacity: capacity)
        await fill(&batch, capacity, stream, channel)
        while stream.remaining > 0 && !stop.isSet {
            let count = Int(Swift.min(UInt64(capacity), stream.remaining))
            if count == batch.count && !plan.workload.isMixed {
                if plan.workload != .flush { for index in 0..<count { batch.setOffset(index, stream.next()) } }
            } else {
                await fill(&batch, count, stream, channel)
            }
            stream.remaining -= UInt64(count)
            do {
                try await channel.perform(&batch)
            } catch {
                for index in 0..<count where !batch.status(index).isSuccess { note(error) }
            }
        }
    }

    /// Makes the batch anew: with fewer I/Os, or with another mixture.
    private func fill(_ batch: inout IOBatch, _ count: Int, _ stream: Stream, _ channel: isolated BdevChannel) async {
        var spare = IOBufferList(capacity: batch.capacity)
        for index in 0..<batch.count { if let buffer = batch.takeBuffer(index) { spare.append(buffer) } }
        batch.removeAll()
        for _ in 0..<count {
            if let type = plan.workload.plainType {
                let isFlush = type == .flush
                batch.add(
                    type, at: isFlush ? .block(0) : stream.next(),
                    count: .blocks(isFlush ? descriptor.blockCount : ioBlocks))
                continue
            }
            var buffer = spare.popLast()
            if buffer == nil { buffer = await channel.buffer(byteCount: plan.ioByteCount) }
            guard let buffer = buffer.take() else { return }
            if stream.nextIsRead() {
                batch.read(into: buffer, at: stream.next())
            } else {
                batch.write(from: buffer, at: stream.next())
            }
        }
    }
}
