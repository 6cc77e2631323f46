import NVMeSoftController
import Reactors
import Testing

@testable import NVMeDriver

@Suite("The controller's own memory")
struct ControllerMemoryTests {
    private static func soft(byteCount: Int) -> SoftController.Options {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 4096)]
        options.memoryBufferByteCount = byteCount
        return options
    }

    private static var driver: NVMeController.Options {
        var options = NVMeController.Options()
        options.queueEntryCount = 64
        options.usesControllerMemory = true
        return options
    }

    @Test func `has as many submission queues as fit, and the host's the others`() throws {
        try simulateSoft(options: Self.soft(byteCount: 3 * 4096)) { local, soft in
            let controller = try await soft.attach(on: local.reactor, options: Self.driver)
            let start = try #require(await controller.controllerMemory?.start)
            var pairs: [NVMeQueuePair] = []
            for _ in 0..<5 { pairs.append(try await local.makeQueuePair(of: controller)) }
            let places = pairs.map(\.memory.submissionAddress)
            #expect(Array(places.prefix(3)) == [start, start + 4096, start + 8192])
            for place in places.dropFirst(3) { #expect(place < start || place >= start + 3 * 4096) }
            let namespace = try #require(await controller.namespaces.first)
            for round in 0..<3 {
                // More commands than a queue has entries, over its end.
                for (index, pair) in pairs.enumerated() {
                    for block in 0..<100 {
                        var buffer = await local.buffer(byteCount: 512)
                        buffer.fill(with: UInt8(truncatingIfNeeded: round &* 31 &+ index &* 7 &+ block))
                        try await pair.write(namespace, at: UInt64(index * 100 + block), from: buffer)
                    }
                }
                // A reset makes the controller forget where its memory lies.
                if round == 1 { try await controller.reset() }
                for (index, pair) in pairs.reversed().enumerated() {
                    var buffer = await local.buffer(byteCount: 512)
                    try await pair.read(namespace, at: UInt64((4 - index) * 100 + 99), into: &buffer)
                    let byte: UInt8 = buffer.load(at: 511)
                    #expect(byte == UInt8(truncatingIfNeeded: round &* 31 &+ (4 - index) &* 7 &+ 99))
                }
            }
            for pair in pairs { await local.close(pair, of: controller) }
            await controller.detach()
        }
    }

    @Test func `is used again by the next queue of its place, and by who attaches next`() throws {
        try simulateSoft(options: Self.soft(byteCount: 4096)) { local, soft in
            for _ in 0..<3 {
                let controller = try await soft.attach(on: local.reactor, options: Self.driver)
                let namespace = try #require(await controller.namespaces.first)
                for _ in 0..<3 {
                    let pair = try await local.makeQueuePair(of: controller)
                    #expect(await pair.memory.submissionAddress == controller.controllerMemory?.start)
                    var buffer = await local.buffer(byteCount: 512)
                    try await pair.read(namespace, at: 0, into: &buffer)
                    await local.close(pair, of: controller)
                }
                await controller.detach()
            }
        }
    }

    @Test(arguments: [(true, 0), (false, 4096)])
    func `is left alone where there is none, and where nobody asks for it`(asks: Bool, byteCount: Int) throws {
        try simulateSoft(options: Self.soft(byteCount: byteCount)) { local, soft in
            var options = Self.driver
            options.usesControllerMemory = asks
            let controller = try await soft.attach(on: local.reactor, options: options)
            #expect(await controller.controllerMemory == nil)
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: 512)
            try await pair.read(try #require(await controller.namespaces.first), at: 0, into: &buffer)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
