import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A queue pair")
struct QueueTests {
    private func command(_ block: UInt64) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: 1)
        command.startBlock = block
        return command
    }

    @Test func `rings one doorbell for all commands of a turn`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let buffer = await local.buffer(byteCount: 4096)
            for token in 0..<100 {
                pair.submit(
                    command(0), data: buffer.memory.slice(from: 0, count: 512), client: recorder, token: UInt64(token))
            }
            _ = await recorder.completion(99, on: local)
            #expect(recorder.completions.count == 100)
            #expect(pair.statistics.submissionDoorbells == 1)
            #expect(pair.statistics.completionDoorbells <= 2)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `keeps what does not fit in order, and refuses when no request is free`() throws {
        try simulateSoft { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = 4
            options.requestCount = 10
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let buffer = await local.buffer(byteCount: 512)
            for token in 0..<10 {
                #expect(pair.submit(command(0), data: buffer.memory, client: recorder, token: UInt64(token)))
            }
            #expect(!pair.submit(command(0), data: buffer.memory, client: recorder, token: 10))
            #expect(pair.statistics.submitted == 3)
            #expect(pair.statistics.queued == 7)
            _ = await recorder.completion(9, on: local)
            #expect(recorder.order == Array(0..<10))
            await local.yield()
            #expect(recorder.roomCount == 1)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `ends with an error of the specification's name what the controller refuses`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[0]
            var buffer = await local.buffer(byteCount: 512)
            await #expect {
                try await pair.read(namespace, at: 4096, into: &buffer)
            } throws: { ($0 as? NVMeError)?.code == .outOfRange }
            let recorder = Recorder()
            pair.add(recorder)
            pair.submit(command(4096), data: buffer.memory, client: recorder, token: 1)
            #expect("\(await recorder.completion(1, on: local).status)" == "LBA out of range")
            pair.inject(ErrorInjection(opcode: IOOpcode.read, count: 1, status: .unrecoveredReadError))
            pair.submit(command(0), data: buffer.memory, client: recorder, token: 2)
            #expect(await recorder.completion(2, on: local).status == .unrecoveredReadError)
            pair.submit(command(0), data: buffer.memory, client: recorder, token: 3)
            #expect(await recorder.completion(3, on: local).status == .success)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test(arguments: [false, true])
    func `goes on after a reset`(resumes: Bool) throws {
        try simulateSoft { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = 8
            options.resumesAfterReset = resumes
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let buffer = await local.buffer(byteCount: 512)
            for token in 0..<50 {
                pair.submit(command(UInt64(token)), data: buffer.memory, client: recorder, token: UInt64(token))
            }
            try await controller.reset()
            for token in 0..<50 {
                let status = await recorder.completion(UInt64(token), on: local).status
                let isAborted = status == .abortedBySubmissionQueueDeletion
                #expect(status.isSuccess || isAborted && !resumes, "command \(token): \(status)")
            }
            pair.submit(command(0), data: buffer.memory, client: recorder, token: 99)
            #expect(await recorder.completion(99, on: local).status == .success)
            #expect(await controller.state == .ready)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
