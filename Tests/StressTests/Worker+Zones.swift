import Bdev
import Reactors
import Synchronization

extension Worker {
    /// On a bdev with zones, one of which is its own: as long as its blocks, and where they are.
    func zoneStep(_ channel: BdevChannel) async -> [BdevError.Code] {
        world.note(name, "zone")
        let first = first
        var failures: [BdevError.Code] = []
        // It may be full, or be another one than the last time.
        if let failure = await count(
            "zone reset",
            { () throws(BdevError) in
                try await channel.manageZone(at: first, .reset)
            })
        {
            return [failure]
        }
        model = Array(repeating: nil, count: Self.blockCount)
        for _ in 0..<12 {
            if let failure = await append(channel) {
                failures.append(failure)
                break
            }
        }
        let range = anyRange(), offset = offset(range), moment = world.moment
        var buffer = await channel.buffer(byteCount: range.count * 512)
        world.submitted.add(1, ordering: .relaxed)
        do {
            try await channel.read(at: offset, into: &buffer)
            check(buffer, range)
        } catch {
            world.judge(error.code, since: moment, [], "\(name): zone read: \(error)")
            failures.append(error.code)
        }
        world.completed.add(1, ordering: .relaxed)
        if let failure = await count(
            "zone report",
            { () throws(BdevError) in
                _ = try await channel.zones(from: first, count: 2)
            })
        {
            failures.append(failure)
        }
        return failures
    }

    /// Appends a few blocks to the zone. It has room for twelve times as many.
    private func append(_ channel: BdevChannel) async -> BdevError.Code? {
        let word = nextWord(), moment = world.moment
        let count = Int.random(in: 1...5, using: &random)
        var buffer = await channel.buffer(byteCount: count * 512)
        buffer.fill(with: word)
        world.submitted.add(1, ordering: .relaxed)
        defer { world.completed.add(1, ordering: .relaxed) }
        do {
            let place = try await channel.append(buffer, toZone: first)
            let start = Int(place) - Int(first)
            if start < 0 || start + count > Self.blockCount {
                world.find("\(name): an append came to block \(place)")
            } else {
                learn(start..<start + count, word, nil)
            }
            return nil
        } catch {
            // Some may have been written, anywhere behind what is known.
            world.judge(error.code, since: moment, [], "\(name): append: \(error)")
            model = Array(repeating: nil, count: Self.blockCount)
            return error.code
        }
    }
}
