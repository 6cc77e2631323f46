import Bdev
import Reactors
import Synchronization

extension Worker {
    /// Does some I/O of one kind or another. How those failed that did.
    func step(_ channel: BdevChannel) async -> [BdevError.Code] {
        let range = anyRange()
        switch Int.random(in: 0..<16, using: &random) {
        case 0...4: return await transfers(channel)
        case 5...7: return await batch(channel)
        case 8...10: return await burst(channel)
        case 11: return [await cancelled(channel, range)].compactMap(\.self)
        case 12: return [await withDeadline(channel, range)].compactMap(\.self)
        case 13: return [await zero(channel, range)].compactMap(\.self)
        case 14: return [await compareAndWrite(channel, range)].compactMap(\.self)
        default: return [await other(channel, range)].compactMap(\.self)
        }
    }

    /// Writes and reads one after another.
    private func transfers(_ channel: BdevChannel) async -> [BdevError.Code] {
        world.note(name, "transfers")
        var failures: [BdevError.Code] = []
        for _ in 0..<16 {
            let range = anyRange()
            var buffer = await channel.buffer(byteCount: range.count * 512)
            let failure: BdevError.Code?
            if Bool.random(using: &random) {
                let word = nextWord()
                buffer.fill(with: word)
                failure = await write(channel, buffer, range)
                learn(range, word, failure)
            } else {
                failure = await read(channel, &buffer, range)
                if failure == nil { check(buffer, range) }
            }
            if let failure { failures.append(failure) }
            if failure == .removed { break }
        }
        return failures
    }

    private func write(
        _ channel: BdevChannel, _ buffer: borrowing IOBuffer, _ range: Range<Int>, mayBeCancelled: Bool = false
    ) async -> BdevError.Code? {
        let moment = world.moment
        world.submitted.add(1, ordering: .relaxed)
        defer { world.completed.add(1, ordering: .relaxed) }
        do {
            try await channel.write(from: buffer, at: offset(range))
            return nil
        } catch {
            let excused = writeErrors + (mayBeCancelled ? [.aborted] : [])
            world.judge(error.code, since: moment, excused, "\(name): write: \(error)")
            return error.code
        }
    }

    private func read(
        _ channel: BdevChannel, _ buffer: inout IOBuffer, _ range: Range<Int>
    ) async -> BdevError.Code? {
        let moment = world.moment
        world.submitted.add(1, ordering: .relaxed)
        defer { world.completed.add(1, ordering: .relaxed) }
        do {
            try await channel.read(at: offset(range), into: &buffer)
            return nil
        } catch {
            world.judge(error.code, since: moment, [], "\(name): read: \(error)")
            return error.code
        }
    }

    /// Besides those of every I/O: a log may be full.
    var writeErrors: [BdevError.Code] { world.tower.layers.last?.kind == .log ? [.noSpace] : [] }

    /// Writes to many places at once, and then reads all of them.
    private func batch(_ channel: BdevChannel) async -> [BdevError.Code] {
        world.note(name, "batch")
        return await channel.batch(self, (0..<15).map { _ in nextWord() })
    }

    // MARK: Given up

    /// A write whose task is cancelled, soon or too late.
    private func cancelled(_ channel: BdevChannel, _ range: Range<Int>) async -> BdevError.Code? {
        world.note(name, "cancelled write")
        let word = nextWord()
        let task = Task(executorPreference: home.taskExecutor) {
            var buffer = await channel.buffer(byteCount: range.count * 512)
            buffer.fill(with: word)
            return await self.write(channel, buffer, range, mayBeCancelled: true)
        }
        if Bool.random(using: &random) { await world.pause(Int.random(in: 1...30, using: &random), on: home) }
        task.cancel()
        let failure = await task.value
        learn(range, word, failure)
        return failure
    }

    private func withDeadline(_ channel: BdevChannel, _ range: Range<Int>) async -> BdevError.Code? {
        world.note(name, "write with a deadline")
        let word = nextWord(), moment = world.moment
        var buffer = await channel.buffer(byteCount: range.count * 512)
        buffer.fill(with: word)
        let deadline = await home.local.now.advanced(by: .microseconds(Int.random(in: 0...50, using: &random)))
        world.submitted.add(1, ordering: .relaxed)
        var failure: BdevError.Code?
        do {
            try await channel.write(from: buffer, at: offset(range), options: IOOptions(deadline: deadline))
        } catch {
            failure = error.code
            world.judge(error.code, since: moment, writeErrors + [.timedOut], "\(name): deadline: \(error)")
        }
        world.completed.add(1, ordering: .relaxed)
        learn(range, word, failure)
        return failure
    }

    // MARK: Other kinds

    private func zero(_ channel: BdevChannel, _ range: Range<Int>) async -> BdevError.Code? {
        world.note(name, "zeroes")
        let isUnmap = Bool.random(using: &random) && does(.unmap), offset = offset(range)
        let failure = await count("zeroes", allowing: writeErrors) { () throws(BdevError) in
            if isUnmap {
                try await channel.unmap(at: offset, count: .blocks(UInt64(range.count)))
            } else {
                try await channel.writeZeroes(at: offset, count: .blocks(UInt64(range.count)))
            }
        }
        learn(range, 0, failure)
        return failure
    }

    private func compareAndWrite(_ channel: BdevChannel, _ range: Range<Int>) async -> BdevError.Code? {
        world.note(name, "compare and write")
        let range = range.lowerBound..<range.lowerBound + 1
        var old = await channel.buffer(byteCount: 512)
        if let failure = await read(channel, &old, range) { return failure }
        guard var new = try? await channel.allocateBuffer(byteCount: 512) else { return nil }
        let word = nextWord()
        new.fill(with: word)
        let moment = world.moment
        world.submitted.add(1, ordering: .relaxed)
        var failure: BdevError.Code?
        do {
            try await channel.compareAndWrite(old, new, at: offset(range))
        } catch {
            failure = error.code
            // What holds nothing reads differently each time.
            let allowed: [BdevError.Code] = world.tower.keepsData ? [] : [.miscompare]
            world.judge(error.code, since: moment, writeErrors + allowed, "\(name): compare and write: \(error)")
        }
        world.completed.add(1, ordering: .relaxed)
        learn(range, word, failure)
        return failure
    }

    private func other(_ channel: BdevChannel, _ range: Range<Int>) async -> BdevError.Code? {
        let count = UInt64(range.count), offset = offset(range)
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            world.note(name, "flush")
            if !does(.flush) { return nil }
            return await self.count("flush", allowing: writeErrors) { () throws(BdevError) in try await channel.flush()
            }
        case 1:
            world.note(name, "reset")
            if !does(.reset) { return nil }
            world.resets.begin()
            defer { world.resets.end() }
            return await self.count("reset") { () throws(BdevError) in try await channel.reset() }
        case 2:
            world.note(name, "seek")
            return await self.count("seek") { () throws(BdevError) in _ = try await channel.nextData(from: offset) }
        default:
            world.note(name, "copy")
            // Within one half of its blocks from the other: they do not overlap.
            let half = Self.blockCount / 2
            if range.upperBound > half { return nil }
            let target = range.lowerBound + half..<range.upperBound + half, targetOffset = self.offset(target)
            let failure = await self.count("copy", allowing: writeErrors) { () throws(BdevError) in
                try await channel.copy(from: offset, to: targetOffset, count: .blocks(count))
            }
            for (from, to) in zip(range, target) { model[to] = failure == nil ? model[from] : nil }
            return failure
        }
    }
}
