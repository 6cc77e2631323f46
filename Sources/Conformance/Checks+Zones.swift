import Bdev
import Reactors

extension Check {
    /// For bdevs with zones. They leave all zones empty, and expect no more of open zones than that one may be.
    static let zones = [
        Check(name: "a report covers every zone once, and its parts agree with it", isForZones: true) { scene in
            try await scene.onChannel { channel in try await scene.checkReports(channel) }
        },
        Check(name: "a zone is written from its start to its capacity, and is full then", isForZones: true) { scene in
            try await scene.onChannel { channel in
                let zone = try await scene.emptyZone(channel)
                try await scene.fillZone(channel, zone)
                try await scene.expectZone(channel, zone, .full, written: zone.capacity, "a zone that was written")
                try await scene.expect(.noSpace, from: "a write to a full zone") {
                    try await scene.write(channel, at: zone.start, 1, version: 9)
                }
                try await scene.verify(channel, at: zone.start, 1, version: 100, "the start of a full zone")
            }
        },
        Check(name: "what is not at the write pointer, or beyond the capacity, is refused", isForZones: true) { scene in
            try await scene.onChannel { channel in try await scene.checkPlaces(channel) }
        },
        Check(name: "zones go from state to state as they may, and not otherwise", isForZones: true) { scene in
            try await scene.onChannel { channel in try await scene.checkStates(channel) }
        },
        Check(name: "appends from every reactor have places of their own, one behind the other", isForZones: true) {
            scene in
            if scene.descriptor.supports(.zoneAppend) { try await scene.checkAppends() }
        },
        Check(name: "resetting all zones empties those that were written", isForZones: true) { scene in
            try await scene.onChannel { channel in
                let first = try await scene.emptyZone(channel), last = try await scene.emptyZone(channel, isLast: true)
                try await scene.write(channel, at: first.start, 2, version: 120)
                if last.start != first.start {
                    try await channel.manageZone(at: first.start, .finish)
                    try await scene.write(channel, at: last.start, 1, version: 121)
                }
                try await channel.manageZone(at: nil, .reset)
                for zone in try await channel.zones() where zone.state != .readOnly && zone.state != .offline {
                    try await scene.expectZone(channel, zone, .empty, written: 0, "a zone after a reset of all")
                }
            }
        },
        Check(name: "as many zones are open as may be, and no more", isForZones: true) { scene in
            try await scene.onChannel { channel in try await scene.checkOpenLimit(channel) }
        },
        Check(name: "a read-only descriptor sees zones and changes none", isForZones: true) { scene in
            try await scene.onChannel { channel in try await channel.manageZone(at: nil, .reset) }
            let reader = try await scene.suite.engine.open(scene.suite.bdev, mode: .readOnly)
            do {
                try await reader.withChannel(on: scene.reactor) { channel in
                    let zone = try await channel.zones()[0]
                    try await scene.expect(.readOnly, from: "a write") {
                        try await scene.write(channel, at: zone.start, 1, version: 1)
                    }
                    try await scene.expect(.readOnly, from: "a reset of a zone") {
                        try await channel.manageZone(at: zone.start, .reset)
                    }
                    try await scene.expectZone(channel, zone, .empty, written: 0, "a zone that was not written")
                }
                await reader.close()
            } catch {
                await reader.close()
                throw error
            }
        },
    ]
}

extension Scene {
    private var zoneGeometry: ZoneGeometry {
        guard let zones = descriptor.geometry.zones else {
            preconditionFailure("a check for zones has a bdev with them")
        }
        return zones
    }

    /// The first or last zone, emptied like all others.
    fileprivate nonisolated(nonsending) func emptyZone(
        _ channel: BdevChannel, isLast: Bool = false
    ) async throws -> ZoneInfo {
        try await channel.manageZone(at: nil, .reset)
        let zones = try await channel.zones()
        guard let zone = isLast ? zones.last : zones.first else { throw failure("the report has no zones") }
        try await expectZone(channel, zone, .empty, written: 0, "a zone after a reset")
        return zone
    }

    fileprivate nonisolated(nonsending) func expectZone(
        _ channel: BdevChannel, _ zone: ZoneInfo, _ state: ZoneState, written: UInt64, _ what: String
    ) async throws {
        guard let now = try await channel.zones(from: zone.start, count: 1).first else {
            throw failure("\(what): there is no report of it")
        }
        if now.state != state { throw failure("\(what) is \(now.state) instead of \(state)") }
        if now.writePointer != zone.start + written {
            throw failure("\(what) has its write pointer at \(now.writePointer), not at \(zone.start + written)")
        }
    }

