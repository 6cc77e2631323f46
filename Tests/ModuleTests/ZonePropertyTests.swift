import Bdev
import Reactors
import SimulatedReactors
import Testing
import ZoneBlockBdev

/// What zones may do, as the specification has it: one step at a time, and every outcome where it leaves a choice.
struct ZoneModel: Hashable {
    struct Zone: Hashable {
        var state = ZoneState.full
        var written = ZoneModel.capacity
    }

    static let zoneSize: UInt64 = 64
    static let capacity: UInt64 = 48
    var openLimit: Int
    var activeLimit: Int
    var zones: [Zone]

    enum Operation: Hashable, Sendable {
        case write(zone: Int, offset: UInt64, count: UInt64)
        case append(zone: Int, count: UInt64)
        case manage(zone: Int, ZoneAction)
        case report(zone: Int)
    }

    /// How it ended: where an append or the write pointer is; what state a zone is in.
    struct Outcome: Hashable, Sendable {
        var status = IOStatus.success
        var place: UInt64 = 0
        var state = ZoneState.empty
    }

    /// The models that there may be after the operation has ended like this.
    func after(_ operation: Operation, _ outcome: Outcome) -> [ZoneModel] {
        switch operation {
        case .write(let zone, let offset, let count):
            // Beyond the last block of the last zone: no zone is asked.
            let isBeyond = zone == zones.count - 1 && offset + count > Self.zoneSize
            if isBeyond { return outcome.status == .failed ? [self] : [] }
            return written(zone, offset, count, outcome)
        case .append(let zone, let count):
            if outcome.status.isSuccess && outcome.place != zones[zone].written { return [] }
            return written(zone, zones[zone].written, count, outcome)
        case .manage(let zone, let action): return managed(zone, action, outcome.status)
        case .report(let zone):
            let isRight = outcome.state == zones[zone].state && outcome.place == zones[zone].written
            return isRight ? [self] : []
        }
    }

    private func written(_ zone: Int, _ offset: UInt64, _ count: UInt64, _ outcome: Outcome) -> [ZoneModel] {
        func refused(_ status: IOStatus) -> [ZoneModel] { outcome.status == status ? [self] : [] }
        if zones[zone].state == .full { return refused(.zoneIsFull) }
        if offset != zones[zone].written { return refused(.zoneInvalidWrite) }
        if offset + count > Self.capacity { return refused(.zoneBoundaryError) }
        var results: [ZoneModel] = []
        for (model, refusal) in zones[zone].state.isOpenNow ? [(self, nil)] : opened(zone, .implicitlyOpen) {
            if let refusal {
                if refusal == outcome.status { results.append(model) }
            } else if outcome.status.isSuccess {
                var model = model
                model.zones[zone].written += count
                if model.zones[zone].written == Self.capacity { model.zones[zone].state = .full }
                results.append(model)
            }
        }
        return results
    }

    /// A zone that is empty or closed is opened; every choice of one that is closed for it.
    private func opened(_ zone: Int, _ state: ZoneState) -> [(ZoneModel, IOStatus?)] {
        let open = zones.count { $0.state.isOpenNow }
        let active = zones.count { $0.state.isOpenNow || $0.state == .closed }
        if zones[zone].state == .empty && activeLimit > 0 && active >= activeLimit {
            return [(self, .tooManyActiveZones)]
        }
        var next = self
        next.zones[zone].state = state
        if openLimit == 0 || open < openLimit { return [(next, nil)] }
        let victims = zones.indices.filter { zones[$0].state == .implicitlyOpen }
        if victims.isEmpty { return [(self, .tooManyOpenZones)] }
        return victims.map { victim in
            var model = next
            model.zones[victim].state = .closed
            return (model, nil)
        }
    }

    private func managed(_ zone: Int, _ action: ZoneAction, _ status: IOStatus) -> [ZoneModel] {
        func end(_ state: ZoneState, _ written: UInt64) -> [ZoneModel] {
            if !status.isSuccess { return [] }
            var model = self
            model.zones[zone] = Zone(state: state, written: written)
            return [model]
        }
        let now = zones[zone]
        switch (action, now.state) {
        case (.open, .implicitlyOpen), (.open, .explicitlyOpen): return end(.explicitlyOpen, now.written)
        case (.open, .empty), (.open, .closed):
            return opened(zone, .explicitlyOpen).compactMap { model, refusal in
                refusal ?? .success == status ? model : nil
            }
        case (.close, .implicitlyOpen), (.close, .explicitlyOpen), (.close, .closed): return end(.closed, now.written)
        case (.finish, _): return end(.full, Self.capacity)
        case (.reset, _): return end(.empty, 0)
        default: return status == .invalidZoneTransition ? [self] : []
        }
    }
}

