import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("What operators do to a controller")
struct AdministrationTests {
    private static func code(_ body: () async throws -> Void) async -> NVMeError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? NVMeError)?.code
        }
    }

    @Test(arguments: [4, 4096, 150_000])
    func `new firmware is given in pieces, and used when it is asked for`(byteCount: Int) throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            var image: [UInt8] = Array("2.0".utf8) + [0]
            image += (4..<byteCount).map { UInt8(truncatingIfNeeded: $0) }
            if byteCount > 8 { image.replaceSubrange(4..<8, with: [0, 0, 0, 0]) }
            #expect(try await controller.updateFirmware(image, slot: 2, action: .storeAndActivateAtReset))
            #expect(await controller.identity.firmwareRevision == "1.0")
            try await controller.reset()
            #expect(await controller.identity.firmwareRevision == "2.0")
            #expect(try await !controller.commitFirmware(slot: 1, action: .activate))
            try await controller.reset()
            #expect(await controller.identity.firmwareRevision == "1.0")
            for (image, slot) in [([1, 2, 3], 1), ([], 1), ([1, 2, 3, 4], 8)] as [([UInt8], Int)] {
                let code = await Self.code { try await controller.updateFirmware(image, slot: slot, action: .store) }
                #expect(code == .invalidArgument)
            }
            let code = await Self.code { try await controller.commitFirmware(slot: 7, action: .activate) }
            #expect(code == .commandFailed)
            await controller.detach()
        }
    }

    @Test func `a format changes the blocks and loses the data`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: 4096)
            buffer.fill(with: 7)
            try await pair.write(await controller.namespaces[0], at: 0, from: buffer)
            try await controller.format(1, formatIndex: 2, erase: .userData)
            let formatted = await controller.namespaces[0]
            #expect(formatted.blockByteCount == 4096)
            #expect(formatted.blockCount == 512)
            try await pair.read(formatted, at: 0, into: &buffer)
            let isEmpty = buffer.copied().allSatisfy { $0 == 0 }
            #expect(isEmpty)
            let code = await Self.code { try await controller.format(1, formatIndex: 9) }
            #expect(code == .invalidArgument)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `namespaces are made, attached, detached and deleted`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let id = try await controller.createNamespace(NamespaceSpecification(blockCount: 2048, formatIndex: 1))
            #expect(id == 3)
            #expect(await controller.namespaces.map(\.id) == [1, 2])
            try await controller.attach(namespace: id)
            #expect(await controller.namespaces.map(\.id) == [1, 2, 3])
            #expect(await controller.namespaces[2].blockCount == 2048)
            #expect(await Self.code { try await controller.attach(namespace: id) } == .commandFailed)
            try await controller.detach(namespace: 1)
            #expect(await controller.namespaces.map(\.id) == [2, 3])
            try await controller.attach(namespace: 1)
            try await controller.deleteNamespace(id)
            #expect(await controller.namespaces.map(\.id) == [1, 2])
            #expect(await Self.code { try await controller.deleteNamespace(id) } == .commandFailed)
            await controller.detach()
        }
    }

    @Test func `a sanitize leaves nothing, and a self-test is begun and ended`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), namespace = await controller.namespaces[0]
            var buffer = await local.buffer(byteCount: 512)
            buffer.fill(with: 7)
            try await pair.write(namespace, at: 9, from: buffer)
            try await controller.sanitize(.blockErase)
            try await pair.read(namespace, at: 9, into: &buffer)
            let isEmpty = buffer.copied().allSatisfy { $0 == 0 }
            #expect(isEmpty)
            try await controller.startSelfTest(.extended)
            #expect(try await controller.logPage(6, byteCount: 4)[0] == 2)
            try await controller.abortSelfTest()
            #expect(try await controller.logPage(6, byteCount: 4)[0] == 0)
            let code = await Self.code { try await controller.sanitize(.overwrite, overwriteCount: 17) }
            #expect(code == .invalidArgument)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `a controller that wants signs of life gets them, after a reset too`() throws {
        var soft = SoftController.Options()
        soft.namespaces = [SoftNamespaceOptions(blockCount: 64)]
        soft.keepAliveGranularity = 1
        try simulateSoft(options: soft) { local, soft in
            var options = NVMeController.Options()
            options.keepAliveTimeout = .milliseconds(200)
            let controller = try await soft.attach(on: local.reactor, options: options)
            let resets = ReactorConfined(Counter())
            await controller.onEvent { if $0 == .resetBegan { resets.value.count += 1 } }
            try await local.sleep(for: .milliseconds(500))
            #expect(resets.value.count == 0)
            try await controller.reset()
            try await local.sleep(for: .milliseconds(500))
            // But for the one that was asked for.
            #expect(resets.value.count == 1)
            await controller.detach()
        }
    }

    private final class Counter { var count = 0 }

    @Test func `a command is given again after as long as the controller says`() throws {
        var soft = SoftController.Options()
        soft.namespaces = [SoftNamespaceOptions(blockCount: 64)]
        soft.retryDelays = [4, 2, 0]
        try simulateSoft(options: soft) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller), namespace = await controller.namespaces[0]
            let clock = local.loop.clock, confined = ReactorConfined(pair), reactor = local.reactor
            for (delay, expected) in [(1, 4), (2, 2), (0, 1)] as [(UInt16, Int64)] {
                let status = NVMeStatus(rawValue: NVMeStatus.namespaceNotReady.rawValue | delay << 11)
                await soft.fail(IOOpcode.read, count: 1, with: status)
                let start = clock.now()
                let task = Task(executorPreference: reactor.taskExecutor) {
                    try await reactor.run { local in
                        var buffer = await local.buffer(byteCount: 512)
                        try await confined.value.read(namespace, at: 0, into: &buffer)
                    }
                }
                repeat { try await local.sleep(for: .milliseconds(1)) } while pair.outstanding > 0
                try await task.value
                let elapsed = clock.duration(ticks: clock.now() &- start)
                #expect(elapsed > .milliseconds(100 * (expected - 1)) && elapsed < .milliseconds(100 * (expected + 2)))
            }
            #expect(await soft.namesRetryDelays)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
