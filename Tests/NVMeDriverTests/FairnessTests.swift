import Bdev
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Synchronization
import Testing

@Suite("Commands that wait, and commands that fail")
struct FairnessTests {
    /// Gives the same command again, for ever.
    private final class Stubborn: NVMeClient {
        unowned let pair: NVMeQueuePair
        var count = 0

        init(_ pair: NVMeQueuePair) {
            self.pair = pair
            super.init()
        }

        override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
            count += 1
            give()
        }

        func give() {
            pair.submit(SubmissionQueueEntry(opcode: IOOpcode.flush, namespaceID: 1), client: self, token: 0)
        }
    }

    @Test func `a command that fails and is given again for ever keeps nobody from anything`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), stubborn = Stubborn(pair)
            pair.add(stubborn)
            pair.inject(ErrorInjection(opcode: IOOpcode.flush, count: .max, status: .internalError))
            stubborn.give()
            // Others' commands are done meanwhile, and time goes on.
            var buffer = await local.buffer(byteCount: 512)
            let namespace = await controller.namespaces[0]
            for block in UInt64(0)..<20 { try await pair.read(namespace, at: block, into: &buffer) }
            #expect(stubborn.count > 0)
            // Closing does not wait for it.
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `what waits for room is given back, and what the controller has is not`() throws {
        try simulateSoft { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = 3
            options.requestCount = 20
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller), one = Recorder(), other = Recorder()
            pair.add(one)
            pair.add(other)
            await soft.setLatency(.milliseconds(500) ... .milliseconds(500))
            for token in UInt64(0)..<6 {
                for client in [one, other] {
                    pair.submit(
                        SubmissionQueueEntry(opcode: IOOpcode.flush, namespaceID: 1), client: client, token: token)
                }
            }
            try await local.sleep(for: .milliseconds(1))
            pair.giveBackWaiting(of: one)
            try await local.sleep(for: .milliseconds(1))
            // Each has one with the controller.
            #expect(one.completions.keys.sorted() == [1, 2, 3, 4, 5])
            #expect(one.completions.values.allSatisfy { $0.status == .commandAbortedByHost })
            #expect(other.completions.isEmpty)
            for token in UInt64(0)..<6 { #expect(await other.completion(token, on: local).status == .success) }
            #expect(one.completions[0]?.status == .success)
            #expect(other.order == [0, 1, 2, 3, 4, 5])
            pair.remove(one)
            pair.remove(other)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `what waits in a full queue goes another way when its controller is being reset`() throws {
        let change: SoftChange = { options, index in
            options.queueEntryLimit = 3
            // Its reset takes long.
            if index == 0 { options.readyLatency = .milliseconds(300) }
        }
        try simulateFleet(change: change) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            await fleet.softs[0].setLatency(.seconds(6) ... .seconds(6))
            let ended = Counter()
            var tasks: [Task<Void, any Error>] = []
            for _ in 0..<10 {
                tasks.append(
                    Task(executorPreference: reactor.taskExecutor) {
                        try await descriptor.withChannel(on: reactor) { channel in
                            var buffer = try channel.allocateBuffer(byteCount: 512)
                            try await channel.read(at: .block(0), into: &buffer)
                            ended.count.add(1, ordering: .relaxed)
                        }
                    })
            }
            try await fleet.sleep(.milliseconds(100), on: local)
            #expect(ended.value == 0)
            let module = fleet.module
            let reset = Task(executorPreference: reactor.taskExecutor) {
                try await module.reset("Nvme0", controllerID: 1)
            }
            let start = local.now
            // All but the two that the controller has; it gives those back when it has stopped.
            try await fleet.wait("those that waited", on: local) { ended.value == 8 }
            #expect(start.duration(to: local.now) < .milliseconds(200), "seed \(fleet.seed)")
            try await fleet.wait("the others", on: local) { ended.value == 10 }
            for task in tasks { try await task.value }
            try await fleet.wait("the end of the reset", on: local) {
                try await fleet.module.controllers().map(\.state) == ["enabled", "enabled"]
            }
            try await reset.value
            await descriptor.close()
        }
    }

    private final class Counter: Sendable {
        let count = Atomic(0)
        var value: Int { count.load(ordering: .relaxed) }
    }
}