extension ZoneState {
    fileprivate var isOpenNow: Bool { self == .implicitlyOpen || self == .explicitlyOpen }
}

/// What several users did at once: when each operation was called and returned, by one count.
struct ZoneHistory {
    struct Entry: Sendable {
        let operation: ZoneModel.Operation
        let called: Int
        let returned: Int
        let outcome: ZoneModel.Outcome
    }

    var entries: [Entry] = []

    /// The models after some order of the operations that explains their outcomes and keeps those in order of which
    /// one had returned before the other was called. None: there is no such order.
    func explained(from models: Set<ZoneModel>) -> Set<ZoneModel> {
        var ends: Set<ZoneModel> = [], seen: Set<Place> = []
        var stack = models.map { Place(done: 0, model: $0) }
        while let place = stack.popLast() {
            if place.done == 1 << UInt64(entries.count) - 1 {
                ends.insert(place.model)
                continue
            }
            for (index, entry) in entries.enumerated() where place.done & 1 << UInt64(index) == 0 {
                let mustWait = entries.indices.contains {
                    place.done & 1 << UInt64($0) == 0 && entries[$0].returned < entry.called
                }
                if mustWait { continue }
                for model in place.model.after(entry.operation, entry.outcome) {
                    let next = Place(done: place.done | 1 << UInt64(index), model: model)
                    if seen.insert(next).inserted { stack.append(next) }
                }
            }
        }
        return ends
    }

    private struct Place: Hashable {
        let done: UInt64
        let model: ZoneModel
    }
}

@Suite("Zones behave as the model of the specification does")
struct ZonePropertyTests {
    private static let zoneCount = 4

    /// Carries an operation out.
    private static func perform(
        _ operation: ZoneModel.Operation, _ value: UInt64, on channel: isolated BdevChannel
    ) async -> ZoneModel.Outcome {
        var outcome = ZoneModel.Outcome()
        do throws(BdevError) {
            switch operation {
            case .write(let zone, let offset, let count):
                try await channel.write(value, at: UInt64(zone) * ZoneModel.zoneSize + offset, count: Int(count))
            case .append(let zone, let count):
                let start = UInt64(zone) * ZoneModel.zoneSize
                outcome.place = try await channel.append(value, toZone: start, count: Int(count)) - start
            case .manage(let zone, let action):
                try await channel.manageZone(at: UInt64(zone) * ZoneModel.zoneSize, action)
            case .report(let zone):
                let info = try await channel.zone(UInt64(zone) * ZoneModel.zoneSize)
                (outcome.place, outcome.state) = (info.writePointer - info.start, info.state)
            }
        } catch {
            outcome.status = error.status ?? .failed
        }
        return outcome
    }

    /// A random operation; `places` is where somebody thinks that the write pointers are.
    private static func choose(_ random: inout SeededRandom, _ places: [UInt64]) -> ZoneModel.Operation {
        let zone = Int.random(in: 0..<zoneCount, using: &random)
        let count = UInt64.random(in: 1...20, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<6: return .append(zone: zone, count: count)
        case 6..<11: return .write(zone: zone, offset: places[zone], count: count)
        case 11: return .write(zone: zone, offset: UInt64.random(in: 0...50, using: &random), count: count)
        case 12, 13: return .manage(zone: zone, .reset)
        case 14: return .manage(zone: zone, .open)
        case 15: return .manage(zone: zone, .close)
        case 16: return .manage(zone: zone, .finish)
        case 17: return .manage(zone: zone, .offline)
        default: return .report(zone: zone)
        }
    }

