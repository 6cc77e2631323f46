import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

/// A zoned namespace of `count` zones of 64 blocks, of which 48 can be written.
func zonedOptions(
    count: UInt64 = 8, openLimit: Int? = nil, activeLimit: Int? = nil, readsAcrossZones: Bool = false
) -> SoftController.Options {
    var options = SoftController.Options()
    options.namespaces = [SoftNamespaceOptions(blockCount: 64 * count)]
    var zones = SoftZoneOptions(blockCount: 64, capacity: 48)
    zones.openLimit = openLimit
    zones.activeLimit = activeLimit
    zones.readsAcrossZones = readsAcrossZones
    options.namespaces[0].zones = zones
    return options
}

@Suite("Zones")
struct ZoneTests {
    /// A zoned namespace, and a pair of its controller.
    private func withZones(
        _ options: SoftController.Options = zonedOptions(),
        _ body:
            @escaping @Sendable (
                isolated LocalReactor, SoftController, NVMeQueuePair, NVMeNamespace
            ) async throws -> Void
    ) throws {
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            try await body(local, soft, pair, await controller.namespaces[0])
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    /// What `body` ends with, as the controller says it.
    private nonisolated(nonsending) func status(_ body: () async throws -> Void) async throws -> NVMeStatus {
        do {
            try await body()
            return .success
        } catch let error as NVMeError {
            guard let status = error.status else { throw error }
            return NVMeStatus(type: status.type, code: status.code)
        }
    }

    private nonisolated(nonsending) func state(
        _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, _ zone: UInt64
    ) async throws -> NVMeZone.State { try await pair.zones(namespace, from: zone, count: 1)[0].state }

    @Test func `are found, with their limits`() throws {
        var options = zonedOptions(openLimit: 3, activeLimit: 5, readsAcrossZones: true)
        options.namespaces.append(SoftNamespaceOptions(blockCount: 64))
        options.transferPageShift = 5
        options.appendPageShift = 1
        try withZones(options) { local, soft, pair, namespace in
            #expect(namespace.commandSet == 2)
            let zones = try #require(namespace.zones)
            #expect(zones.zoneBlockCount == 64 && zones.openLimit == 3 && zones.activeLimit == 5)
            #expect(zones.readsAcrossZones && zones.appendBlockCountLimit == 16)
            #expect(namespace.transferBlockCountLimit == 256)
            let buffer = await local.buffer(byteCount: 17 * 512)
            await #expect(throws: NVMeError.self) { try await pair.append(namespace, zone: 0, from: buffer) }
        }
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            #expect(await controller.namespaces.map(\.commandSet) == [2, 0])
            #expect(controller.capabilities.hasCommandSets)
            // The list of one command set (CNS 7), and which there are (CNS 1Ch).
            let zoned = try await controller.identify(7, commandSet: 2), plain = try await controller.identify(7)
            #expect(zoned[0..<8] == [1, 0, 0, 0, 0, 0, 0, 0] && plain[0..<8] == [2, 0, 0, 0, 0, 0, 0, 0])
            #expect(try await controller.identify(0x1C)[0] == 5)
            await controller.detach()
        }
    }

