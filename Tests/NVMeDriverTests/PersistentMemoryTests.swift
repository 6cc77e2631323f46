import NVMeSoftController
import Reactors
import Testing

@testable import NVMeDriver

@Suite("Persistent memory of a controller")
struct PersistentMemoryTests {
    private static func soft(status: UInt32 = 0) -> SoftController.Options {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 64)]
        options.persistentMemory = (0..<8192).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        options.persistentMemoryStatus = status
        return options
    }

    @Test func `can be read`() throws {
        try simulateSoft(options: Self.soft()) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let memory = try await controller.persistentMemory()
            #expect(memory.byteCount == 8192)
            var buffer = await local.buffer(byteCount: 1000)
            memory.read(from: 5000, into: &buffer)
            #expect(buffer.copied() == (5000..<6000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            await controller.detach()
        }
    }

    @Test(arguments: [
        (UInt32(3), "reports error 3"), (1 << 9, "could not be restored"), (3 << 9, "has become unreliable"),
        (7 << 9, "is in a state that the specification does not name"),
    ])
    func `is refused when it cannot be relied on`(status: UInt32, what: String) throws {
        try simulateSoft(options: Self.soft(status: status)) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let error = await #expect(throws: NVMeError.self) { _ = try await controller.persistentMemory() }
            #expect(error?.code == .controllerFailed)
            #expect(error?.message.contains(what) == true)
            await controller.detach()
        }
    }

    @Test func `can be read when it cannot be written`() throws {
        try simulateSoft(options: Self.soft(status: 2 << 9)) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            #expect(try await controller.persistentMemory().byteCount == 8192)
            await controller.detach()
        }
    }

    @Test func `that never becomes ready is waited for as long as the controller says`() throws {
        try simulateSoft(options: Self.soft(status: 1 << 8)) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let start = local.now
            let error = await #expect(throws: NVMeError.self) { _ = try await controller.persistentMemory() }
            #expect(error?.code == .timedOut)
            #expect(start.duration(to: local.now) >= .milliseconds(500))
            await controller.detach()
        }
    }

    @Test func `is missing where the controller has none`() throws {
        try simulateSoft { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let error = await #expect(throws: NVMeError.self) { _ = try await controller.persistentMemory() }
            #expect(error?.code == .notSupported)
            await controller.detach()
        }
    }
}
