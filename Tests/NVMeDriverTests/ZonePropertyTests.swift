import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

/// What zones are, as simply as it can be said: a list of states and of what has been written.
private struct ZoneListModel {
    var states: [NVMeZone.State]
    /// The first byte of each block.
    var written: [[UInt8]]
    let openLimit: Int
    let activeLimit: Int
    /// Zones that writes have opened, in the order they did.
    var implicit: [Int] = []

    init(count: Int, openLimit: Int, activeLimit: Int) {
        states = Array(repeating: .empty, count: count)
        written = Array(repeating: [], count: count)
        self.openLimit = openLimit
        self.activeLimit = activeLimit
    }

    private func isOpen(_ zone: Int) -> Bool { [.implicitlyOpen, .explicitlyOpen].contains(states[zone]) }
    private mutating func become(_ zone: Int, _ state: NVMeZone.State) {
        implicit.removeAll { $0 == zone }
        if state == .implicitlyOpen { implicit.append(zone) }
        states[zone] = state
    }

    private mutating func open(_ zone: Int, _ state: NVMeZone.State) -> NVMeStatus {
        if !isOpen(zone) {
            let open = states.indices.filter(isOpen).count, closed = states.filter { $0 == .closed }.count
            if states[zone] == .empty, open + closed == activeLimit { return .tooManyActiveZones }
            if open == openLimit {
                guard let victim = implicit.first else { return .tooManyOpenZones }
                become(victim, .closed)
            }
        }
        become(zone, state)
        return .success
    }

    mutating func write(_ zone: Int, at offset: Int, count: Int, _ byte: UInt8) -> NVMeStatus {
        if states[zone] == .full { return .zoneIsFull }
        if offset != written[zone].count { return .zoneInvalidWrite }
        if offset + count > 48 { return .zoneBoundaryError }
        if !isOpen(zone) {
            let status = open(zone, .implicitlyOpen)
            if !status.isSuccess { return status }
        }
        written[zone] += Array(repeating: byte, count: count)
        if written[zone].count == 48 { become(zone, .full) }
        return .success
    }

    mutating func manage(_ zone: Int, _ action: NVMeZoneAction) -> NVMeStatus {
        let state = states[zone]
        switch action {
        case .open where state != .full: return open(zone, .explicitlyOpen)
        case .close where isOpen(zone) || state == .closed: become(zone, .closed)
        case .finish: become(zone, .full)
        case .reset:
            become(zone, .empty)
            written[zone] = []
        default: return .invalidZoneStateTransition
        }
        return .success
    }
}

@Suite("Zones beside a model")
struct ZonePropertyTests {
    @Test(arguments: (0..<24).map { _ in UInt64.random(in: 1 ... .max) })
    func `do what the model does`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let openLimit = Int(random.next() % 3) + 1, activeLimit = openLimit + Int(random.next() % 3)
        var options = zonedOptions(count: 6, openLimit: openLimit, activeLimit: activeLimit)
        options.seed = seed
        try simulateSoft(seed: seed, options: options) { [random] local, soft in
            var random = random, model = ZoneListModel(count: 6, openLimit: openLimit, activeLimit: activeLimit)
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), namespace = await controller.namespaces[0]
            for step in 0..<300 {
                let zone = Int(random.next() % 6), start = UInt64(64 * zone), byte = UInt8(truncatingIfNeeded: step) | 1
                let count = Int(random.next() % 16) + 1
                var buffer = await local.buffer(byteCount: count * 512)
                buffer.fill(with: byte)
                let kind = random.next() % 10, expected: NVMeStatus
                var status = NVMeStatus.success, place: UInt64?
                do {
                    switch kind {
                    case 0...2:
                        let offset = random.next() % 8 == 0 ? Int(random.next() % 48) : model.written[zone].count
                        expected = model.write(zone, at: offset, count: count, byte)
                        try await pair.write(namespace, at: start + UInt64(offset), from: buffer)
                    case 3...5:
                        place = start + UInt64(model.written[zone].count)
                        expected = model.write(zone, at: model.written[zone].count, count: count, byte)
                        let found = try await pair.append(namespace, zone: start, from: buffer)
                        #expect(found == place, "seed \(seed), step \(step)")
                    default:
                        let action = NVMeZoneAction(rawValue: UInt8(random.next() % 4) + 1)!
                        expected = model.manage(zone, action)
                        try await pair.manage(namespace, zone: start, action)
                    }
                } catch let error as NVMeError {
                    status = NVMeStatus(type: error.status?.type ?? 7, code: error.status?.code ?? 0)
                }
                #expect(status == expected, "seed \(seed), step \(step), kind \(kind), zone \(zone)")
                if status != expected { break }
                try await compare(model, pair, namespace, zone, on: local, "seed \(seed), step \(step)")
            }
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    private nonisolated(nonsending) func compare(
        _ model: ZoneListModel, _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, _ zone: Int, on local: LocalReactor,
        _ place: String
    ) async throws {
        let found = try await pair.zones(namespace, count: .max)
        #expect(found.map(\.state) == model.states, "\(place)")
        for each in found where each.hasWritePointer {
            #expect(each.writePointer - each.start == UInt64(model.written[Int(each.start / 64)].count), "\(place)")
        }
        var buffer = await local.buffer(byteCount: 48 * 512)
        try await pair.read(namespace, at: UInt64(64 * zone), into: &buffer)
        let bytes = (0..<48).map { buffer.load(UInt8.self, at: $0 * 512 + 511) }
        let written = model.written[zone]
        #expect(bytes == written + Array(repeating: 0, count: 48 - written.count), "\(place)")
    }
}
