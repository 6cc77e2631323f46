import Bdev
import Reactors

extension Check {
    static let crowds = [
        Check(name: "many readers and writers at once, on every reactor, each find what they wrote") { scene in
            let reactors = Array(scene.suite.reactors.prefix(2))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, reactor) in reactors.enumerated() {
                    group.addTask {
                        try await scene.descriptor.withChannel(on: reactor) { channel in
                            try await scene.runCrowd(channel, reactor: index, of: reactors.count)
                        }
                    }
                }
                try await group.waitForAll()
            }
        },
        Check(name: "cancelled I/O ends, and its buffer comes back") { scene in
            try await scene.onChannel { channel in
                let tasks = (0..<scene.suite.options.workerCount).map { index in
                    Task { try await scene.transferUntilCancelled(channel, index) }
                }
                for turn in 0..<40 { try await scene.write(channel, at: UInt64(turn), 1, version: 80) }
                for task in tasks { task.cancel() }
                for task in tasks { try await task.value }
                try await scene.write(channel, at: 100, 8, version: 81)
                try await scene.verify(channel, at: 100, 8, version: 81, "what was written after cancellations")
            }
        },
        Check(name: "closing a channel waits for what is in flight") { scene in
            try await scene.onChannel { channel in
                let tasks = (0..<scene.suite.options.workerCount).map { index in
                    Task { try await scene.transferUntilClosed(channel, index) }
                }
                for turn in 0..<40 { try await scene.write(channel, at: UInt64(turn), 1, version: 82) }
                await channel.close()
                let countAtClose = channel.statistics.total.operationCount
                for task in tasks { try await task.value }
                let late = channel.statistics.total.operationCount - countAtClose
                if late > 0 { throw scene.failure("\(late) I/Os were completed after the channel was closed") }
            }
        },
    ]
}

extension Scene {
    /// Blocks in a worker's piece of the bdev. Pieces of different workers alternate.
    private static let pieceBlockCount = 16

    fileprivate func runCrowd(_ channel: isolated BdevChannel, reactor: Int, of reactorCount: Int) async throws {
        let count = suite.options.workerCount
        let tasks = (0..<count).map { index in
            Task { try await work(channel, worker: reactor * count + index, of: reactorCount * count) }
        }
        for task in tasks { try await task.value }
    }

    /// Random operations in the worker's own pieces, checked against a shadow copy.
    private func work(_ channel: isolated BdevChannel, worker: Int, of workerCount: Int) async throws {
        var generator = SeededGenerator(seed: suite.options.seed &+ UInt64(worker) &* 0x1234_5677)
        let pieces = min(Int(blockCount) / Self.pieceBlockCount / workerCount, 32)
        // nil: unknown.
        var versions = [UInt64?](repeating: nil, count: pieces * Self.pieceBlockCount)
        var buffer = await channel.buffer(byteCount: Self.pieceBlockCount * blockByteCount)
        for number in 0..<suite.options.operationCount {
            let piece = Int.random(in: 0..<pieces, using: &generator)
            let first = Int.random(in: 0..<Self.pieceBlockCount, using: &generator)
            let length = Int.random(in: 1...(Self.pieceBlockCount - first), using: &generator)
            let start = UInt64((piece * workerCount + worker) * Self.pieceBlockCount + first)
            let shadow = (piece * Self.pieceBlockCount + first)..<(piece * Self.pieceBlockCount + first + length)
            switch Int.random(in: 0..<20, using: &generator) {
            case 0..<9:
                let version = UInt64(number + 1)
                try await write(channel, at: start, length, version: version)
                for index in shadow { versions[index] = version }
            case 9:
                try await channel.writeZeroes(at: .block(start), count: .blocks(UInt64(length)))
                for index in shadow { versions[index] = 0 }
            case 10 where descriptor.supports(.unmap):
                try await channel.unmap(at: .block(start), count: .blocks(UInt64(length)))
                for index in shadow { versions[index] = suite.options.zeroesUnmappedBlocks ? 0 : nil }
            case 11 where descriptor.geometry.protection == nil:
                // Somebody else's blocks, which may be changing: any contents will do. Protection information may be
                // found wrong then: a RAM disk copies without a lock.
                let place = UInt64.random(in: 0...(blockCount - UInt64(Self.pieceBlockCount)), using: &generator)
                try await channel.read(at: .block(place), into: &buffer)
            default:
                try await readBack(channel, start, versions[shadow], "worker \(worker), operation \(number)")
            }
        }
    }

    private func readBack(
        _ channel: isolated BdevChannel, _ start: UInt64, _ versions: ArraySlice<UInt64?>, _ what: String
    ) async throws {
        var buffer = await channel.buffer(byteCount: versions.count * blockByteCount)
        try await channel.read(at: .block(start), into: &buffer)
        if !keepsData { return }
        var expected = await channel.buffer(byteCount: blockByteCount)
        for (index, version) in versions.enumerated() {
            guard let version else { continue }
            pattern.fill(&expected, from: start + UInt64(index), version: version)
            if !buffer.memory.slice(from: index * blockByteCount, count: blockByteCount).contentEquals(expected.memory)
            {
                throw failure("\(what): block \(start + UInt64(index)) does not hold version \(version) of its data")
            }
        }
    }

    fileprivate func transferUntilCancelled(_ channel: isolated BdevChannel, _ index: Int) async throws {
        var buffer = await channel.buffer(byteCount: 8 * blockByteCount)
        let place = BdevOffset.block(UInt64(200 + 8 * index))
        while !Task.isCancelled {
            do {
                if index % 2 == 0 {
                    try await channel.read(at: place, into: &buffer)
                } else {
                    try await channel.write(from: buffer, at: place)
                }
            } catch {
                if error.code != .aborted {
                    throw failure("a cancelled I/O ended with '\(error)' instead of success or aborted")
                }
            }
        }
        buffer.fill(with: 1)
    }

    fileprivate func transferUntilClosed(_ channel: isolated BdevChannel, _ index: Int) async throws {
        var buffer = await channel.buffer(byteCount: 8 * blockByteCount)
        let place = BdevOffset.block(UInt64(200 + 8 * index))
        while true {
            do {
                try await channel.read(at: place, into: &buffer)
            } catch {
                if error.code == .closed { return }
                throw failure("a read at the time of a close ended with '\(error)' instead of success or closed")
            }
        }
    }
}
