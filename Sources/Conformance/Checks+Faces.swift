import Bdev
import Reactors

extension Check {
    static let faces = [
        Check(name: "a batch does all its I/O, and says which failed") { scene in
            try await scene.onChannel { channel in try await scene.checkBatches(channel) }
        },
        Check(name: "the synchronous face completes every request once, with its buffer") { scene in
            try await scene.onChannel { channel in try await scene.checkEngineFace(channel) }
        },
        Check(name: "the statistics add up") { scene in
            let before = try await scene.suite.engine.statistics(scene.suite.bdev)
            try await scene.onChannel { channel in
                for index in 0..<10 { try await scene.write(channel, at: UInt64(2 * index), 2, version: 90) }
                for index in 0..<6 {
                    try await scene.verify(channel, at: UInt64(3 * index), 3, version: 90, "a block that was written")
                }
            }
            let after = try await scene.suite.engine.statistics(scene.suite.bdev)
            let geometry = scene.descriptor.geometry, largest = 3 * geometry.blockByteCount
            let isSplit =
                geometry.splitsAtOptimalBoundary || geometry.splitsAtWriteUnit
                || 1...2 ~= geometry.transferBlockCountLimit || 1..<largest ~= geometry.segmentByteCountLimit
            try scene.checkCounters("writes", before.write, after.write, operations: 10, blocks: 20, isSplit)
            try scene.checkCounters("reads", before.read, after.read, operations: 6, blocks: 18, isSplit)
        },
    ]
}

extension Scene {
    fileprivate func checkCounters(
        _ what: String, _ before: IOCounters, _ after: IOCounters, operations: UInt64, blocks: UInt64, _ isSplit: Bool
    ) throws {
        let counted = after.operationCount - before.operationCount
        // The parts of a split I/O are counted in its place.
        if counted != operations, !isSplit || counted < operations {
            throw failure("\(operations) \(what) were counted as \(counted)")
        }
        let moved = after.blockCount - before.blockCount
        if moved != blocks { throw failure("\(what) of \(blocks) blocks were counted as \(moved) blocks") }
        if after.minimumLatencyTicks > after.maximumLatencyTicks || after.latencyTicks < before.latencyTicks {
            throw failure("the latencies of the \(what) contradict each other")
        }
    }

    fileprivate func checkBatches(_ channel: isolated BdevChannel) async throws {
        var batch = IOBatch(capacity: 32)
        for index in 0..<16 {
            var buffer = await channel.buffer(byteCount: 2 * blockByteCount)
            pattern.fill(&buffer, from: UInt64(300 + 2 * index), version: 91)
            batch.write(from: buffer, at: .block(UInt64(300 + 2 * index)))
        }
        try await channel.perform(&batch)
        batch.removeAll()
        for index in 0..<16 {
            let buffer = await channel.buffer(byteCount: 2 * blockByteCount)
            batch.read(into: buffer, at: .block(UInt64(300 + 2 * index)))
        }
        batch.add(.writeZeroes, at: .block(400), count: .blocks(4))
        try await channel.perform(&batch)
        for index in 0..<batch.count where !batch.status(index).isSuccess {
            throw failure("I/O \(index) of a batch failed")
        }
        for index in 0..<16 {
            guard let buffer = batch.takeBuffer(index) else {
                throw failure("the buffer of I/O \(index) of a batch is gone")
            }
            try await compare(channel, buffer, at: UInt64(300 + 2 * index), version: 91, "read in a batch")
        }
        try await verify(channel, at: 400, 4, version: 0, "zeroed in a batch")
        try await checkFailingBatch(channel)
    }

    private func checkFailingBatch(_ channel: isolated BdevChannel) async throws {
        var batch = IOBatch(capacity: 3)
        batch.add(.writeZeroes, at: .block(0), count: .blocks(1))
        batch.add(.writeZeroes, at: .block(blockCount), count: .blocks(1))
        batch.add(.writeZeroes, at: .block(1), count: .blocks(1))
        do {
            try await channel.perform(&batch)
        } catch {
            if error.code != .outOfRange { throw failure("a batch with an I/O out of range ended with '\(error)'") }
            if !batch.status(0).isSuccess || batch.status(1).isSuccess || !batch.status(2).isSuccess {
                throw failure("a batch with one I/O out of range has the wrong statuses")
            }
            return
        }
        throw failure("a batch with an I/O out of range succeeded")
    }

    fileprivate func checkEngineFace(_ channel: isolated BdevChannel) async throws {
        let face = channel.engine
        let handler = Collector()
        let count = 64
        for index in 0..<count {
            var buffer: IOBuffer? = await channel.buffer(byteCount: blockByteCount)
            pattern.fill(&buffer!, from: UInt64(500 + index), version: 92)
            try face.write(from: &buffer, at: .block(UInt64(500 + index)), tag: UInt64(index), handler: handler)
            if buffer != nil { throw failure("a submitted write left its buffer behind") }
        }
        try await collect(handler, count, "writes")
        for index in 0..<count {
            var buffer = handler.buffers[UInt64(index)]!.take()
            try face.read(into: &buffer, at: .block(UInt64(500 + index)), tag: UInt64(index), handler: handler)
        }
        try await collect(handler, count, "reads")
        for index in 0..<count {
            guard let buffer = handler.buffers[UInt64(index)]!.take() else {
                throw failure("the buffer of read \(index) is gone")
            }
            try await compare(
                channel, buffer, at: UInt64(500 + index), version: 92, "read through the synchronous face")
        }
        try face.submit(.writeZeroes, at: .block(500), count: .blocks(2), tag: 7, handler: handler)
        try await collect(handler, 1, "write zeroes")
        try await verify(channel, at: 500, 2, version: 0, "zeroed through the synchronous face")
    }

    /// Gives way until `count` requests are complete.
    private nonisolated(nonsending) func collect(_ handler: Collector, _ count: Int, _ what: String) async throws {
        while handler.completedCount < count { await Task.yield() }
        if handler.completedCount > count || handler.tags.count != count {
            throw failure("\(what) were completed more than once")
        }
        if let status = handler.failure { throw failure("one of \(count) \(what) ended as \(status.code)") }
        handler.completedCount = 0
        handler.tags = []
    }
}

/// Remembers what it is told, and keeps the buffers.
private final class Collector: IOHandler {
    /// A place for a buffer: dictionaries hold what can be copied only.
    final class Slot {
        private var buffer: IOBuffer?
        init(_ buffer: consuming IOBuffer?) { self.buffer = buffer }
        func take() -> IOBuffer? { buffer.take() }
    }

    var completedCount = 0
    var tags: Set<UInt64> = []
    var failure: IOStatus?
    var buffers: [UInt64: Slot] = [:]

    override func ioCompleted(_ completion: consuming IOCompletion) {
        completedCount += 1
        tags.insert(completion.tag)
        if !completion.status.isSuccess { failure = completion.status }
        let tag = completion.tag
        buffers[tag] = Slot(completion.buffer.take())
    }
}
