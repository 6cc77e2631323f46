import NVMeDriver
import NVMeSoftController
import Reactors
import SimulatedReactors
import Testing

@Suite("Compare and write as one")
struct FusedTests {
    @Test func `writes what was expected to be replaced, and nothing else`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[0]
            var zeros = await local.buffer(byteCount: 1024), ones = await local.buffer(byteCount: 1024)
            var found = await local.buffer(byteCount: 1024)
            zeros.fill(with: 0)
            ones.fill(with: 1)
            try await pair.compareAndWrite(namespace, at: 8, expected: zeros, new: ones)
            try await pair.read(namespace, at: 8, into: &found)
            #expect(found.copied().allSatisfy { $0 == 1 })
            zeros.fill(with: 2)
            await #expect {
                try await pair.compareAndWrite(namespace, at: 8, expected: zeros, new: zeros)
            } throws: { ($0 as? NVMeError)?.status?.matches(.compareFailure) == true }
            try await pair.read(namespace, at: 8, into: &found)
            #expect(found.copied().allSatisfy { $0 == 1 })
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test(arguments: 0..<20)
    func `of many that race for a block exactly one wins each round`(seed: UInt64) throws {
        try simulateSoft(seed: seed + 1) { local, soft in
            var options = NVMeController.Options()
            // So that pairs of commands wait, wrap around and have no room side by side.
            options.queueEntryCount = [3, 4, 5, 8][Int(seed % 4)]
            options.requestCount = [2, 3, 7, 20][Int(seed / 4 % 4)]
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[0]
            await soft.setLatency(.zero ... .microseconds(50))
            for round in UInt8(0)..<5 {
                let wins = ReactorConfined(Counter())
                await withTaskGroup(of: Void.self) { group in
                    let confined = ReactorConfined(pair), reactor = local.reactor
                    for number in UInt8(0)..<10 {
                        group.addTask(executorPreference: reactor.taskExecutor) {
                            await reactor.run { local in
                                var expected = await local.buffer(byteCount: 512)
                                var new = await local.buffer(byteCount: 512)
                                expected.fill(with: round)
                                new.fill(with: round + 1)
                                do throws(NVMeError) {
                                    try await confined.value.compareAndWrite(
                                        namespace, at: 3, expected: expected, new: new)
                                    wins.value.count += 1
                                } catch {
                                    #expect(
                                        error.status?.matches(.compareFailure) == true,
                                        "seed \(seed), \(number): \(error)")
                                }
                                // Others' commands in between.
                                try? await confined.value.read(namespace, at: 100, into: &new)
                            }
                        }
                    }
                }
                #expect(wins.value.count == 1, "seed \(seed), round \(round)")
            }
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    private final class Counter { var count = 0 }

    @Test func `ends once, whole, with a reset`() throws {
        try simulateSoft { local, soft in
            var options = NVMeController.Options()
            options.resumesAfterReset = true
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[0]
            await soft.setLatency(.seconds(1) ... .seconds(1))
            let confined = ReactorConfined(pair), reactor = local.reactor
            let task = Task(executorPreference: reactor.taskExecutor) {
                await reactor.run { local -> NVMeError.Code? in
                    var buffer = await local.buffer(byteCount: 512)
                    buffer.fill(with: 0)
                    do throws(NVMeError) {
                        try await confined.value.compareAndWrite(namespace, at: 0, expected: buffer, new: buffer)
                        return nil
                    } catch { return error.code }
                }
            }
            try await local.sleep(for: .milliseconds(100))
            try await controller.reset()
            #expect(await task.value == .aborted)
            #expect(pair.outstanding == 0)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
