import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

/// Commands that are given their buffers for good, and give them back.
@Suite("A buffer that a command keeps")
struct KeptBufferTests {
    private static func command(_ opcode: UInt8, _ block: UInt64, namespaceID: UInt32 = 1) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: namespaceID)
        command.startBlock = block
        return command
    }

    /// Keeps the buffers that come back, in the order of the ends.
    private final class Keeper: NVMeClient {
        var ended: [UInt64] = []
        var statuses: [NVMeStatus] = []
        /// Of the data and of the metadata, first byte; nil: there was none.
        var found: [(data: UInt8?, metadata: UInt8?)] = []
        var data: IOBuffer?
        var metadata: IOBuffer?

        override func commandCompleted(
            token: UInt64, _ completion: NVMeCompletion, data: consuming IOBuffer?, metadata: consuming IOBuffer?
        ) {
            ended.append(token)
            statuses.append(completion.status)
            found.append((Self.first(data), Self.first(metadata)))
            self.data = data
            self.metadata = metadata
        }

        private static func first(_ buffer: borrowing IOBuffer?) -> UInt8? {
            switch buffer {
            case .some(let buffer): buffer.load(at: 0)
            case .none: nil
            }
        }

        nonisolated(nonsending) func end(_ count: Int, on local: LocalReactor) async {
            while ended.count < count { await local.yield() }
        }
    }

    private func withPair(
        _ soft: SoftController.Options? = nil, _ options: NVMeController.Options = NVMeController.Options(),
        _ body: @escaping @Sendable (isolated LocalReactor, NVMeController, NVMeQueuePair, Keeper) async throws -> Void
    ) throws {
        try simulateSoft(options: soft) { local, soft in
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), keeper = Keeper()
            pair.add(keeper)
            try await body(local, controller, pair, keeper)
            pair.remove(keeper)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `comes back with the command's end, and holds what was read`() throws {
        try withPair { local, _, pair, keeper in
            var buffer: IOBuffer? = await local.buffer(byteCount: 512)
            buffer!.fill(with: 7)
            let isWritten = pair.submit(Self.command(IOOpcode.write, 3), buffer: &buffer, client: keeper, token: 1)
            let isTaken = buffer == nil
            #expect(isWritten && isTaken)
            await keeper.end(1, on: local)
            buffer = keeper.data.take()
            buffer!.fill(with: 0)
            pair.submit(Self.command(IOOpcode.read, 3), buffer: &buffer, client: keeper, token: 2)
            await keeper.end(2, on: local)
            #expect(keeper.ended == [1, 2])
            #expect(keeper.found[1].data == 7)
            #expect(keeper.found[1].metadata == nil)
            // A request that has kept one before keeps none that it was not given.
            pair.submit(Self.command(IOOpcode.flush, 0), buffer: &buffer, client: keeper, token: 3)
            await keeper.end(3, on: local)
            #expect(keeper.found[2].data == nil)
        }
    }

    @Test func `comes back with the metadata that lies apart from it`() throws {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 64)]
        options.namespaces[0].metadataByteCount = 8
        try withPair(options) { local, _, pair, keeper in
            var data: IOBuffer? = await local.buffer(byteCount: 512)
            var metadata: IOBuffer? = await local.buffer(byteCount: 8)
            for (opcode, byte) in [(IOOpcode.write, UInt8(9)), (IOOpcode.read, 0)] {
                data!.fill(with: byte)
                metadata!.fill(with: byte &+ byte)
                pair.submit(
                    Self.command(opcode, 5), buffer: &data, metadata: &metadata, client: keeper, token: UInt64(opcode))
                let areTaken = data == nil && metadata == nil
                #expect(areTaken)
                await keeper.end(opcode == IOOpcode.write ? 1 : 2, on: local)
                data = keeper.data.take()
                metadata = keeper.metadata.take()
            }
            #expect(keeper.found[1].data == 9)
            #expect(keeper.found[1].metadata == 18)
        }
    }

    @Test func `comes back from commands that fail, in the controller and before it`() throws {
        try withPair { local, _, pair, keeper in
            var buffer: IOBuffer? = await local.buffer(byteCount: 512)
            pair.submit(Self.command(IOOpcode.read, 1 << 40), buffer: &buffer, client: keeper, token: 1)
            await keeper.end(1, on: local)
            buffer = keeper.data.take()
            pair.inject(ErrorInjection(opcode: IOOpcode.read, count: 1, status: .unrecoveredReadError))
            pair.submit(Self.command(IOOpcode.read, 0), buffer: &buffer, client: keeper, token: 2)
            await keeper.end(2, on: local)
            let isBack = keeper.data != nil
            #expect(isBack)
            #expect(keeper.statuses.map(\.description) == ["LBA out of range", "unrecovered read error"])
        }
    }

    @Test func `stays the caller's when no request is free, and comes back from those that a reset ends`() throws {
        var options = NVMeController.Options()
        options.requestCount = 2
        try withPair(nil, options) { local, controller, pair, keeper in
            for token in 0..<2 {
                var buffer = local.allocateBuffer(byteCount: 512)
                pair.submit(Self.command(IOOpcode.read, 0), buffer: &buffer, client: keeper, token: UInt64(token))
            }
            var third = local.allocateBuffer(byteCount: 512)
            let isRefused = !pair.submit(Self.command(IOOpcode.read, 0), buffer: &third, client: keeper, token: 2)
            let isKept = third != nil
            #expect(isRefused && isKept)
            try await controller.reset()
            await keeper.end(2, on: local)
            #expect(keeper.found.allSatisfy { $0.data != nil })
        }
    }

    /// Tells the plain way, and drops what it is given.
    @Test func `goes back to its pool when the client does not ask for it`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let before = local.bufferOccupancy.map(\.available)
            for token in 0..<8 {
                var buffer: IOBuffer? = await local.buffer(byteCount: 512)
                pair.submit(Self.command(IOOpcode.read, 0), buffer: &buffer, client: recorder, token: UInt64(token))
            }
            #expect(local.bufferOccupancy.map(\.available) != before)
            _ = await recorder.completion(7, on: local)
            #expect(local.bufferOccupancy.map(\.available) == before)
            pair.remove(recorder)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
