import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Shadow doorbells")
struct ShadowDoorbellTests {
    private static func options(_ stride: Int = 0) -> SoftController.Options {
        var options = SoftController.Options()
        options.hasDoorbellBuffers = true
        options.doorbellStrideShift = stride
        options.namespaces = [SoftNamespaceOptions(blockCount: 4096)]
        return options
    }

    private static func read(_ block: UInt64) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: 1)
        command.startBlock = block
        return command
    }

    @Test func `spare the registers of a controller that is at work`() throws {
        try simulateSoft(options: Self.options()) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), reader = Reader(pair, count: 5000, depth: 8)
            pair.add(reader)
            reader.buffer = await local.buffer(byteCount: 512)
            reader.start()
            while reader.ended < 5000 { await local.yield() }
            // One command follows the other before the controller sleeps; completions are never waited for.
            #expect(pair.statistics.submissionDoorbells < 100)
            #expect(pair.statistics.completionDoorbells < 100)
            pair.remove(reader)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test(arguments: [0, 1, 4])
    func `wake a controller that sleeps, whatever the place in the queue and the stride`(stride: Int) throws {
        try simulateSoft(options: Self.options(stride)) { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = 5
            let controller = try await soft.attach(on: local.reactor, options: options)
            let namespace = await controller.namespaces[0]
            var buffer = await local.buffer(byteCount: 512)
            // The second time its queue has the number of one that was there before.
            for _ in 0..<2 {
                let pair = try await local.makeQueuePair(of: controller)
                for round in 0..<30 {
                    try await pair.read(namespace, at: UInt64(round), into: &buffer)
                    try await local.sleep(for: .milliseconds(1))
                }
                #expect(pair.statistics.submissionDoorbells == 30)
                await local.close(pair, of: controller)
            }
            await controller.detach()
        }
    }

    @Test(arguments: [false, true])
    func `are agreed on again after a reset`(resumes: Bool) throws {
        try simulateSoft(options: Self.options()) { local, soft in
            var options = NVMeController.Options()
            options.resumesAfterReset = resumes
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let buffer = await local.buffer(byteCount: 512)
            for round in UInt64(0)..<3 {
                for token in round * 100..<round * 100 + 100 {
                    pair.submit(Self.read(0), data: buffer.memory, client: recorder, token: token)
                }
                try await controller.reset()
                for token in round * 100..<round * 100 + 100 {
                    let status = await recorder.completion(token, on: local).status
                    #expect(status.isSuccess || !resumes && status == .abortedBySubmissionQueueDeletion)
                }
            }
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `are left alone when they are not wanted`() throws {
        try simulateSoft(options: Self.options()) { local, soft in
            var options = NVMeController.Options()
            options.usesShadowDoorbells = false
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), reader = Reader(pair, count: 500, depth: 8)
            pair.add(reader)
            reader.buffer = await local.buffer(byteCount: 512)
            reader.start()
            while reader.ended < 500 { await local.yield() }
            #expect(pair.statistics.submissionDoorbells >= 500 / 8)
            pair.remove(reader)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    /// Keeps so many reads under way.
    private final class Reader: NVMeClient {
        private let pair: NVMeQueuePair
        private var left: Int
        private let depth: Int
        private(set) var ended = 0
        var buffer: IOBuffer?

        init(_ pair: NVMeQueuePair, count: Int, depth: Int) {
            (self.pair, self.depth) = (pair, depth)
            left = count
        }

        func start() { for _ in 0..<depth { submit() } }

        private func submit() {
            guard left > 0, let memory = IOBuffer.memory(of: buffer) else { return }
            left -= 1
            pair.submit(ShadowDoorbellTests.read(UInt64(left % 4096)), data: memory, client: self, token: 0)
        }

        override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
            precondition(completion.status.isSuccess)
            ended += 1
            submit()
        }
    }
}
