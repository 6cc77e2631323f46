import Bdev
import BdevConformance
import MallocBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import Testing
import ZoneBlockBdev

/// A stack with a bdev "zoned" on its base: zones of 64 blocks, of which 48 can be written.
func simulateZones(
    seed: UInt64 = 1, reactorCount: Int = 1, blockCount: UInt64 = 1024, openLimit: Int = 0, activeLimit: Int = 0,
    _ body: @escaping @Sendable (Stack, ZoneBlockModule, BdevDescriptor) async throws -> Void
) throws {
    try simulateStack(seed: seed, reactorCount: reactorCount, blockCount: blockCount) { here, stack in
        let module = ZoneBlockModule()
        try await stack.engine.register(module)
        var options = ZoneBlockModule.Options(name: "zoned", base: "base", zoneCapacity: 48)
        options.openLimit = openLimit
        options.activeLimit = activeLimit
        try await module.create(options)
        let descriptor = try await stack.engine.open("zoned", mode: .readWrite)
        try await body(stack, module, descriptor)
        await descriptor.close()
    }
}

extension BdevChannel {
    /// Writes `count` blocks full of `value`.
    nonisolated(nonsending) func write(
        _ value: UInt64, at block: UInt64, count: Int = 1
    ) async throws(BdevError) {
        var buffer = await buffer(byteCount: count * 512)
        buffer.fill(words: value)
        try await write(from: buffer, at: .block(block))
    }

    nonisolated(nonsending) func append(
        _ value: UInt64, toZone zone: UInt64, count: Int = 1
    ) async throws(BdevError) -> UInt64 {
        var buffer = await buffer(byteCount: count * 512)
        buffer.fill(words: value)
        return try await append(buffer, toZone: zone)
    }

    /// What block `block` is full of; nil when it is not all the same.
    nonisolated(nonsending) func value(at block: UInt64) async throws(BdevError) -> UInt64? {
        var buffer = await buffer(byteCount: 512)
        try await read(at: .block(block), into: &buffer)
        return buffer.value
    }

    nonisolated(nonsending) func zone(_ start: UInt64) async throws(BdevError) -> ZoneInfo {
        try await zones(from: start, count: 1)[0]
    }
}

@Suite("Zones on a bdev without")
struct ZoneBlockTests {
    // MARK: Making them

    @Test(arguments: [0, 1, 2])
    func `it passes the conformance suite, over a RAM disk, over passthru and below it`(layers: Int) async throws {
        try await Bench.run { bench in
            let zoned = ZoneBlockModule(), passthru = bench.passthru
            try await bench.engine.register(zoned)
            try await bench.malloc.create(.init(name: "disk", blockCount: 20_000))
            if layers > 0 { try await passthru.create("below", on: "disk") }
            var options = ZoneBlockModule.Options(
                name: "zoned", base: layers > 0 ? "below" : "disk", zoneCapacity: 1000)
            if layers == 2 { (options.openLimit, options.activeLimit) = (3, 5) }
            try await zoned.create(options)
            if layers > 0 { try await passthru.create("above", on: "zoned") }
            var suite = ConformanceSuite.Options()
            suite.seed = UInt64.random(in: 1 ... .max)
            try await ConformanceSuite(
                engine: bench.engine, bdev: layers > 0 ? "above" : "zoned", options: suite
            ).run()
        }
    }

