import Bdev
import Reactors

extension Job {
    private var pattern: Pattern { Pattern(seed: plan.seed, blockByteCount: descriptor.blockByteCount) }

    func verify(_ slot: Int, _ stream: Stream, _ channel: BdevChannel) async {
        var buffer = await channel.buffer(byteCount: plan.ioByteCount)
        if let zones = descriptor.geometry.zones {
            return await verify(zones, slot, channel, &buffer)
        }
        switch plan.verifyPhase {
        case .both: await writeAndRead(slot, stream, channel, &buffer)
        case .write, .read: await pass(channel, &buffer)
        }
    }

    /// Writes each place of a region of its own, reads it back and compares, over and over with a new generation each
    /// time around.
    private func writeAndRead(_ slot: Int, _ slotStream: Stream, _ channel: BdevChannel, _ buffer: inout IOBuffer) async
    {
        let parts = UInt64(share.count * plan.depth)
        let part = UInt64(share.index * plan.depth + slot)
        let count = Swift.max(1, places / parts)
        let first = part * count
        // More slots than places: no two may share one.
        if first >= places { return }
        var remaining = slotStream.remaining
        var round: UInt64 = 0
        while remaining > 0 && !stop.isSet {
            let place = first + round % count
            let generation = 1 + round / count
            round += 1
            do {
                remaining -= 1
                try await writeOnce(place * ioBlocks, generation, channel, &buffer)
                if remaining == 0 { return }
                remaining -= 1
                try await check(place, generation, channel, &buffer)
            } catch let error as Mismatch {
                note(error)
            } catch let error as BdevError {
                note(error)
            } catch {
                note("\(error)")
            }
        }
    }

    /// Writes, or reads and compares, each place once.
    private func pass(_ channel: BdevChannel, _ buffer: inout IOBuffer) async {
        let limit = Swift.min(places, share.ioCountOfBdev ?? .max)
        while !stop.isSet {
            let place = share.cursor.take()
            if place >= limit { return }
            do {
                if plan.verifyPhase == .write {
                    try await writeOnce(place * ioBlocks, 1, channel, &buffer)
                } else {
                    try await check(place, 1, channel, &buffer)
                }
            } catch let error as Mismatch {
                note(error)
            } catch let error as BdevError {
                note(error)
            } catch {
                note("\(error)")
            }
        }
    }

    private func check(_ place: UInt64, _ generation: UInt64, _ channel: BdevChannel, _ buffer: inout IOBuffer)
        async throws
    {
        try await compare(place * ioBlocks, generation, channel, &buffer)
    }

    func writeOnce(_ block: UInt64, _ generation: UInt64, _ channel: BdevChannel, _ buffer: inout IOBuffer)
        async throws
    {
        pattern.fill(&buffer, first: block, generation: generation)
        try await channel.write(from: buffer, at: .block(block))
    }

    func compare(_ block: UInt64, _ generation: UInt64, _ channel: BdevChannel, _ buffer: inout IOBuffer)
        async throws
    {
        // What was written must come from the bdev, not from what is left in the buffer.
        buffer.fill(with: 0xE5)
        try await channel.read(at: .block(block), into: &buffer)
        if let mismatch = pattern.mismatch(in: buffer, first: block, generation: generation) { throw mismatch }
    }
}
