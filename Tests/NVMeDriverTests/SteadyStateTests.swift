import CMallocCount
import NVMeSoftController
import Reactors
import Testing

@testable import NVMeDriver

/// What a command costs when everything has been used once.
@Suite("The steady state of a queue pair", .serialized)
struct SteadyStateTests {
    #if DEBUG
    /// Of a command on each way, without the optimizer. Which code it is has not been looked into.
    private static let unoptimized: UInt = 1
    #else
    private static let unoptimized: UInt = 0
    #endif

    private func read(_ block: Int) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: 1)
        command.startBlock = UInt64(block % 4000)
        command.cdw12 = 7
        return command
    }

    private final class Counter: NVMeClient {
        var ended = 0
        override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
            precondition(completion.status.isSuccess, "\(completion.status)")
            ended += 1
        }
    }

    /// Runs `body` with a pair that nobody visits but `body`.
    private func withPair(
        entryCount: Int, _ body: @escaping @Sendable (isolated LocalReactor, NVMeQueuePair) async throws -> Void
    ) throws {
        try simulateSoft { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = entryCount
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller)
            pair.stopPolling(on: local)
            try await body(local, pair)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    /// Allocations while commands are given, and while their ends are taken, in all rounds but the first. `submit`
    /// gives 32 of them.
    private func allocations(
        of pair: NVMeQueuePair, _ client: Counter, on local: isolated LocalReactor, submit: (_ round: Int) -> Void
    ) async -> (given: UInt, ended: UInt) {
        var allocated: (given: UInt, ended: UInt) = (0, 0)
        for round in 0...Self.roundCount {
            malloc_count_begin()
            submit(round)
            _ = pair.poll()
            let given = malloc_count_end()
            // The controller, which allocates, has its turn here.
            await local.yield()
            malloc_count_begin()
            _ = pair.poll()
            let ended = malloc_count_end()
            #expect(client.ended == 32 * (round + 1))
            if round > 0 {
                allocated.given += given
                allocated.ended += ended
            }
        }
        return allocated
    }

    private static let roundCount = 39
    private static let commandCount = UInt(roundCount * 32)

    @Test(.enabled(if: malloc_count_is_possible(), "a sanitizer has an allocator of its own"))
    func `a command allocates nothing, but for one allocation on each way without the optimizer`() throws {
        try withPair(entryCount: 64) { local, pair in
            let client = Counter()
            pair.add(client)
            let buffer = await local.buffer(byteCount: 32 * 4096)
            let memory = buffer.memory
            let allocated = await allocations(of: pair, client, on: local) { _ in
                for index in 0..<32 {
                    pair.submit(
                        read(index), data: memory.slice(from: index * 4096, count: 4096), client: client,
                        token: UInt64(index))
                }
            }
            #expect(allocated.given <= Self.unoptimized * Self.commandCount)
            #expect(allocated.ended <= Self.unoptimized * Self.commandCount)
            pair.remove(client)
        }
    }

    @Test(.enabled(if: malloc_count_is_possible(), "a sanitizer has an allocator of its own"))
    func `two commands that are one operation allocate as little`() throws {
        try withPair(entryCount: 64) { local, pair in
            let client = Counter()
            pair.add(client)
            let buffer = await local.buffer(byteCount: 4096)
            buffer.memory.zero()
            let data = [buffer.memory.slice(from: 0, count: 512)]
            let allocated = await allocations(of: pair, client, on: local) { round in
                var compare = read(round * 16)
                compare.opcode = IOOpcode.compare
                compare.cdw12 = 0
                var write = compare
                write.opcode = IOOpcode.write
                for index in 0..<16 {
                    pair.submitFused(
                        compare, segments: data, then: write, segments: data, client: client, token: UInt64(index))
                }
            }
            // Without the optimizer a list of stretches is one more.
            #expect(allocated.given <= 2 * Self.unoptimized * Self.commandCount)
            #expect(allocated.ended <= Self.unoptimized * Self.commandCount)
            pair.remove(client)
        }
    }

    /// A completion doorbell is written before the controller could want the entries, and no earlier.
    @Test(arguments: [(64, 1), (64, 8), (64, 63), (2, 1), (5, 3)])
    func `the controller never waits for room, and is told of it rarely`(entryCount: Int, depth: Int) throws {
        try withPair(entryCount: entryCount) { local, pair in
            let client = Counter()
            pair.add(client)
            let buffer = await local.buffer(byteCount: 4096)
            let rounds = 200
            for round in 0..<rounds {
                for index in 0..<depth {
                    pair.submit(read(index), data: buffer.memory, client: client, token: 0)
                }
                _ = pair.poll()
                // One turn is enough for the controller, if it has room for all completions.
                await local.yield()
                await local.yield()
                _ = pair.poll()
                #expect(client.ended == depth * (round + 1), "round \(round)")
                #expect(pair.outstanding == 0)
            }
            let written = Int(pair.statistics.completionDoorbells)
            // As many completions as fit beside a full depth are taken between two of them.
            let between = max(1, (entryCount - 1 - depth) / depth + 1)
            #expect(written <= rounds / between + 1, "\(written) doorbell writes for \(rounds) rounds")
            #expect(written >= rounds * depth / entryCount)
            #expect(pair.statistics.submissionDoorbells == rounds)
            pair.remove(client)
        }
    }
}
