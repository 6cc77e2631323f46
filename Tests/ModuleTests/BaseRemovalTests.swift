import Bdev
import LogBdev
import Reactors
import SimulatedReactors
import Testing
import ZoneBlockBdev

/// Bdevs that no base brings back: they are removed with what they stand on, at whatever moment it goes, and take
/// nothing else with them.
struct BaseRemovalTests {
    enum Kind: CaseIterable, Sendable {
        case zoneBlock, log
        /// The log is on a bdev "journal", and that is what goes.
        case logOnBdev

        /// What is removed in the tests.
        var leaving: String { self == .logOnBdev ? "journal" : "base" }
    }

    private static let seeds: Range<UInt64> = 0..<60

    @Test(arguments: Kind.allCases)
    func `a base that goes while its bdev is made is noticed`(kind: Kind) throws {
        let outcomes = Shared<[BdevError.Code?: Int]>([:])
        for seed in Self.seeds {
            try stack(seed: seed, reactorCount: 2) { here, stage in
                let maker = try await Self.setUp(kind, stage)
                let made = Task(executorPreference: stage.simulation.reactors[1].taskExecutor) {
                    await stage.code { try await maker.create("made", "base") }
                }
                for _ in 0..<seed % 30 { await here.yield() }
                // Returns when everyone has let go of it.
                try await stage.disks.remove(kind.leaving)
                let code = await made.value
                outcomes.value[code, default: 0] += 1
                #expect([.noSuchBdev, .removed, nil].contains(code), "seed \(seed)")
                await here.settle()
                #expect(await stage.names() == ["base", "journal", "other"].filter { $0 != kind.leaving })
            }
        }
        // Before, in the middle of it, and after.
        #expect(outcomes.value.count >= 2, "\(outcomes.value)")
    }

    @Test(arguments: Kind.allCases)
    func `news of an older base does not reach a bdev that was made again elsewhere`(kind: Kind) throws {
        for seed in Self.seeds {
            try stack(seed: seed, reactorCount: 2) { here, stage in
                let maker = try await Self.setUp(kind, stage)
                try await maker.create("made", "base")
                try await stage.disks.create("journal 2")
                maker.journal.value = "journal 2"
                let again = Task(executorPreference: stage.simulation.reactors[1].taskExecutor) {
                    _ = await stage.code { try await maker.delete("made") }
                    // Until the name is free.
                    while await stage.code({ try await maker.create("made", "other") }) != nil {
                        if stage.simulation.now > .seconds(1) { return }
                        await stage.simulation.reactors[1].local.settle()
                    }
                }
                for _ in 0..<seed % 30 { await here.yield() }
                try await stage.disks.remove(kind.leaving)
                await again.value
                await here.settle(.milliseconds(1))
                #expect(await stage.names().contains("made"), "seed \(seed)")
                #expect(try await stage.engine.info("other").claims.map(\.label) == ["made"], "seed \(seed)")
                try await stage.disks.remove("other")
                #expect(await !stage.names().contains("made"), "seed \(seed)")
            }
        }
    }

    @Test(arguments: Kind.allCases)
    func `a bdev goes with its base while it is in use, and does not come back with it`(kind: Kind) throws {
        try stack(seed: 3, reactorCount: 2) { here, stage in
            let maker = try await Self.setUp(kind, stage)
            try await maker.create("made", "base")
            let descriptor = try await stage.engine.open("made", mode: .readWrite)
            let channel = try await descriptor.channel(on: stage.simulation.reactors[1])
            let removal = stage.spawn { try await stage.disks.remove(kind.leaving) }
            await here.settle(.milliseconds(1))
            // It waits for those who have the bdev open.
            #expect(await stage.code { _ = try await stage.engine.info("made") } == nil)
            #expect(await stage.code { try await channel.flush() } == .removed)
            await descriptor.close()
            try await removal.value
            try await stage.disks.create(kind.leaving)
            #expect(await stage.names() == ["base", "journal", "other"])
            #expect(await stage.code { try await maker.delete("made") } == .noSuchBdev)
            try await maker.create("made", "base")
            try await maker.delete("made")
            for name in ["base", "other", "journal"] { #expect(try await stage.engine.info(name).claims.isEmpty) }
        }
    }

    private static func setUp(_ kind: Kind, _ stage: Stage) async throws -> Maker {
        for name in ["base", "other", "journal"] { try await stage.disks.create(name) }
        let maker = Maker(kind)
        try await stage.engine.register(maker.zoneBlock)
        try await stage.engine.register(maker.log)
        return maker
    }
}

/// Makes bdevs of one kind.
private final class Maker: Sendable {
    let zoneBlock = ZoneBlockModule()
    let log = LogModule()
    /// What the next log is on.
    let journal = Shared("journal")
    private let kind: BaseRemovalTests.Kind

    init(_ kind: BaseRemovalTests.Kind) { self.kind = kind }

    func create(_ name: String, _ base: String) async throws(BdevError) {
        switch kind {
        case .zoneBlock: try await zoneBlock.create(.init(name: name, base: base, zoneCapacity: 64))
        case .log: try await log.create(.init(name: name, base: base, log: .memory(byteCount: 1 << 16)))
        case .logOnBdev: try await log.create(.init(name: name, base: base, log: .bdev(journal.value)))
        }
    }

    func delete(_ name: String) async throws(BdevError) {
        if kind == .zoneBlock { try await zoneBlock.delete(name) } else { try await log.delete(name) }
    }
}

extension LocalReactor {
    fileprivate func settle(_ duration: Duration = .microseconds(1)) async {
        // Nobody cancels the task of a test's body.
        try? await sleep(for: duration)
    }
}
