import Bdev
import DelayBdev
import ErrorBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import SplitBdev
import Testing

@Suite("Passthru, and what every bdev on a base does")
struct PassthruTests {
    @Test func `bdevs on others say what they stand on`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            try await stage.split.create(on: "disk", count: 2)
            try await stage.passthru.create("top", on: "diskp1")
            try await stage.error.create(on: "diskp0")
            var slow = DelayModule.Options(name: "slow", base: "EE_diskp0")
            (slow.averageRead, slow.p99Read) = (.microseconds(3), .microseconds(4))
            try await stage.delay.create(slow)
            let engine = stage.engine
            #expect(
                try await engine.driverDetails(of: "top") == ["passthru": .fields(["base_bdev_name": .text("diskp1")])])
            #expect(
                try await engine.driverDetails(of: "diskp1")
                    == ["partition": .fields(["base_bdev": .text("disk"), "offset_blocks": .number(512)])])
            #expect(try await engine.driverDetails(of: "EE_diskp0") == ["error_disk": .text("diskp0")])
            let delay = try await engine.driverDetails(of: "slow")
            #expect(
                delay == [
                    "delay": .fields([
                        "base_bdev_name": .text("EE_diskp0"), "avg_read_latency": .number(3),
                        "p99_read_latency": .number(4), "avg_write_latency": .number(0),
                        "p99_write_latency": .number(0),
                    ])
                ])
        }
    }

    @Test func `a bdev is made at once on a base that is there, and reaches its blocks`() throws {
        try stack { _, stage in
            let disk = try await stage.disks.create("disk")
            #expect(try await stage.passthru.create("P", on: "disk"))
            try await stage.withChannel("P") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 1024)
                buffer.fill(seed: 7)
                try await channel.write(from: buffer, at: .block(5))
                #expect(Array(disk.data[5 * 512..<7 * 512]) == buffer.array)
                try await channel.flush()
                try await channel.unmap(at: .block(5), count: .blocks(1))
                try await channel.reset()
            }
            let kinds = disk.arrivals.map(\.type)
            #expect(kinds == [.write, .flush, .unmap, .reset])
        }
    }

    @Test(arguments: ["disk", "alias-disk", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"])
    func `a bdev is made when its base comes, by whichever name`(base: String) throws {
        try stack { _, stage in
            #expect(try await !stage.passthru.create("P", on: base))
            #expect(await stage.names() == [])
            try await stage.disks.create("other")
            #expect(await stage.names() == ["other"])
            try await stage.disks.create("disk", uuid: BdevUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
            #expect(await stage.names() == ["P", "disk", "other"])
            let claims = try await stage.engine.info("disk").claims
            #expect(claims.map(\.description) == ["module 'passthru' (exclusive_write, \"P\")"])
            let refusal = await stage.code { _ = try await stage.engine.open("disk", mode: .readWrite) }
            #expect(refusal == .claimed)
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a bdev goes with its base and comes back with it, as the same one`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { here, stage in
            let uuid = BdevUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
            try await stage.passthru.create("P", on: "disk")
            var seen: Set<BdevUUID> = []
            for _ in 0..<3 {
                try await stage.disks.create("disk", uuid: uuid)
                seen.insert(try await stage.engine.info("P").uuid)
                let user = try await stage.engine.open("P", mode: .readWrite), told = Shared(false)
                let listener = stage.spawn {
                    for await event in user.events where event == .removed {
                        told.value = true
                        await user.close()
                    }
                }
                try await stage.disks.remove("disk")
                #expect(told.value, "seed \(seed)")
                #expect(await stage.names() == [], "seed \(seed)")
                try await listener.value
            }
            #expect(seen.count == 1)
        }
    }

    @Test func `what fails half-way is undone whole`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            try await stage.disks.create("taken")
            #expect(await stage.code { try await stage.passthru.create("taken", on: "disk") } == .nameInUse)
            var info = try await stage.engine.info("disk")
            #expect(!info.isOpen && info.claims.isEmpty)
            // Nothing is remembered either: the name is free for another try.
            #expect(try await stage.passthru.create("P", on: "disk"))
            #expect(await stage.code { try await stage.passthru.create("P", on: "taken") } == .nameInUse)
            #expect(await stage.code { try await stage.passthru.create("Q", on: "disk") } == .claimed)
            info = try await stage.engine.info("taken")
            #expect(!info.isOpen)
            try await stage.passthru.delete("P")
            #expect(try await stage.passthru.create("Q", on: "disk"))
        }
    }

    @Test func `a bdev that could not be made on its base is made when the base comes again`() throws {
        try stack { _, stage in
            try await stage.passthru.create("P", on: "disk")
            // The name is taken when the base comes.
            try await stage.disks.create("P")
            try await stage.disks.create("disk")
            #expect(try await stage.engine.info("disk").claims.isEmpty)
            try await stage.disks.remove("P")
            try await stage.disks.remove("disk")
            try await stage.disks.create("disk")
            #expect(try await stage.engine.info("P").moduleName == "passthru")
        }
    }

    @Test func `a deleted bdev lets its base go and does not come back`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            try await stage.passthru.create("P", on: "disk")
            try await stage.passthru.delete("P")
            #expect(try await !stage.engine.info("disk").isOpen)
            #expect(await stage.code { try await stage.passthru.delete("P") } == .noSuchBdev)
            try await stage.disks.remove("disk")
            try await stage.disks.create("disk")
            #expect(await stage.names() == ["disk"])
            // One that only waits is forgotten as well.
            try await stage.passthru.create("W", on: "nowhere")
            try await stage.passthru.delete("W")
            try await stage.disks.create("nowhere")
            #expect(await stage.names() == ["disk", "nowhere"])
        }
    }

    @Test func `a bdev that is removed by somebody else is forgotten`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            try await stage.passthru.create("P", on: "disk")
            try await stage.engine.remove("P")
            #expect(try await !stage.engine.info("disk").isOpen)
            try await stage.passthru.create("P", on: "disk")
            #expect(await stage.names() == ["P", "disk"])
        }
    }

    @Test(arguments: UInt64(0)..<50)
    func `a bdev is deleted while its base goes`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { here, stage in
            try await stage.disks.create("disk")
            try await stage.passthru.create("P", on: "disk")
            let user = try await stage.engine.open("P")
            let removal = stage.spawn { try await stage.disks.remove("disk") }
            let deletion = stage.spawn { try await stage.passthru.delete("P") }
            for _ in 0..<Int(seed) { await here.yield() }
            await user.close()
            try await removal.value
            try await deletion.value
            try await stage.disks.create("disk")
            #expect(await stage.names() == ["disk"], "seed \(seed)")
        }
    }

    @Test func `a bdev grows with its base, through two more`() throws {
        try stack { here, stage in
            try await stage.disks.create("disk", blockCount: 1024)
            try await stage.passthru.create("C", on: "B")
            try await stage.passthru.create("B", on: "A")
            try await stage.passthru.create("A", on: "disk")
            try await stage.disks.host.value.resize("disk", blockCount: 1536)
            while try await stage.engine.info("C").geometry.blockCount != 1536 { await here.yield() }
            let last = try await stage.withChannel("C") { channel in channel.engine.blockCount }
            #expect(last == 1536)
        }
    }

    @Test func `the blocks found by a seek and the errors of the base come through`() throws {
        try stack { _, stage in
            let disk = try await stage.disks.create("disk")
            try await stage.passthru.create("A", on: "disk")
            try await stage.passthru.create("B", on: "A")
            try await stage.withChannel("B") { channel in
                #expect(try await channel.nextData(from: .block(9)) == 9)
                #expect(try await channel.nextHole(from: .block(9)) == nil)
                disk.answer = { $0.type == .write ? IOStatus(.nvmeError, detail: 0x281) : .success }
                let buffer = try channel.allocateBuffer(byteCount: 512)
                do throws(BdevError) {
                    try await channel.write(from: buffer, at: .block(0))
                    Issue.record("a write of a broken disk succeeded")
                } catch {
                    #expect(error.status == IOStatus(.nvmeError, detail: 0x281))
                    #expect(error.bdev == "B")
                }
            }
        }
    }

    /// The same names, bases and bdevs at random, against a model: what has been asked for, and which disks are there.
    @Test(arguments: UInt64(0)..<60)
    func `bdevs are there exactly while their bases are and they are wanted`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { here, stage in
            var random = SeededRandom(seed: seed)
            var wanted: [String: String] = [:], disks: Set<String> = []
            func isThere(_ name: String) -> Bool {
                guard let base = wanted[name] else { return disks.contains(name) }
                return isThere(base)
            }
            for _ in 0..<40 {
                let name = ["A", "B", "C"].randomElement(using: &random)!
                let disk = ["x", "y"].randomElement(using: &random)!
                switch Int.random(in: 0..<5, using: &random) {
                case 0 where wanted[name] == nil:
                    // Each base once, and no circles: A on a disk, B on A, C on B.
                    let base = name == "A" ? disk : name == "B" ? "A" : "B"
                    try await stage.passthru.create(name, on: base)
                    wanted[name] = base
                case 1 where wanted[name] != nil:
                    // What stands on it goes with it, and waits.
                    try await stage.passthru.delete(name)
                    wanted[name] = nil
                case 2 where !disks.contains(disk):
                    try await stage.disks.create(disk)
                    disks.insert(disk)
                case 3 where disks.contains(disk):
                    try await stage.disks.remove(disk)
                    disks.remove(disk)
                default: await here.yield()
                }
                let expected = (disks.union(wanted.keys.filter(isThere))).sorted()
                #expect(await stage.names() == expected, "seed \(seed)")
            }
        }
    }
}