    /// `body` must fail on the device with this status.
    fileprivate nonisolated(nonsending) func expect(
        _ status: IOStatus, _ what: String, _ body: nonisolated(nonsending) () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch {
            if let error = error as? BdevError, error.status == status { return }
            throw failure("\(what) ended with '\(error)' instead of status \(status)")
        }
        throw failure("\(what) succeeded, and should have failed")
    }

    // MARK: Checks

    fileprivate nonisolated(nonsending) func checkReports(_ channel: BdevChannel) async throws {
        let size = zoneGeometry.blockCount, all = try await channel.zones()
        if UInt64(all.count) * size != blockCount { throw failure("\(all.count) zones do not make up the bdev") }
        for (index, zone) in all.enumerated() {
            if zone.start != UInt64(index) * size { throw failure("zone \(index) begins at block \(zone.start)") }
            if zone.capacity == 0 || zone.capacity > size {
                throw failure("zone \(index) has a capacity of \(zone.capacity) blocks")
            }
            if zone.writePointer < zone.start || zone.writePointer > zone.start + zone.capacity {
                throw failure("zone \(index) has its write pointer at block \(zone.writePointer)")
            }
        }
        let middle = all.count / 2
        let part = try await channel.zones(from: UInt64(middle) * size + size / 2, count: 1)
        if part != [all[middle]] { throw failure("a report of the middle zone differs from that of all") }
        let rest = try await channel.zones(from: UInt64(middle) * size)
        if rest != Array(all[middle...]) { throw failure("a report from the middle on differs from that of all") }
        try await expect(.outOfRange, from: "a report behind the end") {
            _ = try await channel.zones(from: blockCount, count: 1)
        }
    }

    fileprivate nonisolated(nonsending) func fillZone(_ channel: BdevChannel, _ zone: ZoneInfo) async throws {
        var written: UInt64 = 0, version: UInt64 = 100
        while written < zone.capacity {
            let count = Int(min(UInt64(blocks(64 << 10)), zone.capacity - written))
            try await write(channel, at: zone.start + written, count, version: version)
            try await verify(channel, at: zone.start + written, count, version: version, "what was just written")
            written += UInt64(count)
            version = 101
            if written < zone.capacity {
                try await expectZone(channel, zone, .implicitlyOpen, written: written, "a zone that is being written")
            }
        }
    }

    fileprivate nonisolated(nonsending) func checkPlaces(_ channel: BdevChannel) async throws {
        let zone = try await emptyZone(channel)
        try await expect(.zoneInvalidWrite, "a write behind the write pointer") {
            try await write(channel, at: zone.start + 1, 1, version: 1)
        }
        try await write(channel, at: zone.start, 1, version: 110)
        try await expect(.zoneInvalidWrite, "a write before the write pointer") {
            try await write(channel, at: zone.start, 1, version: 2)
        }
        try await expectZone(channel, zone, .implicitlyOpen, written: 1, "a zone with a block in it")
        try await verify(channel, at: zone.start, 1, version: 110, "a block that was to be written again")
        if zone.capacity < 1 << 20 / UInt64(blockByteCount) {
            try await expect(.zoneBoundaryError, "a write beyond the capacity") {
                try await write(channel, at: zone.start + 1, Int(zone.capacity), version: 3)
            }
            try await expectZone(channel, zone, .implicitlyOpen, written: 1, "a zone that was not written")
        }
        try await expect(.invalidArgument, from: "a reset in the middle of a zone") {
            try await channel.manageZone(at: zone.start + 1, .reset)
        }
        try await expect(.outOfRange, from: "a write behind the end") {
            try await write(channel, at: blockCount, 1, version: 4)
        }
    }

