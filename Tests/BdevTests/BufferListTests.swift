import Bdev
import Reactors
import SimulatedReactors
import Testing

struct BufferListTests {
    @Test func `several buffers are one I-O with as many segments`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var random = SeededRandom(seed: 3)
                let data = randomBytes(7 * 512, &random)
                try await channel.write(data, at: 100, segments: [512, 1024, 2048])
                #expect(scene.device.arrivals.map(\.segments) == [[512, 1024, 2048]])
                #expect(try await channel.read(at: 100, segments: [2560, 1024]) == data)
                #expect(scene.device.arrivals.last?.segments == [2560, 1024])
            }
        }
    }

    @Test func `parts of buffers are used where asked for`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var list = IOBufferList(capacity: 2)
                for index in 0..<2 {
                    var buffer = try channel.allocateBuffer(byteCount: 1024)
                    buffer.fill(with: UInt8(index + 1))
                    list.append(buffer, from: 256, length: 256)
                }
                let (count, byteCount) = (list.count, list.byteCount)
                #expect(count == 2)
                #expect(byteCount == 512)
                try await channel.write(from: list, at: .block(0))
                #expect(scene.device.data[0..<256].allSatisfy { $0 == 1 })
                #expect(scene.device.data[256..<512].allSatisfy { $0 == 2 })
                for place in 0..<512 { scene.device.data[place] = 7 }
                try await channel.read(at: .block(0), into: &list)
                list.withBuffer(1) { buffer in
                    let bytes = buffer.array
                    #expect(bytes[0..<256].allSatisfy { $0 == 2 })
                    #expect(bytes[256..<512].allSatisfy { $0 == 7 })
                    #expect(bytes[512..<1024].allSatisfy { $0 == 2 })
                }
            }
        }
    }

    @Test func `a list that is no whole number of blocks is refused`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                #expect(
                    await code { () throws(BdevError) in _ = try await channel.read(at: 0, segments: [512, 100]) }
                        == .misaligned)
                #expect(
                    await code { () throws(BdevError) in _ = try await channel.read(at: 1023, segments: [512, 512]) }
                        == .outOfRange)
                var empty = IOBufferList(capacity: 1)
                var refusal: BdevError.Code?
                do throws(BdevError) { try await channel.read(at: .block(0), into: &empty) } catch {
                    refusal = error.code
                }
                #expect(refusal == .misaligned)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `buffers come out again, the last first`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var list = try channel.makeList([512, 1024])
                let lengths = [list.popLast()?.byteCount, list.popLast()?.byteCount, list.popLast()?.byteCount]
                #expect(lengths == [1024, 512, nil])
                let (count, byteCount) = (list.count, list.byteCount)
                #expect(count == 0)
                #expect(byteCount == 0)
            }
        }
    }

    @Test func `a list works from another reactor too`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            var list = IOBufferList(capacity: 2)
            for index in 0..<2 {
                var buffer = here.allocateBuffer(byteCount: 512)!
                buffer.fill(with: UInt8(index + 5))
                list.append(buffer)
            }
            try await channel.write(from: list, at: .block(8))
            #expect(scene.device.data[8 * 512] == 5)
            #expect(scene.device.data[9 * 512] == 6)
            try await channel.read(at: .block(8), into: &list)
            var buffer = here.allocateBuffer(byteCount: 512)!
            try await channel.read(at: .block(9), into: &buffer)
            let bytes = buffer.array
            #expect(bytes.allSatisfy { $0 == 6 })
            try await channel.write(from: buffer, at: .block(10))
            #expect(scene.device.data[10 * 512] == 6)
            await descriptor.close()
        }
    }

    @Test func `an overfull list, an empty part and a part outside stop the process`() async {
        await #expect(processExitsWith: .failure) {
            try simulate { here, _ in
                var list = IOBufferList(capacity: 1)
                for _ in 0..<2 { list.append(here.allocateBuffer(byteCount: 512)!) }
            }
        }
        await #expect(processExitsWith: .failure) {
            try simulate { here, _ in
                var list = IOBufferList(capacity: 1)
                list.append(here.allocateBuffer(byteCount: 512)!, from: 512)
            }
        }
        await #expect(processExitsWith: .failure) {
            try simulate { here, _ in
                var list = IOBufferList(capacity: 1)
                list.append(here.allocateBuffer(byteCount: 512)!, from: 500, length: 13)
            }
        }
    }
}
