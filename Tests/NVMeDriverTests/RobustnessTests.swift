import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A controller that goes wrong")
struct RobustnessTests {
    private func read(_ block: UInt64 = 0) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: 1)
        command.startBlock = block
        return command
    }

    /// A controller, a queue pair with a recorder, and a buffer of a block.
    private func withPair(
        _ options: NVMeController.Options = .init(), soft: SoftController.Options? = nil,
        _ body:
            @escaping @Sendable (
                isolated LocalReactor, SoftController, NVMeController, NVMeQueuePair, Recorder, IOMemory
            ) async throws -> Void
    ) throws {
        try simulateSoft(options: soft) { local, soft in
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            let buffer = await local.buffer(byteCount: 4096)
            try await body(local, soft, controller, pair, recorder, buffer.memory.slice(from: 0, count: 512))
            await local.close(pair, of: controller)
            pair.remove(recorder)
            await controller.detach()
        }
    }

    @Test(arguments: SoftController.Misbehavior.allCases)
    func `what it completes and nobody gave has it reset`(how: SoftController.Misbehavior) throws {
        try withPair { local, soft, controller, pair, recorder, memory in
            let resets = Counter()
            await controller.onEvent { if $0 == .resetEnded { resets.count += 1 } }
            await soft.misbehave(how)
            pair.submit(read(), data: memory, client: recorder, token: 1)
            _ = await recorder.completion(1, on: local)
            while resets.count == 0 { try await local.sleep(for: .milliseconds(1)) }
            pair.submit(read(), data: memory, client: recorder, token: 2)
            #expect(await recorder.completion(2, on: local).status == .success)
            #expect(await controller.state == .ready)
        }
    }

    @Test(arguments: [NVMeController.TimeoutAction.abort, .reset])
    func `a command that never ends is given up`(action: NVMeController.TimeoutAction) throws {
        var options = NVMeController.Options()
        options.commandTimeout = .milliseconds(300)
        options.timeoutAction = action
        try withPair(options) { local, soft, controller, pair, recorder, memory in
            await soft.lose(IOOpcode.read, count: 1)
            let start = local.now
            pair.submit(read(), data: memory, client: recorder, token: 1)
            let status = await recorder.completion(1, on: local).status
            #expect(status == .abortedBySubmissionQueueDeletion)
            let age = start.duration(to: local.now)
            #expect(age > .milliseconds(300) && age < .milliseconds(1200), "after \(age)")
            while await controller.state != .ready { try await local.sleep(for: .milliseconds(1)) }
            pair.submit(read(), data: memory, client: recorder, token: 2)
            #expect(await recorder.completion(2, on: local).status == .success)
        }
    }

    @Test func `a command that takes long is only told of where nothing else is asked for`() throws {
        var options = NVMeController.Options()
        options.commandTimeout = .milliseconds(300)
        try withPair(options) { local, soft, controller, pair, recorder, memory in
            await soft.setLatency(.seconds(2) ... .seconds(2))
            pair.submit(read(), data: memory, client: recorder, token: 1)
            #expect(await recorder.completion(1, on: local).status == .success)
        }
    }

    @Test func `a fatal error has it reset, and every command ends once`() throws {
        try withPair { local, soft, controller, pair, recorder, memory in
            await soft.setLatency(.milliseconds(1) ... .milliseconds(50))
            for token in 0..<200 {
                pair.submit(read(UInt64(token)), data: memory, client: recorder, token: UInt64(token))
            }
            try await local.sleep(for: .milliseconds(10))
            await soft.breakDown()
            for token in 0..<200 {
                let status = await recorder.completion(UInt64(token), on: local).status
                #expect(status.isSuccess || status == .abortedBySubmissionQueueDeletion)
            }
            while await controller.state != .ready { try await local.sleep(for: .milliseconds(1)) }
        }
    }

    @Test func `one that is pulled out is removed, and every command ends once`() throws {
        try withPair { local, soft, controller, pair, recorder, memory in
            await soft.setLatency(.milliseconds(1) ... .milliseconds(50))
            for token in 0..<200 {
                pair.submit(read(UInt64(token)), data: memory, client: recorder, token: UInt64(token))
            }
            try await local.sleep(for: .milliseconds(10))
            await soft.pullOut()
            for token in 0..<200 { _ = await recorder.completion(UInt64(token), on: local) }
            #expect(await controller.state == .removed)
            #expect(pair.state == .closed)
            await #expect {
                try await controller.identify(1)
            } throws: { ($0 as? NVMeError)?.code == .removed }
            pair.submit(read(), data: memory, client: recorder, token: 999)
            #expect(await recorder.completion(999, on: local).status == .abortedBySubmissionQueueDeletion)
        }
    }

    @Test func `one that does not become ready in the time it names is not attached`() throws {
        var soft = SoftController.Options()
        soft.namespaces = [SoftNamespaceOptions(blockCount: 8)]
        soft.readyTimeout = 2
        soft.readyLatency = .seconds(3)
        try simulateSoft(options: soft) { local, soft in
            await #expect {
                try await soft.attach(on: local.reactor)
            } throws: { ($0 as? NVMeError)?.code == .timedOut }
        }
    }

    @Test func `commands that end in any order each move their own data`() throws {
        let seed = UInt64.random(in: 1 ... .max)
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 4096)]
        options.seed = seed
        try simulateSoft(seed: seed, options: options) { local, soft in
            var random = SeededGenerator(seed: seed)
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), recorder = Recorder()
            pair.add(recorder)
            await soft.setLatency(.microseconds(1) ... .milliseconds(5))
            var source = await local.buffer(byteCount: 200 * 512)
            let target = await local.buffer(byteCount: 200 * 512)
            for offset in stride(from: 0, to: source.byteCount, by: 8) { source.store(random.next(), at: offset) }
            let blocks = Array(0..<200).shuffled(using: &random)
            for opcode in [IOOpcode.write, IOOpcode.read] {
                let memory = opcode == IOOpcode.write ? source.memory : target.memory
                for (index, block) in blocks.enumerated() {
                    var command = read(UInt64(block))
                    command.opcode = opcode
                    let token = UInt64(index) + (opcode == IOOpcode.read ? 1000 : 0)
                    pair.submit(
                        command, data: memory.slice(from: index * 512, count: 512), client: recorder, token: token)
                }
                for index in 0..<200 {
                    let token = UInt64(index) + (opcode == IOOpcode.read ? 1000 : 0)
                    #expect(await recorder.completion(token, on: local).status == .success, "seed \(seed)")
                }
            }
            #expect(recorder.order != recorder.order.sorted(), "seed \(seed)")
            let isSame = target.contentEquals(source)
            #expect(isSame, "seed \(seed)")
            await local.close(pair, of: controller)
            pair.remove(recorder)
            await controller.detach()
        }
    }

    @Test func `namespaces that come, go and change are told of`() throws {
        try withPair { local, soft, controller, pair, recorder, memory in
            let events = Events()
            await controller.onEvent { events.all.append($0) }
            func next() async throws -> NVMeEvent {
                while events.all.isEmpty { try await local.sleep(for: .milliseconds(10)) }
                return events.all.removeFirst()
            }
            try await soft.resizeNamespace(1, blockCount: 8000)
            guard case .namespaceChanged(let changed) = try await next() else {
                Issue.record("a change of size was not told of")
                return
            }
            #expect(changed.id == 1 && changed.blockCount == 8000)
            try await soft.addNamespace(9, SoftNamespaceOptions(blockCount: 64))
            guard case .namespaceAdded(let added) = try await next() else {
                Issue.record("a new namespace was not told of")
                return
            }
            #expect(added.id == 9 && added.blockCount == 64)
            await soft.removeNamespace(2)
            #expect(try await next() == .namespaceRemoved(id: 2))
            #expect(await controller.namespaces.map(\.id) == [1, 9])
        }
    }
}

/// Used on one reactor of a simulation, which is one thread.
private final class Counter: @unchecked Sendable { var count = 0 }
private final class Events: @unchecked Sendable { var all: [NVMeEvent] = [] }