    fileprivate nonisolated(nonsending) func checkStates(_ channel: BdevChannel) async throws {
        let zone = try await emptyZone(channel)
        func refuse(_ action: ZoneAction, _ what: String) async throws {
            try await expect(.invalidZoneTransition, "\(action) of \(what)") {
                try await channel.manageZone(at: zone.start, action)
            }
        }
        func go(_ action: ZoneAction, _ state: ZoneState, written: UInt64) async throws {
            try await channel.manageZone(at: zone.start, action)
            try await expectZone(channel, zone, state, written: written, "a zone after \(action)")
        }
        try await refuse(.close, "an empty zone")
        try await refuse(.offline, "an empty zone")
        try await go(.open, .explicitlyOpen, written: 0)
        try await go(.open, .explicitlyOpen, written: 0)
        try await go(.close, .closed, written: 0)
        try await go(.close, .closed, written: 0)
        try await write(channel, at: zone.start, 1, version: 111)
        try await expectZone(channel, zone, .implicitlyOpen, written: 1, "a closed zone that was written")
        try await go(.open, .explicitlyOpen, written: 1)
        try await write(channel, at: zone.start + 1, 1, version: 111)
        try await expectZone(channel, zone, .explicitlyOpen, written: 2, "an open zone that was written")
        try await refuse(.offline, "an open zone")
        try await go(.finish, .full, written: zone.capacity)
        try await go(.finish, .full, written: zone.capacity)
        try await verify(channel, at: zone.start, 2, version: 111, "a finished zone")
        try await refuse(.open, "a full zone")
        try await refuse(.close, "a full zone")
        try await go(.reset, .empty, written: 0)
        try await go(.reset, .empty, written: 0)
        try await go(.finish, .full, written: zone.capacity)
        try await go(.reset, .empty, written: 0)
    }

    fileprivate nonisolated(nonsending) func checkOpenLimit(_ channel: BdevChannel) async throws {
        try await channel.manageZone(at: nil, .reset)
        let zones = try await channel.zones(), limit = zoneGeometry.openLimit
        if limit == 0 || limit >= zones.count { return }
        for zone in zones.prefix(limit) { try await channel.manageZone(at: zone.start, .open) }
        let next = zones[limit]
        let tooMany: IOStatus =
            zoneGeometry.activeLimit == limit ? .tooManyActiveZones : .tooManyOpenZones
        try await expect(tooMany, "opening one zone too many") { try await channel.manageZone(at: next.start, .open) }
        try await expect(tooMany, "writing to one zone too many") {
            try await write(channel, at: next.start, 1, version: 5)
        }
        try await expectZone(channel, next, .empty, written: 0, "a zone that was one too many")
        try await channel.manageZone(at: zones[0].start, .finish)
        try await write(channel, at: next.start, 1, version: 6)
        try await channel.manageZone(at: nil, .reset)
    }

    // MARK: Appends

    fileprivate func checkAppends() async throws {
        let limit = zoneGeometry.appendBlockCountLimit
        let length = limit == 1 ? 1 : 2
        let reactors = Array(suite.reactors.prefix(2)), workers = suite.options.workerCount
        let zone = try await descriptor.withChannel(on: reactor) { channel in try await emptyZone(channel) }
        let rounds = min(8, zone.capacity / UInt64(length * workers * reactors.count))
        if rounds == 0 { return }
        let places = try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for reactor in reactors {
                group.addTask {
                    try await descriptor.withChannel(on: reactor) { channel in
                        try await runAppends(channel, zone, count: Int(rounds), length: length)
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }.sorted()
        }
        for (index, place) in places.enumerated() where place != zone.start + UInt64(index * length) {
            throw failure("append \(index) lies at block \(place)")
        }
        try await onChannel { channel in
            try await expectZone(
                channel, zone, places.count * length == zone.capacity ? .full : .implicitlyOpen,
                written: UInt64(places.count * length), "a zone with \(places.count) appends in it")
        }
    }

    private func runAppends(
        _ channel: isolated BdevChannel, _ zone: ZoneInfo, count: Int, length: Int
    ) async throws -> [UInt64] {
        let tasks = (0..<suite.options.workerCount).map { worker in
            Task {
                var places: [UInt64] = []
                for round in 0..<count {
                    // Where it goes is not known before: every append has a content of its own.
                    let content = UInt64(round * 1000 + worker)
                    var buffer = await channel.buffer(byteCount: length * blockByteCount)
                    pattern.fill(&buffer, from: content, version: 130)
                    let place = try await channel.append(buffer, toZone: zone.start)
                    places.append(place)
                    var found = await channel.buffer(byteCount: length * blockByteCount)
                    try await channel.read(at: .block(place), into: &found)
                    if keepsData && !found.contentEquals(buffer) {
                        throw failure("what was appended at block \(place) is not there")
                    }
                }
                return places
            }
        }
        var places: [UInt64] = []
        for task in tasks { places += try await task.value }
        return places
    }
}
