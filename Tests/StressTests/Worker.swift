import Bdev
import Reactors
import SimulatedReactors
import Synchronization

/// One who does I/O on blocks of its own, and knows what it last wrote there.
final class Worker: @unchecked Sendable {
    // Sendable unchecked: its task uses it, and those it waits for.
    static let blockCount = 60
    let name: String
    let world: World
    let home: Reactor
    let top: String
    let first: UInt64
    var random: SeededRandom
    /// The word that each block begins and ends with; nil: not known.
    var model: [UInt64?] = Array(repeating: nil, count: blockCount)
    private var lastWord: UInt64
    private var groundAge = 0
    private var descriptor: BdevDescriptor?
    private var channel: BdevChannel?

    init(_ index: Int, _ world: World) {
        let tops = world.tower.tops
        name = "worker \(index)"
        self.world = world
        home = world.reactors[index % world.reactors.count]
        top = tops[index % tops.count]
        first = UInt64(index * 64)
        lastWord = UInt64(index + 1) << 48
        random = SeededRandom(seed: world.options.seed &* 1000 &+ UInt64(index))
    }

    func run() async {
        while world.hasBudget {
            guard let channel = await attach() else { continue }
            let isZoned = world.tower.isZoned && top == world.tower.tops[0]
            let failures = isZoned ? await zoneStep(channel) : await step(channel)
            if failures.contains(.removed) || Int.random(in: 0..<50, using: &random) == 0 { await detach() }
        }
        await detach()
        world.note(name, "over")
    }

    // MARK: Coming and going

    private func attach() async -> BdevChannel? {
        if let channel { return channel }
        world.note(name, "open \(top)")
        let moment = world.moment
        do {
            if descriptor == nil {
                let age = world.groundAge.load(ordering: .sequentiallyConsistent)
                descriptor = try await world.engine.open(top, mode: .readWrite, waitingUpTo: .milliseconds(5))
                // Which ground it is may only be guessed when it has changed meanwhile.
                if age != groundAge || age != world.groundAge.load(ordering: .sequentiallyConsistent) {
                    model = Array(repeating: nil, count: Self.blockCount)
                }
                groundAge = age
            }
            channel = try await descriptor?.channel(on: home)
        } catch {
            // It may be away, or claimed, for longer.
            if error.code != .timedOut && error.code != .noSuchBdev {
                world.judge(error.code, since: moment, [], "open: \(error)")
            }
            await detach()
            return nil
        }
        return channel
    }

    private func detach() async {
        world.note(name, "close")
        // The channel goes with the descriptor, or before it.
        if Bool.random(using: &random) { await channel?.close() }
        channel = nil
        await descriptor?.close()
        descriptor = nil
    }

    /// Whether its bdev does this kind of I/O when it is there.
    func does(_ type: IOType) -> Bool { descriptor?.supports(type) == true }

    // MARK: What is known

    func nextWord() -> UInt64 {
        lastWord += 1
        return lastWord
    }

    /// Some of its blocks.
    func anyRange(_ most: Int = 8) -> Range<Int> {
        let start = Int.random(in: 0..<Self.blockCount, using: &random)
        return start..<min(Self.blockCount, start + Int.random(in: 1...most, using: &random))
    }

    func offset(_ range: Range<Int>) -> BdevOffset { .block(first + UInt64(range.lowerBound)) }

    /// What an I/O has made of blocks: `word` when it succeeded, nobody knows what otherwise.
    func learn(_ range: Range<Int>, _ word: UInt64, _ failure: BdevError.Code?) {
        for block in range { model[block] = failure == nil ? word : nil }
    }

    /// Compares what a read brought with what is known.
    func check(_ buffer: borrowing IOBuffer, _ range: Range<Int>) {
        if !world.tower.keepsData { return }
        for (place, block) in range.enumerated() {
            guard let word = model[block] else { continue }
            let found = (buffer.load(UInt64.self, at: place * 512), buffer.load(UInt64.self, at: place * 512 + 504))
            if found == (word, word) { continue }
            let shown = [found.0, found.1, word].map { String($0, radix: 16) }
            world.find("\(name): block \(block) of \(top) holds \(shown[0])…\(shown[1]) instead of \(shown[2])")
        }
    }

    /// Counts one I/O from its beginning to its end. How it failed.
    func count(
        _ what: String, allowing allowed: [BdevError.Code] = [], _ body: () async throws(BdevError) -> Void
    ) async -> BdevError.Code? {
        let moment = world.moment
        world.submitted.add(1, ordering: .relaxed)
        defer { world.completed.add(1, ordering: .relaxed) }
        do throws(BdevError) {
            try await body()
            return nil
        } catch {
            world.judge(error.code, since: moment, allowed, "\(name): \(what): \(error)")
            return error.code
        }
    }
}

extension IOBuffer {
    /// Has every block begin and end with `word`.
    mutating func fill(with word: UInt64) {
        for start in stride(from: 0, to: byteCount, by: 512) {
            store(word, at: start)
            store(word, at: start + 504)
        }
    }
}
