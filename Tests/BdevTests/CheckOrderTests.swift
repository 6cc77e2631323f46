import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Which refusal comes first when several would do. Everywhere: closed, removed, not permitted, not supported, no whole
/// blocks, out of range, and last what is the operation's own.
struct CheckOrderTests {
    static let all: [IOType] = [
        .read, .write, .unmap, .writeZeroes, .flush, .reset, .compare, .compareAndWrite, .copy, .seekData, .seekHole,
        .writeUncorrectable,
    ]
    /// Those that a read-only descriptor is refused.
    static let writing: Set<IOType> = [
        .write, .unmap, .writeZeroes, .flush, .compareAndWrite, .copy, .writeUncorrectable,
    ]
    /// Those that the layer does with the help of reads and writes.
    static let emulated: Set<IOType> = [.writeZeroes, .compare, .compareAndWrite, .copy, .seekData, .seekHole]
    /// Those that have a place.
    static let placed = all.filter { $0 != .flush && $0 != .reset }

    private static let places: [(UInt64, UInt64)] = [
        (1024, 1), (1023, 2), (0, 1025), (.max, 1), (.max - 1, 2), (1 << 63, 1),
    ]

    @Test(arguments: all)
    func `on a read-only descriptor that is said first, whatever else is wrong`(type: IOType) throws {
        try simulate(types: .native) { _, scene in
            try await scene.withChannel(.readOnly) { channel in
                let expected: BdevError.Code? = Self.writing.contains(type) ? .readOnly : nil
                #expect(await channel.attempt(type, at: 0) == expected)
                if Self.writing.contains(type) {
                    // Out of range, no whole block, too long: none of it matters.
                    #expect(await channel.attempt(type, at: 1024) == .readOnly)
                    #expect(await channel.attempt(type, at: 1023, count: 5) == .readOnly)
                    #expect(await Self.crooked(type, channel) == .readOnly)
                }
            }
            let expectedCount = Self.writing.contains(type) ? 0 : 1
            #expect(scene.device.submissionCount == expectedCount)
        }
    }

    @Test(arguments: all)
    func `a read-only descriptor of a bdev that cannot do it hears of the descriptor`(type: IOType) throws {
        try simulate(types: [.read]) { _, scene in
            try await scene.withChannel(.readOnly) { channel in
                let isEmulated = [.compare, .seekData, .seekHole].contains(type)
                let expected: BdevError.Code? =
                    Self.writing.contains(type) ? .readOnly : type == .read || isEmulated ? nil : .notSupported
                #expect(await channel.attempt(type, at: 0) == expected)
            }
        }
    }

    @Test(arguments: all)
    func `what the bdev does not do is said before where it was to be done`(type: IOType) throws {
        // Only flushes and resets where others are meant, and the reverse.
        let types: IOTypes = type == .flush || type == .reset ? [.read, .write] : [.flush, .reset]
        try simulate(types: types) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(type, at: 0) == .notSupported)
                #expect(await channel.attempt(type, at: 1024, count: 7) == .notSupported)
                #expect(await Self.crooked(type, channel) == .notSupported)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test(arguments: placed)
    func `the last block, the first behind it, and sums that overflow`(type: IOType) throws {
        for types in [IOTypes.native, .everything.union(.writeUncorrectable)] {
            try simulate(geometry: .test.with { $0.compareAndWriteBlockCountLimit = 2000 }, types: types) { _, scene in
                try await scene.withChannel { channel in
                    #expect(await channel.attempt(type, at: 1023) == nil)
                    for (start, count) in Self.places {
                        // A seek has no length.
                        if type == .seekData || type == .seekHole, start < 1024 { continue }
                        #expect(await channel.attempt(type, at: start, count: count) == .outOfRange, "at \(start)")
                    }
                }
            }
        }
    }

