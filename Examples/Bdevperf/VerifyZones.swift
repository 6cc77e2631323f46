import Bdev
import Reactors

// `-w verify` on a bdev with zones.
extension Job {
    /// Fills zones of its own from their start, and reads each place back and compares it as soon as it is written;
    /// over and over, with a new generation each time around. A slot that could only have its zones by opening more
    /// than the bdev allows does nothing.
    func verify(
        _ zones: ZoneGeometry, _ slot: Int, _ channel: BdevChannel, _ buffer: inout IOBuffer
    ) async {
        // This job has every zone that is its own by number; its slots divide them, as many as may be open.
        let zoneCount = Int(descriptor.blockCount / zones.blockCount)
        let mine = Swift.max(0, (zoneCount - share.index + share.count - 1) / share.count)
        let limits = [zones.openLimit, zones.activeLimit].filter { $0 > 0 }.map { Swift.max(1, $0 / share.count) }
        let slotCount = Swift.min(plan.depth, mine, limits.min() ?? .max)
        if slot >= slotCount { return }
        var remaining = plan.ioCount(of: slot, parts: slotCount, in: share.ioCount)
        var generation: UInt64 = 0
        while remaining > 0 && !stop.isSet {
            generation += 1
            for number in Swift.stride(from: slot, to: mine, by: slotCount) where remaining > 0 && !stop.isSet {
                let zone = UInt64(share.index + number * share.count)
                do {
                    try await fill(zone * zones.blockCount, generation, &remaining, channel, &buffer)
                } catch let error as Mismatch {
                    note(error)
                } catch let error as BdevError {
                    note(error)
                } catch {
                    note("\(error)")
                }
            }
        }
    }

    private func fill(
        _ start: UInt64, _ generation: UInt64, _ remaining: inout UInt64, _ channel: BdevChannel,
        _ buffer: inout IOBuffer
    ) async throws {
        try await channel.manageZone(at: start, .reset)
        let capacity = try await channel.zones(from: start, count: 1).first?.capacity ?? 0
        for place in 0..<capacity / ioBlocks where remaining > 0 && !stop.isSet {
            let block = start + place * ioBlocks
            remaining -= 1
            try await writeOnce(block, generation, channel, &buffer)
            if remaining == 0 { break }
            remaining -= 1
            try await compare(block, generation, channel, &buffer)
        }
        // Left open, it would take what other slots need.
        try await channel.manageZone(at: start, .finish)
    }
}
