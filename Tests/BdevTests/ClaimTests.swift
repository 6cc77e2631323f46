import Bdev
import Reactors
import SimulatedReactors
import Testing

private let key: UInt64 = 7
private let shared = ClaimKind.readManyWriteShared(key: key)
private let otherKey = ClaimKind.readManyWriteShared(key: 8)
private let noKey = ClaimKind.readManyWriteShared(key: 0)

/// How a claim that was asked for ends.
private enum Outcome: Equatable {
    /// It is held, and the descriptor is read-write or not.
    case held(BdevDescriptor.Mode)
    case refused(BdevError.Code)

    static let promoted = held(.readWrite)
    static let claimed = refused(.claimed)
    static let invalid = refused(.invalidArgument)
}

/// One cell of the matrix: what there is, what is asked for, what comes of it.
private struct Cell: Sendable, CustomTestStringConvertible {
    /// What has been claimed before.
    var held: ClaimKind?
    /// By the descriptor that asks, rather than by another one.
    var isHeldByAsker = false
    var mode = BdevDescriptor.Mode.readOnly
    /// Another descriptor has been opened for writing.
    var hasOtherWriter = false
    let asked: ClaimKind
    let outcome: Outcome

    var testDescription: String {
        var state = held.map { "\($0) held by \(isHeldByAsker ? "the asker" : "another")" } ?? "unclaimed"
        if case .readManyWriteShared(let key) = held { state += " with key \(key)" }
        if hasOtherWriter { state += ", another writes" }
        if mode == .readWrite { state += ", own descriptor read-write" }
        var question = "\(asked)"
        if case .readManyWriteShared(let key) = asked { question += " with key \(key)" }
        return "\(state): \(question) -> \(outcome)"
    }

