import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A cancelled task")
struct CancelledCommandTests {
    /// A read of 8 parts by a task that is cancelled after 10 ms: what it ended with, and after how long.
    private static func cancel(
        _ local: isolated LocalReactor, _ pair: NVMeQueuePair, _ namespace: NVMeNamespace
    ) async throws -> (code: NVMeError.Code?, elapsed: Duration) {
        let confined = ReactorConfined(pair), reactor = local.reactor, clock = reactor.loop.clock
        let task = Task(executorPreference: reactor.taskExecutor) {
            await reactor.run { local -> NVMeError.Code? in
                var buffer = await local.buffer(byteCount: 65_536)
                do throws(NVMeError) {
                    try await confined.value.read(namespace, at: 0, into: &buffer)
                    return nil
                } catch { return error.code }
            }
        }
        let start = clock.now()
        try await local.sleep(for: .milliseconds(10))
        task.cancel()
        while pair.outstanding > 0 { try await local.sleep(for: .milliseconds(1)) }
        let code = await task.value
        return (code, clock.duration(ticks: clock.now() &- start))
    }

    @Test(arguments: [1, 3, 64])
    func `has what it gave aborted, whether it is with the controller or waits`(requestCount: Int) throws {
        var soft = SoftController.Options()
        soft.namespaces = [SoftNamespaceOptions(blockCount: 4096)]
        // 8 KiB in a command.
        soft.transferPageShift = 1
        try simulateSoft(options: soft) { local, soft in
            var options = NVMeController.Options()
            options.queueEntryCount = 3
            options.requestCount = requestCount
            let controller = try await soft.attach(on: local.reactor, options: options)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[0]
            await soft.setLatency(.seconds(20) ... .seconds(20))
            let (code, elapsed) = try await Self.cancel(local, pair, namespace)
            #expect(code == .aborted)
            #expect(elapsed < .milliseconds(250))
            // The pair is as good as before.
            await soft.setLatency(.zero ... .zero)
            var buffer = await local.buffer(byteCount: 65_536)
            try await pair.read(namespace, at: 0, into: &buffer)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `waits for what the controller does not abort`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            await soft.setLatency(.seconds(1) ... .seconds(1))
            await soft.ignoreAborts()
            let (code, elapsed) = try await Self.cancel(local, pair, await controller.namespaces[0])
            #expect(code == nil)
            #expect(elapsed >= .seconds(1))
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