    @Test(arguments: 1...30 as ClosedRange<UInt64>)
    func `operations of three reactors at once have an order that explains their outcomes`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let openLimit = Int.random(in: 0...3, using: &random)
        let activeLimit = openLimit == 0 ? 0 : Int.random(in: openLimit...4, using: &random)
        let started = random
        try simulateZones(
            seed: seed, reactorCount: 3, blockCount: UInt64(Self.zoneCount) * ZoneModel.zoneSize, openLimit: openLimit,
            activeLimit: activeLimit
        ) { stack, _, descriptor in
            var random = started
            var models: Set<ZoneModel> = [
                ZoneModel(
                    openLimit: openLimit, activeLimit: activeLimit,
                    zones: Array(repeating: ZoneModel.Zone(), count: Self.zoneCount))
            ]
            var channels: [BdevChannel] = []
            for reactor in stack.reactors { channels.append(try await descriptor.channel(on: reactor)) }
            for round in 0..<12 {
                let round = Round(value: UInt64(round * 100), random: SeededRandom(seed: random.next()))
                let places = models.first!.zones.map { $0.state == .full ? 0 : $0.written }
                var tasks: [Task<Void, Never>] = []
                for (index, channel) in channels.enumerated() {
                    for worker in 0..<2 {
                        tasks.append(
                            Task(executorPreference: channel.reactor.taskExecutor) {
                                await round.run(on: channel, number: UInt64(index * 2 + worker), places)
                            })
                    }
                }
                for task in tasks { await task.value }
                models = round.history.explained(from: models)
                if models.isEmpty {
                    Issue.record("seed \(seed): nothing explains \(round.history.entries)")
                    return
                }
                try await round.verify(on: channels[0], seed: seed)
            }
        }
    }

    /// What six users do at once. Sendable unchecked: a simulation has one thread.
    private final class Round: @unchecked Sendable {
        var history = ZoneHistory()
        private var clock = 0
        private var random: SeededRandom
        private let value: UInt64

        init(value: UInt64, random: SeededRandom) {
            self.value = value
            self.random = random
        }

        func run(on channel: BdevChannel, number: UInt64, _ places: [UInt64]) async {
            for step in 0..<Int.random(in: 1...2, using: &random) {
                let operation = choose(&random, places)
                let called = tick()
                let outcome = await perform(operation, value + number * 10 + UInt64(step), on: channel)
                history.entries.append(
                    ZoneHistory.Entry(operation: operation, called: called, returned: tick(), outcome: outcome))
                values.append(value + number * 10 + UInt64(step))
            }
        }

        /// Of the entries, in their order.
        private var values: [UInt64] = []

        private func tick() -> Int {
            clock += 1
            return clock
        }

        /// What was written to zones that nobody reset is there.
        func verify(on channel: BdevChannel, seed: UInt64) async throws {
            let reset = Set(
                history.entries.compactMap { entry in
                    if case .manage(let zone, .reset) = entry.operation { zone } else { nil }
                })
            for (entry, value) in zip(history.entries, values) where entry.outcome.status.isSuccess {
                let (zone, offset, count): (Int, UInt64, UInt64)
                switch entry.operation {
                case .write(let theZone, let theOffset, let theCount):
                    (zone, offset, count) = (theZone, theOffset, theCount)
                case .append(let theZone, let theCount):
                    (zone, offset, count) = (theZone, entry.outcome.place, theCount)
                case .manage, .report: continue
                }
                if reset.contains(zone) { continue }
                for block in offset..<offset + count {
                    let found = try await channel.value(at: UInt64(zone) * ZoneModel.zoneSize + block)
                    #expect(found == value, "seed \(seed): block \(block) of zone \(zone)")
                }
            }
        }
    }

    @Test func `the model refuses outcomes that no order explains`() {
        let model = ZoneModel(openLimit: 1, activeLimit: 0, zones: [.init(state: .empty, written: 0), .init()])
        func entry(
            _ operation: ZoneModel.Operation, _ called: Int, _ returned: Int, _ status: IOStatus = .success,
            place: UInt64 = 0
        ) -> ZoneHistory.Entry {
            let outcome = ZoneModel.Outcome(status: status, place: place)
            return ZoneHistory.Entry(operation: operation, called: called, returned: returned, outcome: outcome)
        }
        func explains(_ entries: [ZoneHistory.Entry]) -> Bool {
            !ZoneHistory(entries: entries).explained(from: [model]).isEmpty
        }
        // Two appends at once, one behind the other, in either order; not both at one place.
        #expect(
            explains([entry(.append(zone: 0, count: 2), 1, 4, place: 3), entry(.append(zone: 0, count: 3), 2, 3)]))
        #expect(!explains([entry(.append(zone: 0, count: 2), 1, 4), entry(.append(zone: 0, count: 3), 2, 3)]))
        // One after the other: the second is behind the first.
        #expect(
            !explains([entry(.append(zone: 0, count: 2), 1, 2, place: 3), entry(.append(zone: 0, count: 3), 3, 4)]))
        #expect(!explains([entry(.write(zone: 1, offset: 0, count: 1), 1, 2)]))
        #expect(!explains([entry(.manage(zone: 0, .close), 1, 2)]))
        #expect(!explains([entry(.manage(zone: 0, .open), 1, 2, .tooManyOpenZones)]))
    }
}