    /// The rows of the reference's table; "key given" has no cell, since only the shared kind has one.
    static let matrix: [Cell] =
        [
            // No claim, no other writer.
            Cell(asked: .exclusiveWrite, outcome: .promoted),
            Cell(asked: .readManyWriteOne, outcome: .promoted),
            Cell(asked: .readManyWriteNone, outcome: .held(.readOnly)),
            Cell(asked: shared, outcome: .promoted),
            Cell(asked: noKey, outcome: .invalid),
            // No claim, own descriptor writable.
            Cell(mode: .readWrite, asked: .exclusiveWrite, outcome: .promoted),
            Cell(mode: .readWrite, asked: .readManyWriteOne, outcome: .promoted),
            Cell(mode: .readWrite, asked: .readManyWriteNone, outcome: .invalid),
            Cell(mode: .readWrite, asked: shared, outcome: .promoted),
            Cell(mode: .readWrite, asked: noKey, outcome: .invalid),
            // No claim, another writer. The reference lets the exclusive claim through.
            Cell(hasOtherWriter: true, asked: .exclusiveWrite, outcome: .claimed),
            Cell(hasOtherWriter: true, asked: .readManyWriteOne, outcome: .claimed),
            Cell(hasOtherWriter: true, asked: .readManyWriteNone, outcome: .claimed),
            Cell(hasOtherWriter: true, asked: shared, outcome: .claimed),
            Cell(mode: .readWrite, hasOtherWriter: true, asked: .exclusiveWrite, outcome: .claimed),
            Cell(mode: .readWrite, hasOtherWriter: true, asked: .readManyWriteOne, outcome: .claimed),
            Cell(mode: .readWrite, hasOtherWriter: true, asked: shared, outcome: .claimed),
            // Wrong arguments are told before another writer is.
            Cell(mode: .readWrite, hasOtherWriter: true, asked: .readManyWriteNone, outcome: .invalid),
            Cell(hasOtherWriter: true, asked: noKey, outcome: .invalid),
            // Exclusive write held.
            Cell(held: .exclusiveWrite, asked: .exclusiveWrite, outcome: .claimed),
            Cell(held: .exclusiveWrite, asked: .readManyWriteOne, outcome: .claimed),
            Cell(held: .exclusiveWrite, asked: .readManyWriteNone, outcome: .claimed),
            Cell(held: .exclusiveWrite, asked: shared, outcome: .claimed),
            Cell(held: .exclusiveWrite, asked: noKey, outcome: .claimed),
            // Read many, write one held.
            Cell(held: .readManyWriteOne, asked: .exclusiveWrite, outcome: .claimed),
            Cell(held: .readManyWriteOne, asked: .readManyWriteOne, outcome: .claimed),
            Cell(held: .readManyWriteOne, asked: .readManyWriteNone, outcome: .claimed),
            Cell(held: .readManyWriteOne, asked: shared, outcome: .claimed),
            Cell(held: .readManyWriteOne, asked: noKey, outcome: .claimed),
            // Read many, write none held.
            Cell(held: .readManyWriteNone, asked: .exclusiveWrite, outcome: .claimed),
            Cell(held: .readManyWriteNone, asked: .readManyWriteOne, outcome: .claimed),
            Cell(held: .readManyWriteNone, asked: .readManyWriteNone, outcome: .held(.readOnly)),
            Cell(held: .readManyWriteNone, asked: shared, outcome: .claimed),
            Cell(held: .readManyWriteNone, asked: noKey, outcome: .claimed),
            // Shared write held.
            Cell(held: shared, asked: .exclusiveWrite, outcome: .claimed),
            Cell(held: shared, asked: .readManyWriteOne, outcome: .claimed),
            Cell(held: shared, asked: .readManyWriteNone, outcome: .claimed),
            Cell(held: shared, asked: shared, outcome: .promoted),
            Cell(held: shared, asked: otherKey, outcome: .claimed),
            Cell(held: shared, asked: noKey, outcome: .invalid),
        ]
        // The asker has a claim already: refused whatever it asks for, and before its arguments are looked at.
        + [ClaimKind.exclusiveWrite, .readManyWriteOne, .readManyWriteNone, shared].flatMap { held in
            [ClaimKind.exclusiveWrite, .readManyWriteOne, .readManyWriteNone, shared, noKey].map { asked in
                Cell(held: held, isHeldByAsker: true, asked: asked, outcome: .claimed)
            }
        }
}

struct ClaimTests {
    @Test(arguments: Cell.matrix) fileprivate func `every cell of the claims matrix`(cell: Cell) throws {
        try simulate { _, scene in
            let engine = scene.engine, host = scene.module.host.value
            let descriptor = try await engine.open("disk", mode: cell.mode)
            let other = try await engine.open("disk", mode: cell.hasOtherWriter ? .readWrite : .readOnly)
            if let held = cell.held { try await host.claim(cell.isHeldByAsker ? descriptor : other, held) }
            let before = try await engine.info("disk").claims, modeBefore = descriptor.mode
            let refusal = await code { () throws(BdevError) in
                try await host.claim(descriptor, cell.asked, label: "asked")
            }
            let after = try await engine.info("disk").claims
            switch cell.outcome {
            case .held(let mode):
                #expect(refusal == nil)
                #expect(descriptor.mode == mode)
                #expect(after.dropLast() == before[...])
                #expect(after.last?.kind == cell.asked)
                #expect(after.last?.module == "test")
                #expect(after.last?.label == "asked")
            case .refused(let code):
                #expect(refusal == code)
                #expect(descriptor.mode == modeBefore)
                #expect(after == before)
            }
            await descriptor.close()
            await other.close()
            #expect(try await engine.info("disk").claims == [])
        }
    }

