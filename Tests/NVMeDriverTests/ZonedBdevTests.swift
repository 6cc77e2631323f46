import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import SplitBdev
import Synchronization
import Testing

@Suite("A bdev of a zoned namespace")
struct ZonedBdevTests {
    private static func change(
        _ zones: SoftZoneOptions, protectionType: UInt8 = 0, count: UInt64 = 70
    ) -> SoftChange {
        { options, index in
            options.transferPageShift = 4
            options.appendPageShift = 2
            if index > 0 { return }
            options.namespaces[0].blockCount = count * zones.blockCount
            options.namespaces[0].zones = zones
            if protectionType > 0 {
                options.namespaces[0].metadataByteCount = 8
                options.namespaces[0].protectionType = protectionType
            }
        }
    }

    private static func zones(openLimit: Int? = nil, activeLimit: Int? = nil, across: Bool = false) -> SoftZoneOptions {
        var zones = SoftZoneOptions(blockCount: 128, capacity: 100)
        zones.openLimit = openLimit
        zones.activeLimit = activeLimit
        zones.readsAcrossZones = across
        return zones
    }

    @Test(arguments: [zones(), zones(openLimit: 1, activeLimit: 2), zones(openLimit: 3, activeLimit: 3, across: true)])
    func `passes the conformance suite, on two paths from two reactors`(zones: SoftZoneOptions) throws {
        try simulateFleet(reactorCount: 2, change: Self.change(zones)) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(.zero ... .microseconds(50)) }
            let info = try await fleet.engine.info("Nvme0n1"), geometry = try #require(info.geometry.zones)
            #expect(geometry.blockCount == 128 && geometry.appendBlockCountLimit == 32)
            #expect(geometry.openLimit == zones.openLimit ?? 0 && geometry.activeLimit == zones.activeLimit ?? 0)
            var suite = ConformanceSuite.Options()
            suite.seed = fleet.seed
            try await ConformanceSuite(engine: fleet.engine, bdev: "Nvme0n1", options: suite).run()
        }
    }

    @Test(arguments: 1...3)
    func `passes it with protection information that the controller makes and checks`(type: UInt8) throws {
        let change = Self.change(Self.zones(), protectionType: type)
        try simulateFleet(count: 1, change: change) { local, fleet in
            var options = NVMeModule.AttachOptions()
            options.checks = .all
            try await fleet.attachAll(options: options)
            var suite = ConformanceSuite.Options()
            suite.seed = fleet.seed
            try await ConformanceSuite(engine: fleet.engine, bdev: "Nvme0n1", options: suite).run()
        }
    }

    @Test func `reports as many zones as there are, over many commands`() throws {
        // A page tells of 63 zones, the largest transfer of 1,023.
        let zones = SoftZoneOptions(blockCount: 8)
        for shift in [UInt8(1), 5] {
            let change: SoftChange = { options, index in
                Self.change(zones, count: 1500)(&options, index)
                options.transferPageShift = shift
            }
            try simulateFleet(count: 1, change: change) { local, fleet in
                try await fleet.attachAll()
                let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
                try await descriptor.withChannel(on: local.reactor) { channel in
                    try await channel.manageZone(at: 8 * 700, .finish)
                    let all = try await channel.zones()
                    #expect(all.map(\.start) == (0..<1500).map { 8 * $0 })
                    #expect(all.filter { $0.state == .full }.map(\.start) == [8 * 700])
                    #expect(all[700].writePointer == 8 * 701)
                    #expect(try await channel.zones(from: 8 * 699 + 3, count: 2).map(\.start) == [8 * 699, 8 * 700])
                }
                await descriptor.close()
            }
        }
    }

    @Test func `a report that cannot be fails, and the next does not`() throws {
        try simulateFleet(count: 1, change: Self.change(Self.zones())) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), soft = fleet.softs[0]
            try await descriptor.withChannel(on: local.reactor) { channel in
                await soft.tamper(with: [1, 128 + 16, 0, 3])
                await #expect(throws: BdevError.self) { try await channel.zones() }
                let count = try await channel.zones().count
                #expect(count == 70)
            }
            await descriptor.close()
        }
    }

    @Test func `a part of it manages its own zones, and no others`() throws {
        let zones = SoftZoneOptions(blockCount: 2048)
        try simulateFleet(count: 1, change: Self.change(zones, count: 8)) { local, fleet in
            try await fleet.attachAll()
            let split = SplitModule()
            try await fleet.engine.register(split)
            let parts = try await split.create(on: "Nvme0n1", count: 2)
            let whole = try await fleet.engine.open("Nvme0n1"),
                part = try await fleet.engine.open(parts[1], mode: .readWrite)
            try await part.withChannel(on: local.reactor) { channel in
                for zone in [UInt64(0), 2048, 6144] {
                    let buffer = try channel.allocateBuffer(byteCount: 512)
                    let place = try await channel.append(buffer, toZone: zone)
                    #expect(place == zone)
                }
                try await channel.manageZone(at: 2048, .finish)
                try await channel.manageZone(at: nil, .close)
                let states = try await channel.zones().map(\.state)
                #expect(states == [.closed, .full, .empty, .closed])
            }
            try await whole.withChannel(on: local.reactor) { channel in
                let states = try await channel.zones().map(\.state)
                #expect(states == [.empty, .empty, .empty, .empty, .closed, .full, .empty, .closed])
            }
            try await part.withChannel(on: local.reactor) { channel in
                try await channel.manageZone(at: nil, .reset)
                let states = try await channel.zones().map(\.state)
                #expect(states.allSatisfy { $0 == .empty })
            }
            await part.close()
            await whole.close()
        }
    }

    @Test func `what is longer than one command is written in its order, whatever the controller does`() throws {
        try simulateFleet(count: 1, change: Self.change(SoftZoneOptions(blockCount: 512))) { local, fleet in
            try await fleet.attachAll()
            await fleet.softs[0].setLatency(.zero ... .milliseconds(1))
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await descriptor.withChannel(on: local.reactor) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 512 * 512)
                for block in 0..<512 { buffer.store(UInt64(block), at: block * 512) }
                try await channel.write(from: buffer, at: .block(512))
                let zone = try await channel.zones(from: 512, count: 1)
                #expect(zone[0].state == .full)
                var found = try channel.allocateBuffer(byteCount: 512 * 512)
                try await channel.read(at: .block(512), into: &found)
                let isSame = found.copied() == buffer.copied()
                #expect(isSame)
            }
            await descriptor.close()
        }
    }

    @Test func `appends go on over the other path when a controller is lost, and none is done twice`() throws {
        try simulateFleet(change: Self.change(SoftZoneOptions(blockCount: 4096), count: 2)) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(.microseconds(20) ... .microseconds(400)) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let reactor = local.reactor, appends = Appends()
            let task = Task(executorPreference: reactor.taskExecutor) {
                try await descriptor.withChannel(on: reactor) { channel in
                    var buffer = try channel.allocateBuffer(byteCount: 512)
                    for index in UInt64(0)..<300 {
                        if index == 150 { await fleet.softs[0].breakDown() }
                        buffer.store(index &* 0x9E37_79B9, at: 0)
                        do {
                            let place = try await channel.append(buffer, toZone: 0)
                            appends.note(place)
                        } catch { appends.note(nil) }
                    }
                }
            }
            try await fleet.wait("300 appends", on: local) { appends.count == 300 }
            try await task.value
            let (places, failed) = appends.all
            #expect(failed <= 1, "seed \(fleet.seed)")
            #expect(places == places.sorted() && Set(places).count == places.count, "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    private final class Appends: Sendable {
        private let state = Mutex<(places: [UInt64], failed: Int)>(([], 0))
        var all: (places: [UInt64], failed: Int) { state.withLock { $0 } }
        var count: Int { state.withLock { $0.places.count + $0.failed } }
        func note(_ place: UInt64?) {
            state.withLock { if let place { $0.places.append(place) } else { $0.failed += 1 } }
        }
    }
}