    @Test func `impossible zones are refused, and the base is free afterwards`() async throws {
        try await Bench.run { bench in
            let zoned = ZoneBlockModule()
            try await bench.engine.register(zoned)
            try await bench.malloc.create(.init(name: "disk", blockCount: 1000))
            func refuse(_ code: BdevError.Code, _ change: (inout ZoneBlockModule.Options) -> Void) async {
                var options = ZoneBlockModule.Options(name: "zoned", base: "disk", zoneCapacity: 100)
                change(&options)
                await expect(code) { [options] in try await zoned.create(options) }
            }
            await refuse(.invalidArgument) { $0.zoneCapacity = 0 }
            await refuse(.invalidArgument) { $0.zoneCapacity = .max }
            await refuse(.invalidArgument) { $0.optimalOpenCount = 0 }
            await refuse(.invalidArgument) { $0.openLimit = -1 }
            await refuse(.invalidArgument) { ($0.openLimit, $0.activeLimit) = (5, 4) }
            await refuse(.invalidGeometry) { $0.zoneCapacity = 513 }
            await refuse(.noSuchBdev) { $0.base = "nobody" }
            await refuse(.nameInUse) { $0.name = "disk" }
            try await zoned.create(.init(name: "zoned", base: "disk", zoneCapacity: 100))
            await refuse(.claimed) { $0.name = "second" }
            await refuse(.invalidArgument) { ($0.name, $0.base) = ("second", "zoned") }
            try await zoned.delete("zoned")
            try await zoned.create(.init(name: "zoned", base: "disk", zoneCapacity: 100))
        }
    }

