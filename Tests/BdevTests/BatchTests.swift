import Bdev
import Reactors
import SimulatedReactors
import Testing

struct BatchTests {
    @Test func `a batch submits everything at once and returns when all are complete`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let task = Task(executorPreference: here.reactor.taskExecutor) { await channel.readBatch(count: 6) }
                while scene.device.held.count < 6 { await channel.reactor.local.yield() }
                let done = Shared(false)
                let watcher = Task(executorPreference: here.reactor.taskExecutor) {
                    let result = await task.value
                    done.value = true
                    return result
                }
                for index in [3, 0, 1, 2, 0] {
                    scene.device.complete(index)
                    for _ in 0..<10 { await channel.reactor.local.yield() }
                    #expect(!done.value)
                }
                scene.device.complete()
                let result = await watcher.value
                #expect(result.code == nil)
                #expect(result.statuses == Array(repeating: .success, count: 6))
            }
        }
    }

    @Test func `a batch of all kinds moves its data, and can be used again`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var batch = IOBatch(capacity: 4)
                var random = SeededRandom(seed: 2)
                var out = try channel.allocateBuffer(byteCount: 1024)
                out.fill(using: &random)
                let sent = out.array
                batch.write(from: out, at: .block(10))
                batch.add(.writeZeroes, at: .block(20), count: .blocks(4))
                batch.add(.unmap, at: .byte(30 * 512), count: .bytes(512))
                batch.add(.flush, at: .block(0), count: .blocks(0))
                for place in 20 * 512..<24 * 512 { scene.device.data[place] = 9 }
                try await channel.perform(&batch)
                #expect(Array(scene.device.data[10 * 512..<12 * 512]) == sent)
                #expect(scene.device.data[20 * 512..<24 * 512].allSatisfy { $0 == 0 })
                for index in 0..<4 {
                    let status = batch.status(index)
                    #expect(status.isSuccess)
                }
                // Again, elsewhere.
                batch.setOffset(0, .block(40))
                try await channel.perform(&batch)
                #expect(Array(scene.device.data[40 * 512..<42 * 512]) == sent)
                let back = batch.takeBuffer(0)
                let isBack = back != nil
                #expect(isBack)
                let isGone = batch.takeBuffer(0) == nil
                #expect(isGone)
                batch.removeAll()
                let count = batch.count
                #expect(count == 0)
                try await channel.perform(&batch)
                batch.read(into: back!, at: .block(40))
                try await channel.perform(&batch)
                batch.withBuffer(0) { buffer in
                    let received = buffer.array
                    #expect(received == sent)
                }
            }
        }
    }

    @Test func `what a check refuses does not hold the others, and the first refusal is thrown`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var batch = IOBatch(capacity: 5)
                for offset in [BdevOffset.block(0), .block(4000), .byte(3), .block(2), .block(1023)] {
                    batch.read(into: try channel.allocateBuffer(byteCount: 512), at: offset)
                }
                var code: BdevError.Code?
                do throws(BdevError) { try await channel.perform(&batch) } catch { code = error.code }
                #expect(code == .outOfRange)
                let statuses = (0..<5).map { batch.status($0).isSuccess }
                #expect(statuses == [true, false, false, true, true])
                #expect(scene.device.arrivals.map(\.start) == [0, 2, 1023])
            }
        }
    }

    @Test func `what the device fails is thrown by its place in the batch`() throws {
        try simulate { here, scene in
            scene.device.answer = { $0.start == 2 ? IOStatus(.nvmeError, detail: 5) : .success }
            try await scene.withChannel { channel in
                var batch = IOBatch(capacity: 4)
                for block in UInt64(0)..<4 {
                    batch.read(into: try channel.allocateBuffer(byteCount: 512), at: .block(block))
                }
                var thrown: BdevError?
                do throws(BdevError) { try await channel.perform(&batch) } catch { thrown = error }
                #expect(thrown?.code == .deviceFailed)
                #expect(thrown?.message.contains("I/O 2 of a batch of 4") == true)
                #expect(thrown?.status == IOStatus(.nvmeError, detail: 5))
                let statuses = (0..<4).map { batch.status($0) }
                #expect(statuses == [.success, .success, IOStatus(.nvmeError, detail: 5), .success])
                scene.device.answer = { _ in .success }
                try await channel.perform(&batch)
                let again = (0..<4).allSatisfy { batch.status($0).isSuccess }
                #expect(again)
            }
        }
    }

    @Test(arguments: UInt64(0)..<30)
    func `a batch ends well whatever the order of its completions`(seed: UInt64) throws {
        try simulate(seed: seed, geometry: .test.with { $0.transferBlockCountLimit = 2 }) { here, scene in
            let random = Shared(SeededRandom(seed: seed))
            scene.device.depth = Int.random(in: 1...8, using: &random.value)
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...20, using: &random.value)) }
            try await scene.withChannel { channel in
                var batch = IOBatch(capacity: 20)
                for index in UInt64(0)..<20 {
                    var buffer = try channel.allocateBuffer(byteCount: 512 * (1 + Int(index % 5)))
                    buffer.fill(with: UInt8(index))
                    batch.write(from: buffer, at: .block(index * 5))
                }
                for _ in 0..<3 { try await channel.perform(&batch) }
                for index in 0..<20 {
                    let range = index * 5 * 512..<(index * 5 + 1 + index % 5) * 512
                    #expect(scene.device.data[range].allSatisfy { $0 == UInt8(index) }, "seed \(seed)")
                }
            }
        }
    }

    @Test func `a full batch and a wrong index stop the process`() async {
        await #expect(processExitsWith: .failure) {
            var batch = IOBatch(capacity: 1)
            batch.add(.flush, at: .block(0), count: .blocks(0))
            batch.add(.flush, at: .block(0), count: .blocks(0))
        }
        await #expect(processExitsWith: .failure) {
            let batch = IOBatch(capacity: 1)
            _ = batch.status(0)
        }
    }

    @Test func `closing a channel waits for its batches`() throws {
        try simulate { here, scene in
            scene.device.pace = .later { _ in .milliseconds(1) }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let batch = Task(executorPreference: here.reactor.taskExecutor) { await channel.readBatch(count: 5) }
            while scene.device.held.count < 5 { await here.yield() }
            await descriptor.close()
            #expect(scene.device.inside == 0)
            #expect(await batch.value.code == nil)
        }
    }
}
