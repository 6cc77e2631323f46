import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Metadata apart from the data, zero-copy, scratch, deadlines, giving up.
struct OperationExtrasTests {
    private static let apart = BdevGeometry.test.with { $0.metadataByteCount = 16 }

    @Test(arguments: [UInt64(0), 3])
    func `metadata moves through memory of its own, also in parts`(limit: UInt64) throws {
        try simulateMedium(Self.apart.with { $0.transferBlockCountLimit = limit }) { here, engine, medium in
            let descriptor = try await engine.open("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var random = SeededRandom(seed: 9)
                var data = try channel.allocateBuffer(byteCount: 8 * 512)
                var metadata = try channel.allocateBuffer(byteCount: 8 * 16)
                data.fill(using: &random)
                metadata.fill(using: &random)
                try await channel.write(from: data, metadata: metadata, at: .block(20))
                var found = try channel.allocateBuffer(byteCount: 8 * 512)
                var foundMetadata = try channel.allocateBuffer(byteCount: 8 * 16)
                try await channel.read(at: .block(20), into: &found, metadata: &foundMetadata)
                let isSame = found.contentEquals(data) && foundMetadata.contentEquals(metadata)
                #expect(isSame)
                #expect(medium.log.count == (limit == 0 ? 2 : 6))
                // Zeroes are zeroes in the metadata too.
                try await channel.writeZeroes(at: .block(20), count: .blocks(8))
                try await channel.read(at: .block(20), into: &found, metadata: &foundMetadata)
                let left = foundMetadata.array
                #expect(left.allSatisfy { $0 == 0 })
                var short = try channel.allocateBuffer(byteCount: 16)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.read(at: .block(20), into: &found, metadata: &short)
                    } == .invalidArgument)
            }
            await descriptor.close()
        }
    }

    @Test func `a bdev without metadata of its own refuses it`() throws {
        try simulateMedium(.test) { here, engine, medium in
            let descriptor = try await engine.open("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var data = try channel.allocateBuffer(byteCount: 512)
                var metadata = try channel.allocateBuffer(byteCount: 16)
                #expect(
                    await code { () throws(BdevError) in
                        try await channel.read(at: .block(0), into: &data, metadata: &metadata)
                    } == .invalidArgument)
                #expect(medium.log.isEmpty)
            }
            await descriptor.close()
        }
    }

    @Test func `zero-copy lends the bdev's own memory and takes it back`() throws {
        try simulateMedium(.test, types: [.read, .write, .zeroCopy], delay: .microseconds(5)) { here, engine, medium in
            let descriptor = try await engine.open("medium", mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                var io = try await channel.startZeroCopy(at: .block(4), count: .blocks(2), populated: true)
                let segmentCount = io.segmentCount
                #expect(segmentCount == 1 && medium.lent == 1)
                io.withMutableBytes(ofSegment: 0) { bytes in
                    #expect(bytes.byteCount == 1024)
                    bytes.storeBytes(of: 0x1234_5678, toByteOffset: 512, as: UInt32.self)
                }
                try await io.end(commit: true)
                var found = try channel.allocateBuffer(byteCount: 512)
                try await channel.read(at: .block(5), into: &found)
                let first = found.array[..<4]
                #expect(first == [0x78, 0x56, 0x34, 0x12])
                #expect(medium.log == ["zcopy 4+2", "zcopy 4+2", "read 5+1"])
            }
            let reader = try await engine.open("medium")
            try await reader.withChannel(on: here.reactor) { channel in
                let error = await failure { () throws(BdevError) in
                    let io = try await channel.startZeroCopy(at: .block(0), count: .blocks(1), populated: true)
                    try await io.end(commit: false)
                }
                #expect(error?.code == .readOnly)
            }
            await reader.close()
            await descriptor.close()
        }
    }

    @Test func `each request has scratch of its own while the device has it`() throws {
        // The medium checks what it finds there.
        try simulateMedium(.test, delay: .microseconds(30)) { here, engine, medium in
            let descriptor = try await engine.open("medium", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            await withTaskGroup(of: Void.self) { group in
                for block in UInt64(0)..<100 {
                    group.addTask(executorPreference: here.reactor.taskExecutor) {
                        #expect(await channel.readOnce(at: block) == nil)
                    }
                }
            }
            #expect(medium.log.count == 100)
            await descriptor.close()
        }
    }

    @Test func `a deadline gives an I/O up, and says so`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                var buffer = try channel.allocateBuffer(byteCount: 512)
                let start = await here.now
                let options = IOOptions(deadline: start.advanced(by: .milliseconds(25)))
                let error = await failure { () throws(BdevError) in
                    try await channel.read(at: .block(3), into: &buffer, options: options)
                }
                #expect(error?.code == .timedOut)
                let elapsed = start.duration(to: await here.now)
                #expect(elapsed >= .milliseconds(25) && elapsed <= .milliseconds(36), "\(elapsed)")
                #expect(scene.device.aborted.count == 1)
                // One that is quicker than its deadline knows nothing of it.
                scene.device.pace = .later { _ in .milliseconds(30) }
                let later = IOOptions(deadline: await here.now.advanced(by: .milliseconds(50)))
                try await channel.write(from: buffer, at: .block(3), options: later)
            }
        }
    }

    @Test func `requests of one tag are given up, others not`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let handler = RecordingHandler(), other = RecordingHandler()
                for (tag, handler) in [(1, handler), (2, handler), (1, other), (1, handler)] {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(0), tag: UInt64(tag), handler: handler)
                }
                #expect(channel.engine.abort(tag: 1, of: handler) == 2)
                #expect(handler.completions.map(\.status) == [.aborted, .aborted])
                #expect(channel.engine.abort(tag: 7, of: handler) == 0)
                scene.device.completeAll()
                #expect(handler.tags == [1, 1, 2] && other.tags == [1])
                #expect(channel.engine.abort(tag: 2, of: handler) == 0)
            }
        }
    }
}