    @Test(arguments: placed)
    func `no whole block is said before out of range`(type: IOType) throws {
        try simulate(types: .native) { _, scene in
            try await scene.withChannel { channel in
                #expect(await Self.crooked(type, channel) == .misaligned)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `a compare-and-write that is out of range is that first, and too long or uneven then`() throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.compareAndWrite, at: 1023, count: 2) == .outOfRange)
                #expect(await channel.attempt(.compareAndWrite, at: 1022, count: 2) == .invalidArgument)
                let uneven = await code { () throws(BdevError) in
                    try await channel.swap(
                        Array(repeating: 0, count: 512), for: Array(repeating: 0, count: 1024), at: 1024)
                }
                #expect(uneven == .outOfRange)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `both ranges of a copy are looked at, the source first`() throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.copy, at: 0, count: 2, source: 1023) == .outOfRange)
                #expect(await channel.attempt(.copy, at: 1023, count: 2, source: 0) == .outOfRange)
                #expect(await channel.attempt(.copy, at: 0, count: 2, source: .max) == .outOfRange)
                let error = await failure { () throws(BdevError) in
                    try await channel.copy(from: .block(2000), to: .block(3000), count: .blocks(1))
                }
                #expect(error?.message.contains("block 2000") == true)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.copy(from: .byte(5), to: .block(0), count: .blocks(1))
                    } == .misaligned)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.copy(from: .block(5), to: .byte(5), count: .blocks(1))
                    } == .misaligned)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.copy(from: .block(5), to: .block(0), count: .bytes(100))
                    } == .misaligned)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test(arguments: all)
    func `a closed channel says so first, and a bdev that is going away next`(type: IOType) throws {
        try simulate(types: .native) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readOnly)
            let closed = try await descriptor.channel(on: here.reactor)
            let open = try await descriptor.channel(on: here.reactor)
            await closed.close()
            #expect(await closed.attempt(type, at: 2000) == .closed)
            let removal = here.task { try? await scene.engine.remove("disk") }
            await here.settle()
            #expect(await open.attempt(type, at: 2000) == .removed)
            #expect(await closed.attempt(type, at: 2000) == .closed)
            await descriptor.close()
            await removal.value
        }
    }

    @Test func `when every request is in use, that is said last`() throws {
        try simulate(types: [.read, .flush]) { _, scene in
            scene.device.pace = .held
            scene.device.logsArrivals = false
            try await scene.withChannel { channel in
                let handler = RecordingHandler(), engine = channel.engine
                for _ in 0..<65_536 {
                    try engine.submit(.flush, at: .block(0), count: .blocks(0), handler: handler)
                }
                func submit(_ type: IOType, _ block: UInt64, _ count: BdevLength) -> BdevError.Code? {
                    do throws(BdevError) {
                        try engine.submit(type, at: .block(block), count: count, handler: handler)
                        return nil
                    } catch { return error.code }
                }
                #expect(submit(.flush, 0, .blocks(0)) == .noMemory)
                #expect(submit(.flush, 1024, .blocks(1)) == .outOfRange)
                #expect(submit(.flush, 1024, .bytes(1)) == .misaligned)
                #expect(submit(.unmap, 1024, .bytes(1)) == .notSupported)
                scene.device.completeAllFromTheEnd()
            }
        }
    }

    @Test func `what is more than a range of blocks cannot be submitted as one`() async throws {
        let submitted = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try simulate(types: .native) { _, scene in
                try await scene.withChannel { channel in
                    try channel.engine.submit(
                        .compare, at: .block(0), count: .blocks(1), handler: RecordingHandler())
                }
            }
        }
        #expect(
            String(decoding: submitted.standardErrorContent, as: UTF8.self)
                .contains("a compare I/O is more than a range of blocks"))
        let batched = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            var batch = IOBatch(capacity: 1)
            batch.add(.read, at: .block(0), count: .blocks(1))
        }
        #expect(
            String(decoding: batched.standardErrorContent, as: UTF8.self)
                .contains("a read I/O is more than a range of blocks"))
    }

    /// An I/O of `type` of no whole number of blocks, behind the end.
    private static func crooked(_ type: IOType, _ channel: isolated BdevChannel) async -> BdevError.Code? {
        await code { () throws(BdevError) in
            let offset = BdevOffset.byte(1024 * 512 + 1), length = BdevLength.bytes(700)
            let odd = try channel.allocateBuffer(byteCount: 700)
            switch type {
            case .read:
                var buffer = try channel.allocateBuffer(byteCount: 700)
                try await channel.read(at: offset, into: &buffer)
            case .write: try await channel.write(from: odd, at: offset)
            case .unmap: try await channel.unmap(at: offset, count: length)
            case .writeZeroes: try await channel.writeZeroes(at: offset, count: length)
            case .compare: try await channel.compare(odd, at: offset)
            case .compareAndWrite: try await channel.compareAndWrite(odd, odd, at: offset)
            case .copy: try await channel.copy(from: offset, to: offset, count: length)
            case .seekData: _ = try await channel.nextData(from: offset)
            case .seekHole: _ = try await channel.nextHole(from: offset)
            case .writeUncorrectable: try await channel.writeUncorrectable(at: offset, count: length)
            case .flush: try await channel.flush()
            case .reset: try await channel.reset()
            default: preconditionFailure("no test does \(type) this way")
            }
        }
    }
}