    @Test func `zones begin at powers of two, are full at first, and what lies on the base can be read`() async throws {
        try await Bench.run { bench in
            let zoned = ZoneBlockModule()
            try await bench.engine.register(zoned)
            try await bench.malloc.create(.init(name: "disk", blockCount: 1000))
            try await bench.withChannel("disk") { try await $0.write(7, at: 130) }
            var options = ZoneBlockModule.Options(name: "zoned", base: "disk", zoneCapacity: 100, optimalOpenCount: 3)
            (options.openLimit, options.activeLimit) = (4, 6)
            try await zoned.create(options)
            let info = try await bench.engine.info("zoned")
            #expect(info.geometry.blockCount == 896)
            #expect(info.geometry.zones?.blockCount == 128)
            #expect(info.geometry.zones?.optimalOpenCount == 3)
            #expect(info.geometry.zones?.openLimit == 4)
            #expect(info.geometry.zones?.activeLimit == 6)
            #expect(
                info.supportedTypes == [
                    .read, .write, .writeZeroes, .flush, .reset, .compare, .zoneInfo, .zoneManagement, .zoneAppend,
                ])
            try await bench.withChannel("zoned") { channel in
                let zones = try await channel.zones()
                #expect(zones.count == 7)
                #expect(
                    zones[1]
                        == ZoneInfo(
                            start: 128, writePointer: 228, capacity: 100, state: .full, kind: .sequentialWriteRequired))
                #expect(try await channel.value(at: 130) == 7)
                try await channel.manageZone(at: 128, .reset)
                #expect(try await channel.value(at: 130) == 0)
                // Across zones, and where nothing can be written.
                var buffer = try channel.allocateBuffer(byteCount: 896 * 512)
                try await channel.read(at: .block(0), into: &buffer)
            }
        }
    }

    // MARK: Writing

    @Test func `zeroes are written as data is`() throws {
        try simulateZones { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                try await channel.manageZone(at: 0, .reset)
                try await channel.write(1, at: 0, count: 4)
                try await channel.writeZeroes(at: .block(4), count: .blocks(40))
                let info = try await channel.zone(0)
                #expect(info.writePointer == 44)
                let failure = await status { () throws(BdevError) in
                    try await channel.writeZeroes(at: .block(0), count: .blocks(4))
                }
                #expect(failure == .zoneInvalidWrite)
                #expect(try await channel.value(at: 3) == 1)
            }
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `appends of three reactors lie one behind the other, and each has what it wrote`(seed: UInt64) throws {
        try simulateZones(seed: seed, reactorCount: 3) { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { try await $0.manageZone(at: 64, .reset) }
            let tasks = stack.reactors.enumerated().map { number, reactor in
                Task(executorPreference: reactor.taskExecutor) {
                    try await descriptor.withChannel(on: reactor) { channel in
                        try await Self.append(channel, UInt64(number))
                    }
                }
            }
            var places: [UInt64: UInt64] = [:]
            for task in tasks { places.merge(try await task.value) { _, _ in fatalError("a place given twice") } }
            #expect(places.keys.sorted() == Array(stride(from: 64, to: 112, by: 2)), "seed \(seed)")
            let written = places
            try await descriptor.withChannel(on: stack.reactors[1]) { channel in
                for (place, value) in written {
                    let (first, second) = (
                        try await channel.value(at: place), try await channel.value(at: place + 1)
                    )
                    #expect(first == value && second == value, "seed \(seed), block \(place)")
                }
                let info = try await channel.zone(64)
                #expect(info.state == .full && info.writePointer == 112)
                let failure = await status { () throws(BdevError) in _ = try await channel.append(1, toZone: 64) }
                #expect(failure == .zoneIsFull)
            }
        }
    }

    /// Eight appends of two blocks, four at a time. Value by place.
    private static func append(_ channel: isolated BdevChannel, _ number: UInt64) async throws -> [UInt64: UInt64] {
        let tasks = (0..<4).map { worker in
            Task {
                var places: [(UInt64, UInt64)] = []
                for round in 0..<2 {
                    let value = number * 100 + UInt64(worker * 10 + round)
                    places.append((try await channel.append(value, toZone: 64, count: 2), value))
                }
                return places
            }
        }
        var result: [UInt64: UInt64] = [:]
        for task in tasks { for (place, value) in try await task.value { result[place] = value } }
        return result
    }

    @Test func `every refusal has its status, and changes nothing`() throws {
        try simulateZones { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                func refusal(_ value: UInt64, at block: UInt64, count: Int = 1) async -> IOStatus {
                    await status { () throws(BdevError) in try await channel.write(value, at: block, count: count) }
                }
                #expect(await refusal(9, at: 0) == .zoneIsFull)
                try await channel.manageZone(at: 0, .reset)
                #expect(await refusal(9, at: 1) == .zoneInvalidWrite)
                #expect(await refusal(9, at: 0, count: 49) == .zoneBoundaryError)
                #expect(await refusal(9, at: 0, count: 65) == .zoneBoundaryError)
                #expect(await refusal(9, at: 50) == .zoneInvalidWrite)
                #expect(try await channel.zone(0).state == .empty)
                try await channel.write(1, at: 0, count: 40)
                let long = await status { () throws(BdevError) in
                    _ = try await channel.append(9, toZone: 0, count: 9)
                }
                #expect(long == .zoneBoundaryError)
                #expect(await refusal(9, at: 0) == .zoneInvalidWrite)
                #expect(try await channel.zone(0).writePointer == 40)
                #expect(stack.device.writeCount == 1)
                let full = await code { () throws(BdevError) in try await channel.write(9, at: 64) }
                #expect(full == .noSpace)
            }
        }
    }

    // MARK: States

    @Test func `a zone that was opened by a write is closed for another, one that was opened by hand is not`() throws {
        try simulateZones(openLimit: 2, activeLimit: 3) { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                func states() async throws(BdevError) -> [ZoneState] {
                    try await channel.zones(count: 4).map { $0.state }
                }
                try await channel.manageZone(at: nil, .reset)
                for zone in 0..<3 { try await channel.write(1, at: UInt64(zone * 64)) }
                #expect(try await states() == [.closed, .implicitlyOpen, .implicitlyOpen, .empty])
                let active = await status { () throws(BdevError) in try await channel.write(1, at: 192) }
                #expect(active == .tooManyActiveZones)
                try await channel.manageZone(at: 64, .open)
                try await channel.manageZone(at: 0, .open)
                #expect(try await states() == [.explicitlyOpen, .explicitlyOpen, .closed, .empty])
                let open = await status { () throws(BdevError) in try await channel.write(1, at: 129) }
                #expect(open == .tooManyOpenZones)
                try await channel.manageZone(at: 64, .finish)
                try await channel.write(1, at: 129)
                try await channel.manageZone(at: nil, .close)
                #expect(try await states() == [.closed, .full, .closed, .empty])
                // Two of them fit, and three are active with the one that is written next.
                try await channel.manageZone(at: nil, .open)
                #expect(try await states() == [.explicitlyOpen, .full, .explicitlyOpen, .empty])
                try await channel.manageZone(at: nil, .finish)
                #expect(try await states() == [.full, .full, .full, .empty])
                try await channel.manageZone(at: nil, .offline)
                for zone in 4..<7 {
                    #expect(try await channel.append(1, toZone: UInt64(zone * 64)) == UInt64(zone * 64))
                }
            }
        }
    }

    @Test func `of a bdev with one zone, all zones are another thing than the one`() throws {
        try simulateZones(blockCount: 70) { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                let one = await status { () throws(BdevError) in try await channel.manageZone(at: 0, .close) }
                #expect(one == .invalidZoneTransition)
                try await channel.manageZone(at: nil, .close)
                try await channel.manageZone(at: nil, .offline)
                #expect(try await channel.zones().count == 1)
            }
        }
    }

    @Test func `a reset unmaps what can be written, once, and nothing when the zone is empty`() throws {
        try simulateZones { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                try await channel.manageZone(at: 64, .reset)
                try await channel.manageZone(at: 64, .reset)
                #expect(stack.device.unmaps == [64..<112])
                try await channel.manageZone(at: nil, .reset)
                #expect(stack.device.unmaps == [64..<112, 0..<1024])
            }
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a reset waits for writes that are under way, and later writes wait for it`(seed: UInt64) throws {
        try simulateZones(seed: seed, reactorCount: 2) { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                try await channel.manageZone(at: 0, .reset)
                let writes = (0..<4).map { place in Task { try? await channel.write(1, at: place) } }
                await Task.yield()
                let reset = Task(executorPreference: stack.reactors[1].taskExecutor) {
                    try await descriptor.withChannel(on: stack.reactors[1]) { try await $0.manageZone(at: 0, .reset) }
                }
                // Some of them are before the reset and some behind: whatever is there now was appended afterwards.
                for write in writes { await write.value }
                try await reset.value
                let info = try await channel.zone(0)
                if info.writePointer > 0 { try await channel.manageZone(at: 0, .reset) }
                let place = try await channel.append(2, toZone: 0)
                #expect(place == 0, "seed \(seed)")
                try await stack.pause()
                let value = try await channel.value(at: 0), next = try await channel.value(at: 1)
                #expect(value == 2 && next == 0, "seed \(seed)")
            }
        }
    }

    @Test func `while all zones are reset, nobody writes to an empty one either`() throws {
        try simulateZones { stack, _, descriptor in
            stack.device.delays = [.write: .microseconds(100), .unmap: .microseconds(10)]
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                try await channel.manageZone(at: 0, .reset)
                let reset = Task { try await channel.manageZone(at: nil, .reset) }
                // It is under way.
                try await stack.reactors[0].local.sleep(for: .microseconds(1))
                let first = Task { try await channel.append(1, toZone: 0) }
                try await reset.value
                let second = try await channel.append(2, toZone: 0), place = try await first.value
                #expect(Set([place, second]) == [0, 1])
                #expect(try await channel.value(at: place) == 1)
                #expect(try await channel.value(at: second) == 2)
            }
        }
    }

    @Test func `a reset that fails leaves the zone as it was`() throws {
        try simulateZones { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                stack.device.answer = { type, _, _ in type == .unmap ? .mediumFailed : .success }
                let one = await status { () throws(BdevError) in try await channel.manageZone(at: 0, .reset) }
                let all = await status { () throws(BdevError) in try await channel.manageZone(at: nil, .reset) }
                #expect(one == .mediumFailed && all == .mediumFailed)
                #expect(try await channel.zones().allSatisfy { $0.state == .full })
                stack.device.answer = { _, _, _ in .success }
                try await channel.manageZone(at: 0, .reset)
                #expect(try await channel.zone(0).state == .empty)
            }
        }
    }

    // MARK: The base

    @Test func `a write that fails can be tried again, unless others have gone on behind it`() throws {
        try simulateZones { stack, _, descriptor in
            try await descriptor.withChannel(on: stack.reactors[0]) { channel in
                try await channel.manageZone(at: 0, .reset)
                stack.device.answer = { type, start, _ in type == .write && start < 4 ? .mediumFailed : .success }
                let first = await status { () throws(BdevError) in try await channel.write(1, at: 0, count: 4) }
                #expect(first == .mediumFailed)
                #expect(try await channel.zone(0).writePointer == 0)
                stack.device.delays = [.write: .microseconds(100)]
                let failing = Task { try? await channel.append(1, toZone: 0, count: 4) }
                try await stack.reactors[0].local.sleep(for: .microseconds(1))
                let following = Task { try await channel.append(2, toZone: 0, count: 4) }
                let (none, place) = (await failing.value, try await following.value)
                #expect(none == nil)
                #expect(try await channel.zone(0).writePointer == place + 4)
                stack.device.answer = { _, _, _ in .success }
                try await channel.write(3, at: place + 4)
                // Nothing is counted as under way any more: a reset need not wait.
                try await channel.manageZone(at: 0, .reset)
                #expect(try await channel.zone(0).state == .empty)
            }
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `it survives its base being reset, resized, failing and removed under load`(seed: UInt64) throws {
        try simulateZones(seed: seed, reactorCount: 2) { stack, _, descriptor in
            let finished = Count()
            let loads = stack.reactors.map { reactor in
                Task(executorPreference: reactor.taskExecutor) {
                    try? await descriptor.withChannel(on: reactor) { channel in
                        try await Self.load(channel, seed: seed)
                    }
                    finished.value += 1
                }
            }
            try await stack.pause()
            try await descriptor.withChannel(on: stack.reactors[0]) { try await $0.reset() }
            try await stack.pause()
            try await stack.slow.host.value.resize("base", blockCount: 1040)
            #expect(descriptor.blockCount == 1024)
            try await stack.pause()
            stack.device.answer = { type, block, _ in type != .reset && block % 3 == 0 ? .mediumFailed : .success }
            try await stack.pause()
            stack.device.answer = { _, _, _ in .success }
            try await stack.pause()
            #expect(finished.value == 0, "seed \(seed): the load ended early")
            let removal = Task(executorPreference: stack.reactors[0].taskExecutor) {
                try await stack.engine.remove("base")
            }
            for load in loads { await load.value }
            await descriptor.close()
            try await removal.value
            #expect(await stack.engine.list().isEmpty)
        }
    }

    /// Appends, reads and resets until the bdev is gone.
    private static func load(_ channel: isolated BdevChannel, seed: UInt64) async throws {
        let tasks = (0..<4).map { worker in
            Task {
                var random = SeededRandom(seed: seed * 10 + UInt64(worker))
                while true {
                    let zone = UInt64.random(in: 0..<16, using: &random) * 64
                    do throws(BdevError) {
                        switch Int.random(in: 0..<4, using: &random) {
                        case 0: try await channel.manageZone(at: zone, .reset)
                        case 1: _ = try await channel.value(at: zone)
                        default: _ = try await channel.append(1, toZone: zone, count: 4)
                        }
                    } catch {
                        if error.code == .removed || error.code == .closed { throw error }
                        // What is refused at once takes no time.
                        try await channel.reactor.local.sleep(for: .microseconds(10))
                    }
                }
            }
        }
        for task in tasks { _ = await task.result }
    }
}

/// What kind of error `body` throws; nil when it throws none.
private func code(_ body: () async throws(BdevError) -> Void) async -> BdevError.Code? {
    do throws(BdevError) {
        try await body()
        return nil
    } catch {
        return error.code
    }
}

/// Sendable unchecked: one thread uses it at a time.
private final class Count: @unchecked Sendable {
    var value = 0
}
