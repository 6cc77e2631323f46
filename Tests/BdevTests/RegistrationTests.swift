import Bdev
import Reactors
import SimulatedReactors
import Testing

struct RegistrationTests {
    @Test func `a bdev is found by its name, its aliases and its UUID`() throws {
        try simulate { _, scene in
            let uuid = BdevUUID("12345678-9ABC-def0-1234-56789abcdef0")!
            try await scene.module.create(
                "second", TestDevice(.test, types: .everything), aliases: ["a", "b"], uuid: uuid)
            for name in ["second", "a", "b", "12345678-9abc-def0-1234-56789abcdef0"] {
                let info = try await scene.engine.info(name)
                #expect(info.name == "second")
                #expect(info.uuid == uuid)
                let descriptor = try await scene.engine.open(name)
                #expect(descriptor.name == "second")
                await descriptor.close()
            }
            let names = await scene.engine.list().map(\.name)
            #expect(names == ["disk", "second"])
        }
    }

    @Test func `a bdev without a UUID gets one of its own`() throws {
        try simulate { _, scene in
            try await scene.module.create("second", TestDevice(.test, types: .everything))
            let list = await scene.engine.list()
            #expect(list[0].uuid != list[1].uuid)
            for info in list {
                #expect(BdevUUID(info.uuid.description) == info.uuid)
                #expect(info.aliases == [info.uuid.description])
            }
        }
    }

