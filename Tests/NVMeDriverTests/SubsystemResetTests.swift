import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A reset of an NVM subsystem")
struct SubsystemResetTests {
    private static func options(_ index: Int, canReset: Bool = true) -> SoftController.Options {
        var options = SoftController.Options()
        options.name = "soft\(index)"
        options.resetsSubsystem = canReset
        options.subsystem.controllerID = UInt16(index)
        if index == 0 { options.namespaces = [SoftNamespaceOptions(blockCount: 1024)] }
        return options
    }

    @Test func `restarts the controller, and the other is noticed to be off and restarted`() throws {
        try simulateSoft(options: Self.options(0)) { local, soft in
            let other = try SoftController(Self.options(1), on: local)
            await other.share(soft)
            let controllers = [try await soft.attach(on: local.reactor), try await other.attach(on: local.reactor)]
            let resets = Counter()
            for controller in controllers { await controller.onEvent { if $0 == .resetEnded { resets.count += 1 } } }
            var pairs: [NVMeQueuePair] = []
            for controller in controllers { pairs.append(try await local.makeQueuePair(of: controller)) }
            let namespace = await controllers[0].namespaces[0]
            var buffer = await local.buffer(byteCount: 512)
            buffer.fill(with: 5)
            try await pairs[0].write(namespace, at: 3, from: buffer)
            // What is under way ends.
            await soft.setLatency(.seconds(10) ... .seconds(10))
            let recorder = Recorder()
            pairs[0].add(recorder)
            var read = SubmissionQueueEntry(opcode: IOOpcode.read, namespaceID: 1)
            read.startBlock = 3
            pairs[0].submit(read, data: buffer.memory, client: recorder, token: 1)
            try await local.sleep(for: .milliseconds(1))
            try await controllers[0].resetSubsystem()
            #expect(await recorder.completion(1, on: local).status == .abortedBySubmissionQueueDeletion)
            await soft.setLatency(.zero ... .zero)
            for _ in 0..<1000 where resets.count < 2 { try await local.sleep(for: .milliseconds(1)) }
            #expect(resets.count == 2)
            for (controller, pair) in zip(controllers, pairs) {
                #expect(await controller.state == .ready)
                buffer.fill(with: 0)
                try await pair.read(namespace, at: 3, into: &buffer)
                #expect(buffer.copied().allSatisfy { $0 == 5 })
            }
            pairs[0].remove(recorder)
            for (controller, pair) in zip(controllers, pairs) {
                await local.close(pair, of: controller)
                await controller.detach()
            }
            await other.powerOff()
        }
    }

    @Test func `is refused where the controller cannot`() throws {
        try simulateSoft(options: Self.options(0, canReset: false)) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let error = await #expect(throws: NVMeError.self) { try await controller.resetSubsystem() }
            #expect(error?.code == .notSupported)
            #expect(await controller.state == .ready)
            await controller.detach()
        }
    }

    private final class Counter: @unchecked Sendable { var count = 0 }
}
