import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// What is refused before anything is queued.
struct CheckTests {
    /// What the read or write of `byteCount` bytes at `offset` is refused with, through all faces, which must
    /// agree; and whether it
    /// reached the device.
    private static func refusal(
        _ type: IOType, _ offset: BdevOffset, byteCount: Int, _ channel: isolated BdevChannel
    ) async -> BdevError.Code? {
        let async = await code { () throws(BdevError) in
            var buffer = try channel.allocateBuffer(byteCount: byteCount)
            if type == .read {
                try await channel.read(at: offset, into: &buffer)
            } else {
                try await channel.write(from: buffer, at: offset)
            }
        }
        let handler = RecordingHandler()
        let engine = await code { () throws(BdevError) in
            var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: byteCount)
            do throws(BdevError) {
                if type == .read {
                    try channel.engine.read(into: &buffer, at: offset, handler: handler)
                } else {
                    try channel.engine.write(from: &buffer, at: offset, handler: handler)
                }
            } catch {
                // After a refusal the buffer is where it was.
                let isThere = buffer != nil
                #expect(isThere)
                throw error
            }
            let isGone = buffer == nil
            #expect(isGone)
            while handler.completions.isEmpty { await channel.reactor.local.yield() }
        }
        #expect(engine == async)
        #expect(handler.completions.count == (engine == nil ? 1 : 0))
        var batch = IOBatch(capacity: 1)
        let batched = await code { () throws(BdevError) in
            let buffer = try channel.allocateBuffer(byteCount: byteCount)
            if type == .read { batch.read(into: buffer, at: offset) } else { batch.write(from: buffer, at: offset) }
            try await channel.perform(&batch)
        }
        #expect(batched == async)
        return async
    }

    struct Case: CustomTestStringConvertible {
        let offset: BdevOffset
        let byteCount: Int
        let expected: BdevError.Code?
        var testDescription: String { "\(byteCount) bytes at \(offset)" }

        init(_ offset: BdevOffset, _ byteCount: Int, _ expected: BdevError.Code?) {
            self.offset = offset
            self.byteCount = byteCount
            self.expected = expected
        }
    }

    static let transfers = [
        Case(.block(0), 512, nil), Case(.block(1023), 512, nil), Case(.block(1022), 1024, nil),
        Case(.block(0), 1024 * 512, nil), Case(.block(0), 1025 * 512, .outOfRange),
        Case(.block(1), 1024 * 512, .outOfRange), Case(.block(1023), 1024, .outOfRange),
        Case(.block(1024), 512, .outOfRange), Case(.block(1025), 512, .outOfRange),
        Case(.block(.max), 512, .outOfRange), Case(.block(.max - 1), 1024, .outOfRange),
        Case(.block(.max - 1), 512, .outOfRange), Case(.block(1 << 63), 512, .outOfRange),
        Case(.byte(0), 512, nil), Case(.byte(1023 * 512), 512, nil), Case(.byte(1024 * 512), 512, .outOfRange),
        Case(.byte(.max - 511), 512, .outOfRange), Case(.byte(1), 512, .misaligned), Case(.byte(511), 512, .misaligned),
        Case(.byte(513), 512, .misaligned), Case(.byte(.max), 512, .misaligned), Case(.byte(256), 1024, .misaligned),
        Case(.block(0), 1, .misaligned), Case(.block(0), 511, .misaligned), Case(.block(0), 513, .misaligned),
        Case(.block(0), 768, .misaligned), Case(.block(1024), 100, .misaligned),
    ]

    @Test(arguments: transfers, [IOType.read, .write])
    func `a transfer is checked before anything is queued`(test: Case, type: IOType) throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                let refusal = await Self.refusal(type, test.offset, byteCount: test.byteCount, channel)
                #expect(refusal == test.expected)
                #expect(scene.device.submissionCount == (test.expected == nil ? 3 : 0))
            }
        }
    }

    struct RangeCase: CustomTestStringConvertible {
        let offset: BdevOffset
        let count: BdevLength
        let expected: BdevError.Code?
        var testDescription: String { "\(count) at \(offset)" }

        init(_ offset: BdevOffset, _ count: BdevLength, _ expected: BdevError.Code?) {
            self.offset = offset
            self.count = count
            self.expected = expected
        }
    }

    static let ranges = [
        RangeCase(.block(0), .blocks(1024), nil), RangeCase(.block(1023), .blocks(1), nil),
        RangeCase(.block(1024), .blocks(1), .outOfRange), RangeCase(.block(1), .blocks(1024), .outOfRange),
        RangeCase(.block(1), .blocks(.max), .outOfRange), RangeCase(.block(.max), .blocks(.max), .outOfRange),
        RangeCase(.block(.max), .blocks(1), .outOfRange), RangeCase(.block(0), .blocks(.max), .outOfRange),
        RangeCase(.byte(512), .bytes(1024), nil), RangeCase(.byte(512), .bytes(1023), .misaligned),
        RangeCase(.byte(100), .bytes(512), .misaligned), RangeCase(.byte(100), .blocks(1), .misaligned),
        RangeCase(.block(0), .bytes(1), .misaligned), RangeCase(.block(0), .bytes(.max), .misaligned),
        RangeCase(.byte(0), .bytes(.max - 511), .outOfRange), RangeCase(.block(2), .bytes(.max - 511), .outOfRange),
    ]

    @Test(arguments: ranges, [IOType.unmap, .writeZeroes])
    func `a range without data is checked before anything is queued`(test: RangeCase, type: IOType) throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                let refusal = await code { () throws(BdevError) in
                    if type == .unmap {
                        try await channel.unmap(at: test.offset, count: test.count)
                    } else {
                        try await channel.writeZeroes(at: test.offset, count: test.count)
                    }
                }
                #expect(refusal == test.expected)
                let handler = RecordingHandler()
                let engine = await code { () throws(BdevError) in
                    try channel.engine.submit(type, at: test.offset, count: test.count, handler: handler)
                }
                #expect(engine == test.expected)
                while engine == nil && handler.completions.isEmpty { await channel.reactor.local.yield() }
                #expect(scene.device.submissionCount == (test.expected == nil ? 2 : 0))
            }
        }
    }

    @Test(arguments: [IOType.unmap, .writeZeroes])
    func `a range of no blocks succeeds, and the device hears nothing`(type: IOType) throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                for count in [BdevLength.blocks(0), .bytes(0)] {
                    for offset in [BdevOffset.block(0), .block(1023), .block(1024)] {
                        let refusal = await code { () throws(BdevError) in
                            if type == .unmap {
                                try await channel.unmap(at: offset, count: count)
                            } else {
                                try await channel.writeZeroes(at: offset, count: count)
                            }
                        }
                        #expect(refusal == nil)
                        let handler = RecordingHandler()
                        try channel.engine.submit(type, at: offset, count: count, handler: handler)
                        while handler.completions.isEmpty { await channel.reactor.local.yield() }
                        #expect(handler.completions[0].status.isSuccess)
                        var batch = IOBatch(capacity: 1)
                        batch.add(type, at: offset, count: count)
                        try await channel.perform(&batch)
                        #expect(batch.status(0).isSuccess)
                    }
                    #expect(
                        await code { () throws(BdevError) in try await channel.unmap(at: .block(1025), count: count) }
                            == .outOfRange)
                }
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `a read-only descriptor reads and resets, and changes nothing`() throws {
        try simulate { _, scene in
            try await scene.withChannel(.readOnly) { channel in
                #expect(!channel.engine.isWritable)
                #expect(await channel.writeOnce(at: 0) == .readOnly)
                #expect(
                    await code { () throws(BdevError) in try await channel.unmap(at: .block(0), count: .blocks(1)) }
                        == .readOnly)
                #expect(
                    await code { () throws(BdevError) in try await channel.unmap(at: .block(0), count: .blocks(0)) }
                        == .readOnly)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.writeZeroes(at: .block(0), count: .blocks(1))
                    } == .readOnly)
                #expect(await code { () throws(BdevError) in try await channel.flush() } == .readOnly)
                #expect(scene.device.submissionCount == 0)
                #expect(await channel.readOnce(at: 0) == nil)
                try await channel.reset()
                #expect(scene.device.arrivals.map(\.type) == [.read, .reset])
            }
        }
    }

    @Test func `what the bdev does not do is refused`() throws {
        try simulate(types: [.read]) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.writeOnce(at: 0) == .notSupported)
                #expect(
                    await code { () throws(BdevError) in try await channel.unmap(at: .block(0), count: .blocks(1)) }
                        == .notSupported)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.writeZeroes(at: .block(0), count: .blocks(1))
                    } == .notSupported)
                #expect(await code { () throws(BdevError) in try await channel.flush() } == .notSupported)
                #expect(await code { () throws(BdevError) in try await channel.reset() } == .notSupported)
                #expect(scene.device.submissionCount == 0)
                #expect(await channel.readOnce(at: 0) == nil)
            }
        }
    }

    @Test func `a block size that is no power of two divides as well`() throws {
        let geometry = BdevGeometry(blockByteCount: 520, blockCount: 100)
        try simulate(geometry: geometry) { _, scene in
            try await scene.withChannel { channel in
                for (offset, byteCount, expected) in [
                    (BdevOffset.byte(520), 520, nil), (.byte(512), 520, .misaligned), (.block(99), 520, nil),
                    (.block(99), 1040, .outOfRange), (.block(0), 512, .misaligned), (.byte(520 * 99), 520, nil),
                    (.byte(520 * 100), 520, .outOfRange),
                ] as [(BdevOffset, Int, BdevError.Code?)] {
                    #expect(await Self.refusal(.read, offset, byteCount: byteCount, channel) == expected)
                }
            }
        }
    }

    @Test func `an error says what, where and what to do`() throws {
        try simulate { _, scene in
            try await scene.withChannel(.readOnly) { channel in
                let readOnly = await failure { () throws(BdevError) in try await channel.flush() }
                #expect(readOnly?.bdev == "disk")
                #expect(
                    readOnly?.description
                        == "disk: cannot flush: the descriptor is read-only; open it with mode .readWrite")
                scene.device.answer = { _ in .system(.ioError) }
                let media = await failure { () throws(BdevError) in
                    var buffer = try channel.allocateBuffer(byteCount: 1024)
                    try await channel.read(at: .block(7), into: &buffer)
                }
                #expect(media?.code == .mediaError)
                #expect(media?.cause == .ioError)
                #expect(media?.description.contains("read of 2 blocks at block 7 failed") == true)
            }
        }
    }

    @Test(arguments: [
        (IOStatus(.failed), BdevError.Code.deviceFailed), (.aborted, .aborted), (IOStatus(.miscompare), .miscompare),
        (IOStatus(.nvmeError, detail: 3), .deviceFailed), (IOStatus(.scsiError, detail: 3), .deviceFailed),
        (IOStatus(.firstFusedFailed), .deviceFailed), (.system(.noSpace), .noSpace), (.system(.ioError), .mediaError),
        (.system(.notSupported), .notSupported), (.system(.permissionDenied), .notPermitted),
        (.system(.readOnlyFileSystem), .notPermitted), (.system(.noMemory), .noMemory), (.system(.canceled), .aborted),
        (.system(.badAddress), .deviceFailed),
    ])
    func `a device's answer becomes an error of its kind`(status: IOStatus, expected: BdevError.Code) throws {
        try simulate { _, scene in
            scene.device.answer = { _ in status }
            try await scene.withChannel { channel in
                let error = await failure { () throws(BdevError) in
                    var buffer = try channel.allocateBuffer(byteCount: 512)
                    try await channel.read(at: .block(0), into: &buffer)
                }
                #expect(error?.code == expected)
                #expect(error?.status == status)
                // The channel goes on.
                scene.device.answer = { _ in .success }
                #expect(await channel.readOnce(at: 0) == nil)
            }
        }
    }

    @Test func `data is where it was put`() throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                var random = SeededRandom(seed: 9)
                var out = try channel.allocateBuffer(byteCount: 3 * 512),
                    back = try channel.allocateBuffer(byteCount: 3 * 512)
                out.fill(using: &random)
                try await channel.write(from: out, at: .block(5))
                try await channel.read(at: .byte(5 * 512), into: &back)
                let (sent, received) = (out.array, back.array)
                #expect(sent == received)
                #expect(Array(scene.device.data[5 * 512..<8 * 512]) == sent)
            }
        }
    }
}