    @Test(
        arguments: [
            ("disk", [], nil), ("other", ["disk"], nil), ("alias", [], nil), ("other", ["alias"], nil),
            ("other", [], "00000000-0000-4000-8000-000000000001"), ("00000000-0000-4000-8000-000000000001", [], nil),
            ("other", ["fine", "00000000-0000-4000-8000-000000000001"], nil),
        ] as [(String, [String], String?)])
    func `a name, alias or UUID that is taken is refused and nothing is left behind`(
        name: String, aliases: [String], uuid: String?
    ) throws {
        try simulate { _, scene in
            let first = TestDevice(.test, types: .everything)
            let taken = BdevUUID("00000000-0000-4000-8000-000000000001")!
            try await scene.module.create("first", first, aliases: ["alias"], uuid: taken)
            let before = await scene.engine.list().map(\.name)
            let device = TestDevice(.test, types: .everything)
            let error = await failure { () throws(BdevError) in
                try await scene.module.create(name, device, aliases: aliases, uuid: uuid.flatMap { BdevUUID($0) })
            }
            #expect(error?.code == .nameInUse)
            #expect(error?.bdev == name)
            let after = await scene.engine.list().map(\.name)
            #expect(after == before)
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.info("fine") } == .noSuchBdev)
            if !["disk", "alias"].contains(name), name.count < 10 {
                #expect(await code { () throws(BdevError) in _ = try await scene.engine.info(name) } == .noSuchBdev)
            }
            // What was refused can be registered under names of its own.
            try await scene.module.create("free", device, aliases: ["fine"])
        }
    }

    @Test func `empty names are refused`() throws {
        try simulate { _, scene in
            let device = TestDevice(.test, types: .everything)
            #expect(
                await code { () throws(BdevError) in try await scene.module.create("", device) } == .invalidArgument)
            #expect(
                await code { () throws(BdevError) in try await scene.module.create("x", device, aliases: [""]) }
                    == .invalidArgument)
            #expect(
                await code { () throws(BdevError) in try await scene.engine.addAlias("", to: "disk") }
                    == .invalidArgument)
            let names = await scene.engine.list().map(\.name)
            #expect(names == ["disk"])
        }
    }

    static let invalidGeometries: [(String, BdevGeometry)] = [
        ("no block size", .test.with { $0.blockByteCount = 0 }),
        ("a negative block size", .test.with { $0.blockByteCount = -512 }),
        ("no blocks", .test.with { $0.blockCount = 0 }),
        ("more than 2^64 bytes", .test.with { $0.blockCount = 1 << 60 }),
        ("no alignment", .test.with { $0.memoryAlignment = 0 }),
        ("a negative alignment", .test.with { $0.memoryAlignment = -4096 }),
        ("an odd alignment", .test.with { $0.memoryAlignment = 24 }),
        ("a split at no boundary", .test.with { $0.splitsAtOptimalBoundary = true }),
        ("a segment count alone", .test.with { $0.segmentCountLimit = 4 }),
        ("a segment length alone", .test.with { $0.segmentByteCountLimit = 4096 }),
        ("a negative segment count", .test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (-1, 512) }),
        ("a negative segment length", .test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (1, -512) }),
        ("a segment shorter than a block", .test.with { ($0.segmentCountLimit, $0.segmentByteCountLimit) = (1, 511) }),
        ("a negative physical block", .test.with { $0.physicalBlockByteCount = -1 }),
        ("zones of no blocks", .test.with { $0.zones = ZoneGeometry(blockCount: 0) }),
        ("a part of a zone", .test.with { $0.zones = ZoneGeometry(blockCount: 1000) }),
    ]

    @Test(arguments: invalidGeometries.map(\.0))
    func `an impossible geometry is refused`(what: String) throws {
        let geometry = Self.invalidGeometries.first { $0.0 == what }!.1
        try simulate { _, scene in
            let device = TestDevice(.test, types: .everything)
            let error = await failure { () throws(BdevError) in
                try await scene.module.host.value.register(
                    BdevProperties(name: "bad", productName: "Bad", geometry: geometry, supportedTypes: [.read]),
                    driver: device)
            }
            #expect(error?.code == .invalidGeometry)
            #expect(error?.bdev == "bad")
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.info("bad") } == .noSuchBdev)
            try await scene.module.create("bad", device)
        }
    }

    @Test(arguments: [(0, 0, 1, 1), (8, 0, 8, 8), (8, 3, 8, 3), (0, 3, 1, 3)] as [(UInt64, UInt64, UInt64, UInt64)])
    func `a write unit that was left out is one block, and what can be compared and written at once the write unit`(
        unit: UInt64, compared: UInt64, filledUnit: UInt64, filledCompared: UInt64
    ) throws {
        let geometry = BdevGeometry.test.with {
            ($0.writeUnitBlockCount, $0.compareAndWriteBlockCountLimit) = (unit, compared)
        }
        try simulate(geometry: geometry) { _, scene in
            let filled = try await scene.engine.info("disk").geometry
            #expect(filled.writeUnitBlockCount == filledUnit)
            #expect(filled.compareAndWriteBlockCountLimit == filledCompared)
            // Nothing else is: what the layer cuts by itself has no limit that a user would have to know.
            #expect(
                filled
                    == geometry.with {
                        $0.writeUnitBlockCount = filledUnit
                        $0.compareAndWriteBlockCountLimit = filledCompared
                        $0.physicalBlockByteCount = 512
                    })
        }
    }

    @Test func `all aliases go at once, that of the UUID too, and another bdev may have them`() throws {
        try simulate { _, scene in
            let engine = scene.engine, uuid = try await engine.info("disk").uuid
            try await engine.addAlias("other", to: "disk")
            try await engine.removeAllAliases(of: "disk")
            #expect(try await engine.info("disk").aliases == [])
            for name in ["other", uuid.description] {
                #expect(await code { () throws(BdevError) in _ = try await engine.open(name) } == .noSuchBdev)
            }
            try await scene.module.create("other", TestDevice(.test, types: .everything), uuid: uuid)
            #expect(await code { () throws(BdevError) in try await engine.removeAllAliases(of: "x") } == .noSuchBdev)
        }
    }

    @Test func `aliases come and go, but never a name`() throws {
        try simulate { _, scene in
            let engine = scene.engine
            try await engine.addAlias("other", to: "disk")
            #expect(await code { () throws(BdevError) in try await engine.addAlias("other", to: "disk") } == .nameInUse)
            #expect(await code { () throws(BdevError) in try await engine.addAlias("disk", to: "disk") } == .nameInUse)
            #expect(await code { () throws(BdevError) in try await engine.addAlias("x", to: "none") } == .noSuchBdev)
            let info = try await engine.info("other")
            #expect(info.name == "disk")
            #expect(info.aliases.contains("other"))
            #expect(await code { () throws(BdevError) in try await engine.removeAlias("disk") } == .noSuchBdev)
            try await engine.removeAlias("other")
            #expect(await code { () throws(BdevError) in try await engine.removeAlias("other") } == .noSuchBdev)
            #expect(await code { () throws(BdevError) in _ = try await engine.open("other") } == .noSuchBdev)
            let aliases = try await engine.info("disk").aliases
            #expect(!aliases.contains("other"))
        }
    }

    @Test func `a module's name is taken once, and a module that cannot start is not taken in`() throws {
        try simulate { _, scene in
            let engine = scene.engine
            #expect(
                await code { () throws(BdevError) in try await engine.register(TestModule()) } == .nameInUse)
            let failing = TestModule(name: "late", startFailure: BdevError(.moduleFailed, "no device"))
            #expect(await code { () throws(BdevError) in try await engine.register(failing) } == .moduleFailed)
            #expect(failing.log.value == ["start"])
            let working = TestModule(name: "late")
            try await engine.register(working)
            await engine.stop()
            #expect(working.log.value == ["start", "stop"])
            #expect(failing.log.value == ["start"])
            #expect(
                await code { () throws(BdevError) in try await engine.register(TestModule(name: "later")) } == .closed)
        }
    }

    @Test func `a module removes its own bdevs only`() throws {
        try simulate { _, scene in
            let other = TestModule(name: "other")
            try await scene.engine.register(other)
            #expect(
                await code { () throws(BdevError) in try await other.host.value.unregister("disk") } == .noSuchBdev)
            #expect(
                await code { () throws(BdevError) in try await scene.module.host.value.unregister("x") } == .noSuchBdev)
            try await scene.module.host.value.unregister("disk")
            #expect(scene.device.wasDestroyed)
            let device = TestDevice(.test, types: .everything)
            try await other.create("disk", device)
        }
    }

    @Test(arguments: [
        "", "12345678-9abc-def0-1234-56789abcdef", "12345678-9abc-def0-1234-56789abcdef01",
        "123456789abcdef0123456789abcdef0", "12345678-9abc-def0-1234_56789abcdef0",
        "g2345678-9abc-def0-1234-56789abcdef0",
        "+2345678-9abc-def0-1234-56789abcdef0",
    ])
    func `a text that is no UUID is refused`(text: String) { #expect(BdevUUID(text) == nil) }

    @Test func `a random UUID has the version and variant of RFC 9562`() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<100 {
            let text = Array(BdevUUID(random: random.next(), random.next()).description)
            #expect(text[14] == "4")
            #expect("89ab".contains(text[19]))
        }
    }
}