    @Test(
        arguments: [nil, ClaimKind.exclusiveWrite, .readManyWriteOne, .readManyWriteNone, shared],
        [BdevDescriptor.Mode.readOnly, .readWrite])
    func `a claimed bdev opens for reading only, whoever asks`(held: ClaimKind?, mode: BdevDescriptor.Mode) throws {
        try simulate { _, scene in
            let claimer = try await scene.engine.open("disk")
            if let held { try await scene.module.host.value.claim(claimer, held, label: "set 3") }
            let error = await failure { () throws(BdevError) in
                await (try await scene.engine.open("disk", mode: mode)).close()
            }
            if let held, mode == .readWrite {
                #expect(error?.code == .claimed)
                #expect(error?.message.contains("module 'test' (\(held), \"set 3\")") == true)
            } else {
                #expect(error == nil)
            }
            await claimer.close()
            await (try await scene.engine.open("disk", mode: .readWrite)).close()
        }
    }

    @Test func `a refusal names the module, the kind and the label of the claim it lost to`() throws {
        try simulate { _, scene in
            let other = TestModule(name: "raid")
            try await scene.engine.register(other)
            let first = try await scene.engine.open("disk"), second = try await scene.engine.open("disk")
            try await other.host.value.claim(first, .readManyWriteOne, label: "a")
            let error = await failure { () throws(BdevError) in
                try await scene.module.host.value.claim(second, .exclusiveWrite)
            }
            #expect(
                error?.description
                    == "disk: cannot claim exclusive_write: module 'raid' (read_many_write_one, \"a\") has claimed it"
            )
            await first.close()
            await second.close()
        }
    }

    @Test func `channels that are open follow the promotion, on every reactor`() throws {
        try simulate(reactorCount: 2) { _, scene in
            let descriptor = try await scene.engine.open("disk"), host = scene.module.host.value
            var channels: [BdevChannel] = []
            for reactor in scene.reactors { channels.append(try await descriptor.channel(on: reactor)) }
            for channel in channels { #expect(await channel.writeOnce(at: 0) == .readOnly) }
            try await host.claim(descriptor, .exclusiveWrite)
            #expect(descriptor.mode == .readWrite)
            for channel in channels { #expect(await channel.writeOnce(at: 0) == nil) }
            await descriptor.close()
            for channel in channels { #expect(await channel.writeOnce(at: 0) == .closed) }
        }
    }

    @Test(arguments: UInt64(0)..<400)
    func `a channel that is made while its descriptor is promoted can write`(seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let opener = Task(executorPreference: here.reactor.taskExecutor) {
                try await descriptor.channel(on: scene.reactors[1])
            }
            for _ in 0..<seed % 20 { await here.yield() }
            try await scene.module.host.value.claim(descriptor, .readManyWriteOne)
            #expect(await (try await opener.value).writeOnce(at: 0) == nil, "seed \(seed)")
            await descriptor.close()
        }
    }

    @Test func `a claim of readers makes nobody a writer`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            try await scene.module.host.value.claim(descriptor, .readManyWriteNone)
            #expect(await channel.writeOnce(at: 0) == .readOnly)
            await descriptor.close()
        }
    }

    @Test(arguments: [ClaimKind.exclusiveWrite, .readManyWriteOne, .readManyWriteNone, shared])
    func `closing the descriptor ends a claim of any kind`(kind: ClaimKind) throws {
        try simulate { _, scene in
            let host = scene.module.host.value
            let first = try await scene.engine.open("disk")
            try await host.claim(first, kind)
            await first.close()
            let second = try await scene.engine.open("disk")
            try await host.claim(second, .exclusiveWrite)
            await second.close()
        }
    }

    @Test func `a claim stands until the I-O in flight through its descriptor is over`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let host = scene.module.host.value, home = here.reactor
            let first = try await scene.engine.open("disk"), second = try await scene.engine.open("disk")
            try await host.claim(first, .exclusiveWrite)
            let channel = try await first.channel(on: home)
            let write = Task(executorPreference: home.taskExecutor) { await channel.writeOnce(at: 0) }
            while scene.device.held.isEmpty { await here.yield() }
            let close = Task(executorPreference: home.taskExecutor) { await first.close() }
            for _ in 0..<20 { await here.yield() }
            #expect(await code { () throws(BdevError) in try await host.claim(second, .exclusiveWrite) } == .claimed)
            #expect(await code { () throws(BdevError) in try await host.claim(first, .exclusiveWrite) } == .closed)
            #expect(
                await code { () throws(BdevError) in _ = try await scene.engine.open("disk", mode: .readWrite) }
                    == .claimed)
            scene.device.complete()
            #expect(await write.value == nil)
            await close.value
            try await host.claim(second, .exclusiveWrite)
            await second.close()
        }
    }

    @Test(arguments: [ClaimKind.readManyWriteNone, shared])
    func `those who share a claim keep it until the last one has closed`(kind: ClaimKind) throws {
        try simulate { _, scene in
            let engine = scene.engine, host = scene.module.host.value
            var sharers: [BdevDescriptor] = []
            for index in 0..<3 {
                let descriptor = try await engine.open("disk")
                try await host.claim(descriptor, kind, label: "sharer \(index)")
                sharers.append(descriptor)
            }
            #expect(try await engine.info("disk").claims.map(\.label) == ["sharer 0", "sharer 1", "sharer 2"])
            let outsider = try await engine.open("disk")
            while !sharers.isEmpty {
                #expect(
                    await code { () throws(BdevError) in try await host.claim(outsider, .exclusiveWrite) } == .claimed)
                #expect(
                    await code { () throws(BdevError) in _ = try await engine.open("disk", mode: .readWrite) }
                        == .claimed)
                await sharers.removeFirst().close()
            }
            // Nothing of the shared claim is left, its key neither.
            try await host.claim(outsider, otherKey)
            await outsider.close()
        }
    }

    @Test func `a claim that is released early leaves a writer, which stands against other claims until it is closed`()
        throws
    {
        try simulate { _, scene in
            let engine = scene.engine, host = scene.module.host.value
            let first = try await engine.open("disk"), second = try await engine.open("disk")
            try await host.claim(first, .readManyWriteOne)
            try await host.release(first)
            #expect(try await engine.info("disk").claims == [])
            #expect(first.mode == .readWrite)
            await (try await engine.open("disk", mode: .readWrite)).close()
            #expect(await code { () throws(BdevError) in try await host.claim(second, shared) } == .claimed)
            try await host.claim(first, shared)
            try await host.claim(second, shared)
            try await host.release(first)
            let third = try await engine.open("disk")
            // The first one writes, and shares no more.
            #expect(await code { () throws(BdevError) in try await host.claim(third, shared) } == .claimed)
            await first.close()
            try await host.claim(third, shared)
            await second.close()
            await third.close()
        }
    }

    @Test func `a module releases its own claims only`() throws {
        try simulate { _, scene in
            let other = TestModule(name: "raid")
            try await scene.engine.register(other)
            let descriptor = try await scene.engine.open("disk"), host = scene.module.host.value
            #expect(await code { () throws(BdevError) in try await host.release(descriptor) } == .invalidArgument)
            try await host.claim(descriptor, .exclusiveWrite)
            #expect(
                await code { () throws(BdevError) in try await other.host.value.release(descriptor) }
                    == .invalidArgument)
            #expect(try await scene.engine.info("disk").claims.count == 1)
            try await host.release(descriptor)
            #expect(await code { () throws(BdevError) in try await host.release(descriptor) } == .invalidArgument)
            await descriptor.close()
        }
    }

    @Test func `a bdev that is being removed is not claimed any more`() throws {
        try simulate { here, scene in
            let descriptor = try await scene.engine.open("disk")
            let removal = Task(executorPreference: here.reactor.taskExecutor) {
                try await scene.engine.remove("disk")
            }
            for _ in 0..<20 { await here.yield() }
            #expect(
                await code { () throws(BdevError) in
                    try await scene.module.host.value.claim(descriptor, .exclusiveWrite)
                } == .removed)
            await descriptor.close()
            try await removal.value
        }
    }
}
