import NVMeSoftController
import Reactors
import SimulatedReactors
import Testing

@testable import NVMeDriver

@Suite("A controller")
struct ControllerTests {
    @Test func `is brought up, says what it is, and is given back`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            #expect(await controller.state == .ready)
            #expect(await controller.identity.serialNumber == "SOFT0")
            let namespaces = await controller.namespaces
            #expect(namespaces.map(\.id) == [1, 2])
            #expect(namespaces.map(\.blockCount) == [4096, 1024])
            #expect(namespaces.map(\.blockByteCount) == [512, 4096])
            await controller.detach()
            #expect(await controller.state == .detached)
        }
    }

    @Test func `reads back what was written`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = await controller.namespaces[1]
            var written = await local.buffer(byteCount: 8192), found = await local.buffer(byteCount: 8192)
            for index in 0..<1024 { written.store(UInt64(index) &* 0x9E37_79B9_7F4A_7C15, at: 8 * index) }
            found.fill(with: 0)
            try await pair.write(namespace, at: 7, from: written)
            try await pair.read(namespace, at: 7, into: &found)
            let isSame = found.contentEquals(written)
            #expect(isSame)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    @Test func `memory keeps nothing of controllers that came and went`() throws {
        try simulateSoft { local, soft in
            var buffer = await local.buffer(byteCount: 512)
            let region = try #require(MemoryRegion.find(arena: buffer.memory.arena))
            for _ in 0..<3 {
                let controller = try await soft.attach(on: local.reactor)
                let pair = try await local.makeQueuePair(of: controller)
                try await pair.read(await controller.namespaces[0], at: 0, into: &buffer)
                #expect(region.pinCount == 1)
                await local.close(pair, of: controller)
                await controller.detach()
                #expect(region.pinCount == 0)
            }
        }
    }

    @Test func `is off when it has been detached, though it never said that it had shut down`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            await soft.ignoreShutdown()
            let start = local.now
            await controller.detach()
            #expect(start.duration(to: local.now) < .seconds(10))
            #expect(controller.transport.registers.load32(RegisterOffset.configuration) & 1 == 0)
        }
    }
}
