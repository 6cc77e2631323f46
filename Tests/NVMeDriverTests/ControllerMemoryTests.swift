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
        options.controllerMemory = [.submissionQueues]
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

    @Test func `holds buffers, and data of commands goes there and comes from there`() throws {
        try simulateSoft(options: Self.soft(byteCount: 8 * 4096)) { local, soft in
            var options = Self.driver
            options.controllerMemory = [.data]
            let controller = try await soft.attach(on: local.reactor, options: options)
            #expect(await controller.controllerMemoryByteCount == 8 * 4096)
            let buffers = try await controller.makeBuffers(byteCount: 8192, count: 2, for: local.reactor)
            #expect(await controller.controllerMemoryByteCount == 4 * 4096)
            let pair = try await local.makeQueuePair(of: controller)
            #expect(await controller.controllerMemory?.start != pair.memory.submissionAddress)
            let namespace = try #require(await controller.namespaces.first)
            do {
                var own = buffers.allocate(on: local)!, other = buffers.allocate(on: local)!
                let hasThird = buffers.allocate(on: local) != nil
                #expect(!hasThird)
                for round in 1...2 {
                    own.fill(from: UInt64(round))
                    try await pair.write(namespace, at: 100, from: own)
                    other.fill(with: 0)
                    try await pair.read(namespace, at: 100, into: &other)
                    #expect(other.copied() == own.copied())
                    var host = await local.buffer(byteCount: 8192)
                    try await pair.read(namespace, at: 100, into: &host)
                    #expect(host.copied() == own.copied())
                    // It lies where it lay.
                    if round == 1 { try await controller.reset() }
                }
            }
            let isBack = buffers.allocate(on: local) != nil
            #expect(isBack)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `takes data from another controller without the host's memory`() throws {
        try simulateSoft(options: Self.soft(byteCount: 4096)) { local, soft in
            var options = Self.driver
            options.controllerMemory = [.data]
            let target = try await soft.attach(on: local.reactor, options: options)
            let sourceSoft = try SoftController(Self.soft(byteCount: 0), on: local)
            let source = try await sourceSoft.attach(on: local.reactor)
            let from = try await local.makeQueuePair(of: source), to = try await local.makeQueuePair(of: target)
            let namespaces = (
                try #require(await source.namespaces.first), try #require(await target.namespaces.first)
            )
            var host = await local.buffer(byteCount: 4096)
            host.fill(from: 7)
            try await from.write(namespaces.0, at: 8, from: host)
            let buffers = try await target.makeBuffers(byteCount: 4096, count: 1, for: local.reactor)
            do {
                var buffer = buffers.allocate(on: local)!
                try await from.read(namespaces.0, at: 8, into: &buffer)
                try await to.write(namespaces.1, at: 16, from: buffer)
            }
            var found = await local.buffer(byteCount: 4096)
            try await to.read(namespaces.1, at: 16, into: &found)
            #expect(found.copied() == host.copied())
            await local.close(to, of: target)
            let before = source.transport.domain.mappingCount
            await target.detach()
            // What is not there any more is out of reach for the other.
            #expect(source.transport.domain.mappingCount == before - 1)
            await local.close(from, of: source)
            await source.detach()
            await sourceSoft.powerOff()
        }
    }

    @Test func `is shared by queues and data, and refuses more than there is`() throws {
        try simulateSoft(options: Self.soft(byteCount: 3 * 4096)) { local, soft in
            var options = Self.driver
            options.controllerMemory = [.submissionQueues, .data]
            let controller = try await soft.attach(on: local.reactor, options: options)
            let first = try await local.makeQueuePair(of: controller)
            #expect(await controller.controllerMemoryByteCount == 2 * 4096)
            let error = await #expect(throws: NVMeError.self) {
                _ = try await controller.makeBuffers(byteCount: 4096, count: 3, for: local.reactor)
            }
            #expect(error?.code == .outOfMemory)
            #expect(error?.message.contains("8192 bytes left for data, not 3 times 4096") == true)
            _ = try await controller.makeBuffers(byteCount: 4096, count: 1, for: local.reactor)
            let second = try await local.makeQueuePair(of: controller)
            let third = try await local.makeQueuePair(of: controller)
            let start = try #require(await controller.controllerMemory?.start)
            #expect([first, second].map(\.memory.submissionAddress) == [start, start + 4096])
            #expect(third.memory.submissionAddress < start || third.memory.submissionAddress >= start + 3 * 4096)
            for pair in [first, second, third] { await local.close(pair, of: controller) }
            await controller.detach()
        }
    }

    @Test func `gives no buffers to who has not asked for them`() throws {
        try simulateSoft(options: Self.soft(byteCount: 4096)) { local, soft in
            let controller = try await soft.attach(on: local.reactor, options: Self.driver)
            let error = await #expect(throws: NVMeError.self) {
                _ = try await controller.makeBuffers(byteCount: 4096, count: 1, for: local.reactor)
            }
            #expect(error?.code == .notSupported)
            #expect(error?.advice == "attach it with controllerMemory = [.data]")
            await controller.detach()
        }
    }

    @Test func `stands for nothing any more to who attaches next without it`() throws {
        try simulateSoft(options: Self.soft(byteCount: 8 << 20)) { local, soft in
            for use: ControllerMemoryUse in [[.submissionQueues], []] {
                var options = NVMeController.Options()
                options.controllerMemory = use
                let controller = try await soft.attach(on: local.reactor, options: options)
                let namespace = try #require(await controller.namespaces.first)
                let pair = try await local.makeQueuePair(of: controller)
                // Of all sizes, so that the host's memory lies where the controller's was.
                for size in [4096, 65_536, 1 << 20] {
                    var written = await local.buffer(byteCount: size), found = await local.buffer(byteCount: size)
                    written.fill(from: UInt64(size))
                    try await pair.write(namespace, at: 0, from: written)
                    try await pair.read(namespace, at: 0, into: &found)
                    #expect(found.copied() == written.copied())
                }
                await local.close(pair, of: controller)
                await controller.detach()
            }
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
            options.controllerMemory = asks ? [.submissionQueues, .data] : []
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

extension IOBuffer {
    /// Words that follow each other, so that no two stretches are alike.
    fileprivate mutating func fill(from seed: UInt64) {
        for offset in stride(from: 0, to: byteCount, by: 8) { store(seed << 32 | UInt64(offset), at: offset) }
    }
}