    @Test func `are written at their write pointers, and nowhere else`() throws {
        try withZones { local, _, pair, namespace in
            var buffer = await local.buffer(byteCount: 16 * 512), found = await local.buffer(byteCount: 16 * 512)
            buffer.fill(with: 1)
            try await pair.write(namespace, at: 64, from: buffer)
            #expect(try await state(pair, namespace, 64) == .implicitlyOpen)
            #expect(try await status { try await pair.write(namespace, at: 64, from: buffer) } == .zoneInvalidWrite)
            #expect(try await status { try await pair.write(namespace, at: 81, from: buffer) } == .zoneInvalidWrite)
            buffer.fill(with: 2)
            #expect(try await pair.append(namespace, zone: 64, from: buffer) == 80)
            #expect(try await pair.append(namespace, zone: 64, from: buffer) == 96)
            #expect(try await state(pair, namespace, 64) == .full)
            #expect(try await status { _ = try await pair.append(namespace, zone: 64, from: buffer) } == .zoneIsFull)
            #expect(try await status { try await pair.write(namespace, at: 112, from: buffer) } == .zoneIsFull)
            try await pair.read(namespace, at: 96, into: &found)
            #expect(found.copied().allSatisfy { $0 == 2 })
            // Not where a zone begins; no zone at all; longer than what is left.
            #expect(try await status { _ = try await pair.append(namespace, zone: 1, from: buffer) } == .invalidField)
            let long = await local.buffer(byteCount: 49 * 512)
            #expect(
                try await status { _ = try await pair.append(namespace, zone: 0, from: long) } == .zoneBoundaryError)
            #expect(try await state(pair, namespace, 0) == .empty)
            try await pair.writeZeroes(namespace, at: 0, count: 8)
            #expect(try await pair.zones(namespace, count: 1)[0].writePointer == 8)
            // What nobody wrote reads as zeros, and so does what was written before a reset.
            try await pair.read(namespace, at: 8, into: &found)
            #expect(found.copied().allSatisfy { $0 == 0 })
            try await pair.manage(namespace, zone: 64, .reset)
            try await pair.read(namespace, at: 96, into: &found)
            #expect(found.copied().allSatisfy { $0 == 0 })
        }
    }

    @Test func `are written in several commands, one after the other, where a transfer is long`() throws {
        var options = zonedOptions()
        options.transferPageShift = 1
        try withZones(options) { local, soft, pair, namespace in
            // Any order among commands that are under way together would fail all but one of them.
            await soft.setLatency(.zero ... .milliseconds(1))
            var buffer = await local.buffer(byteCount: 48 * 512), found = await local.buffer(byteCount: 48 * 512)
            for block in 0..<48 { buffer.store(UInt64(block), at: block * 512) }
            try await pair.write(namespace, at: 0, from: buffer)
            try await pair.read(namespace, at: 0, into: &found)
            let isSame = found.copied() == buffer.copied()
            #expect(isSame)
            #expect(try await state(pair, namespace, 0) == .full)
        }
    }

    @Test(arguments: [false, true])
    func `a read goes from one zone to the next where the controller lets it`(readsAcrossZones: Bool) throws {
        try withZones(zonedOptions(readsAcrossZones: readsAcrossZones)) { local, _, pair, namespace in
            var buffer = await local.buffer(byteCount: 8 * 512)
            var command = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: namespace.id)
            command.startBlock = 60
            command.cdw12 = 7
            let ended = try await status { _ = try await pair.execute(command, data: &buffer) }
            #expect(ended == (readsAcrossZones ? .success : .zoneBoundaryError))
            // The driver cuts it.
            try await pair.read(namespace, at: 60, into: &buffer)
        }
    }

    @Test func `go from state to state as the specification says`() throws {
        // What each action does to a zone in each state; nil: it is refused.
        let table: [(NVMeZone.State, [NVMeZoneAction: NVMeZone.State])] = [
            (.empty, [.finish: .full, .open: .explicitlyOpen, .reset: .empty]),
            (.implicitlyOpen, [.close: .closed, .finish: .full, .open: .explicitlyOpen, .reset: .empty]),
            (.explicitlyOpen, [.close: .closed, .finish: .full, .open: .explicitlyOpen, .reset: .empty]),
            (.closed, [.close: .closed, .finish: .full, .open: .explicitlyOpen, .reset: .empty]),
            (.full, [.finish: .full, .reset: .empty]),
            (.readOnly, [.offline: .offline]),
            (.offline, [.offline: .offline]),
        ]
        for (state, ends) in table {
            for action in NVMeZoneAction.allCases {
                try withZones { local, soft, pair, namespace in
                    try await bring(soft, pair, namespace, to: state, on: local)
                    let ended = try await status { try await pair.manage(namespace, zone: 0, action) }
                    let now = try await self.state(pair, namespace, 0)
                    #expect(ended == (ends[action] == nil ? .invalidZoneStateTransition : .success))
                    #expect(now == ends[action] ?? state, "\(action) of a zone that was \(state)")
                }
            }
        }
    }

    private nonisolated(nonsending) func bring(
        _ soft: SoftController, _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, to state: NVMeZone.State,
        on local: LocalReactor
    ) async throws {
        let block = await local.buffer(byteCount: 512)
        switch state {
        case .empty: return
        case .implicitlyOpen: try await pair.write(namespace, at: 0, from: block)
        case .explicitlyOpen: try await pair.manage(namespace, zone: 0, .open)
        case .closed:
            try await pair.manage(namespace, zone: 0, .open)
            try await pair.manage(namespace, zone: 0, .close)
        case .full: try await pair.manage(namespace, zone: 0, .finish)
        case .readOnly, .offline: await soft.wearOutZone(0, of: 1, isOffline: state == .offline)
        }
    }

    @Test func `that are worn out are read or not, and never written`() throws {
        try withZones { local, soft, pair, namespace in
            var block = await local.buffer(byteCount: 512)
            block.fill(with: 7)
            try await pair.write(namespace, at: 0, from: block)
            await soft.wearOutZone(0, of: 1)
            #expect(try await status { try await pair.write(namespace, at: 1, from: block) } == .zoneIsReadOnly)
            block.fill(with: 0)
            try await pair.read(namespace, at: 0, into: &block)
            #expect(block.copied().allSatisfy { $0 == 7 })
            await soft.wearOutZone(0, of: 1, isOffline: true)
            #expect(try await status { try await pair.write(namespace, at: 1, from: block) } == .zoneIsOffline)
            #expect(try await status { try await pair.read(namespace, at: 0, into: &block) } == .zoneIsOffline)
        }
    }

    @Test func `are open and active as many as may be, and no more`() throws {
        try withZones(zonedOptions(openLimit: 2, activeLimit: 4)) { local, _, pair, namespace in
            let block = await local.buffer(byteCount: 512)
            for zone in 0..<2 { try await pair.manage(namespace, zone: UInt64(64 * zone), .open) }
            #expect(try await status { try await pair.write(namespace, at: 128, from: block) } == .tooManyOpenZones)
            try await pair.manage(namespace, zone: 0, .close)
            try await pair.write(namespace, at: 128, from: block)
            // The one that a write has opened makes room.
            try await pair.write(namespace, at: 192, from: block)
            let states = try await pair.zones(namespace, count: 5).map(\.state)
            #expect(states == [.closed, .explicitlyOpen, .closed, .implicitlyOpen, .empty])
            #expect(try await status { try await pair.write(namespace, at: 256, from: block) } == .tooManyActiveZones)
            try await pair.manage(namespace, zone: 0, .finish)
            try await pair.write(namespace, at: 256, from: block)
        }
    }

    @Test func `are all managed at once, as far as their states let them`() throws {
        try withZones(zonedOptions(openLimit: 4)) { local, soft, pair, namespace in
            let block = await local.buffer(byteCount: 512)
            try await pair.write(namespace, at: 0, from: block)
            try await pair.manage(namespace, zone: 64, .open)
            try await pair.manage(namespace, zone: 128, .finish)
            await soft.wearOutZone(192, of: 1)
            func states() async throws -> [NVMeZone.State] { try await pair.zones(namespace, count: 5).map(\.state) }
            try await pair.manageAllZones(namespace, .close)
            #expect(try await states() == [.closed, .closed, .full, .readOnly, .empty])
            try await pair.manageAllZones(namespace, .open)
            #expect(try await states() == [.explicitlyOpen, .explicitlyOpen, .full, .readOnly, .empty])
            try await pair.manageAllZones(namespace, .finish)
            #expect(try await states() == [.full, .full, .full, .readOnly, .empty])
            try await pair.manageAllZones(namespace, .offline)
            try await pair.manageAllZones(namespace, .reset)
            #expect(try await states() == [.empty, .empty, .empty, .offline, .empty])
            for zone in [UInt64(0), 64, 256, 320, 384] {
                try await pair.write(namespace, at: zone, from: block)
                try await pair.manage(namespace, zone: zone, .close)
            }
            #expect(try await status { try await pair.manageAllZones(namespace, .open) } == .tooManyOpenZones)
            #expect(try await states() == [.closed, .closed, .empty, .offline, .closed])
        }
    }

    @Test func `are reported in part and in whole, by state and beyond one page`() throws {
        try withZones(zonedOptions(count: 150)) { local, _, pair, namespace in
            try await pair.manage(namespace, zone: 128, .finish)
            let all = try await pair.zones(namespace, count: .max)
            #expect(all.map(\.start) == (0..<150).map { UInt64(64 * $0) })
            #expect(all.allSatisfy { $0.capacity == 48 })
            #expect(try await pair.zones(namespace, from: 130, count: 2).map(\.start) == [128, 192])
            #expect(try await pair.zones(namespace, from: 149 * 64, count: 9).count == 1)
            var buffer = await local.buffer(byteCount: 64 * 4)
            // Of all zones that there are, three have room: how many there are, or how many are told of.
            for (isPartial, count) in [(false, 150), (true, 3)] {
                var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementReceive, namespaceID: 1)
                command.cdw12 = UInt32(buffer.byteCount / 4 - 1)
                command.cdw13 = isPartial ? 1 << 16 : 0
                try await pair.execute(command, data: &buffer)
                let found: UInt64 = buffer.load(at: 0), third: UInt64 = buffer.load(at: 64 * 3 + 16)
                #expect(found == UInt64(count) && third == 128)
            }
            // Those that are full.
            var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementReceive, namespaceID: 1)
            command.cdw12 = UInt32(buffer.byteCount / 4 - 1)
            command.cdw13 = 5 << 8
            try await pair.execute(command, data: &buffer)
            let found: UInt64 = buffer.load(at: 0), first: UInt64 = buffer.load(at: 64 + 16)
            #expect(found == 1 && first == 128)
        }
    }

    /// Place and value of a byte: a kind and states that there are not, starts and capacities that cannot be, a write
    /// pointer outside of the zone, no zones.
    private static let flaws: [[Int]] = [
        [64, 1], [64, 0], [65, 0], [65, 0x50], [64 + 16, 1], [64 + 17, 1], [64 + 23, 0x80], [128 + 16, 0],
        [128 + 16, 128], [64 + 8, 0], [64 + 8, 65], [64 + 15, 1], [64 + 24, 49], [64 + 31, 0xFF], [128 + 24, 0],
        [0, 0],
    ]

    @Test(arguments: flaws)
    func `that cannot be have a report refused`(flaw: [Int]) throws {
        let place = flaw[0], value = UInt8(flaw[1])
        try withZones { local, soft, pair, namespace in
            await soft.tamper(with: [1, UInt8(place & 0xFF), UInt8(place >> 8), value])
            let error = await #expect(throws: NVMeError.self) { _ = try await pair.zones(namespace, count: .max) }
            #expect(error?.code == .protocolViolation)
            let count = try await pair.zones(namespace, count: .max).count
            #expect(count == 8)
        }
    }

    @Test func `that are said to be more than there are make no difference`() throws {
        try withZones { local, soft, pair, namespace in
            await soft.tamper(with: [2, 0, 0, 0xFF, 7, 0, 0xFF])
            let count = try await pair.zones(namespace, count: .max).count
            #expect(count == 8)
        }
    }
}
