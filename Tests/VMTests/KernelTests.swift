import Foundation
import NVMeDriver
import Reactors
import Testing

extension GuestTests {
    /// The block device that the kernel's own driver makes of a drive, while `body` runs.
    func withKernelDriver(_ drive: String, _ body: (PCIFunction, String) async throws -> Void) async throws {
        try Guest.shell("modprobe nvme")
        let address = try Guest.address(drive)
        try #require(PCIFunction(address)).bindToKernel()
        var function = try #require(PCIFunction(address))
        for _ in 0..<100 where function.blockDevices.isEmpty {
            try Guest.shell("sleep 0.1")
            function = try #require(PCIFunction(address))
        }
        #expect(function.driver == "nvme")
        let device = try #require(function.blockDevices.first, "the kernel made no block device of \(address)")
        do {
            try await body(function, "/dev/" + device)
        } catch {
            try function.bindToVFIO(force: true)
            throw error
        }
        try function.bindToVFIO(force: true)
    }

    /// Of blocks with protection information, what is read has been checked by the controller, for this driver with
    /// the tags that the kernel has written.
    @Test(arguments: ["plain", "large", "protected1", "protected64"])
    func `what this driver writes the kernel reads, and the reverse`(drive: String) async throws {
        let options: NVMeQueuePair.BlockOptions = [.protectionAction, .checksGuard, .checksReferenceTag]
        let size = 1 << 18
        let expected = try await pattern(11, size)
        try await withController(drive) { local, controller in
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: size)
            buffer.fillPattern(11)
            let namespace = try #require(await controller.namespaces.first)
            try await pair.write(
                namespace, at: UInt64((1 << 20) / namespace.blockByteCount), from: buffer, options: options)
            await local.close(pair, of: controller)
        }
        let reverse = try await pattern(12, size)
        try await withKernelDriver(drive) { _, device in
            // No more than was written: the kernel checks it.
            let found = try Guest.shell(
                "dd if=\(device) bs=\(size) skip=\((1 << 20) / size) count=1 iflag=direct status=none")
            let isSame = found.output == expected
            #expect(isSame, "\(found.output.count) bytes of \(device)")
            try reverse.write(to: URL(fileURLWithPath: "/tmp/reverse"))
            let written = try Guest.shell(
                "dd if=/tmp/reverse of=\(device) bs=64k seek=32 oflag=direct conv=fsync status=none")
            #expect(written.status == 0)
        }
        try await withController(drive) { local, controller in
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: size)
            let namespace = try #require(await controller.namespaces.first)
            try await pair.read(
                namespace, at: UInt64((2 << 20) / namespace.blockByteCount), into: &buffer, options: options)
            let isSame = Data(buffer.copied()) == reverse
            #expect(isSame)
            await local.close(pair, of: controller)
        }
    }

    func pattern(_ seed: UInt64, _ byteCount: Int) async throws -> Data {
        let result = ReactorValue<Data>()
        try await onReactor { local, _ in
            var buffer = await local.buffer(byteCount: byteCount)
            buffer.fillPattern(seed)
            result.value = Data(buffer.copied())
        }
        return try #require(result.value)
    }

    @Test func `nvme-cli reads the same identity`() async throws {
        let ours = ReactorValue<(controller: [UInt8], namespace: [UInt8], serial: String)>()
        try await withController("large") { _, controller in
            ours.value = try await (
                controller.identify(1), controller.identify(0, namespaceID: 1), controller.identity.serialNumber
            )
        }
        let mine = try #require(ours.value)
        try await withKernelDriver("large") { _, device in
            let controller = String(device.dropLast(2))
            let first = try Guest.shell("nvme id-ctrl \(controller) --raw-binary").output
            #expect([UInt8](first) == mine.controller, "\(first.count) bytes")
            let second = try Guest.shell("nvme id-ns \(device) --raw-binary").output
            #expect([UInt8](second) == mine.namespace, "\(second.count) bytes")
            #expect(mine.serial == "large")
        }
    }

    /// Error information, health, firmware slots, commands supported: 1, 2, 3, 5.
    @Test(arguments: [(1, 64), (2, 512), (3, 512), (5, 4096)])
    func `nvme-cli reads the same log pages`(id: Int, byteCount: Int) async throws {
        let ours = ReactorValue<[UInt8]>()
        try await withController("large") { _, controller in
            ours.value = try await controller.logPage(UInt8(id), byteCount: byteCount)
        }
        var mine = try #require(ours.value)
        try await withKernelDriver("large") { _, device in
            let controller = String(device.dropLast(2))
            let command = "nvme get-log \(controller) --log-id=\(id) --log-len=\(byteCount) --raw-binary"
            var theirs = try [UInt8](Guest.shell(command).output)
            #expect(theirs.count == byteCount)
            // The counters go on: bytes 32 to 191 of the health page.
            if id == 2, theirs.count == byteCount {
                theirs.replaceSubrange(32..<192, with: repeatElement(0, count: 160))
                mine.replaceSubrange(32..<192, with: repeatElement(0, count: 160))
            }
            #expect(theirs == mine)
        }
    }

    @Test func `a drive that is in use or carries data is not taken without force`() async throws {
        try await withKernelDriver("faulty") { function, device in
            func refusal() -> NVMeError? {
                do throws(NVMeError) {
                    try function.bindToVFIO()
                    return nil
                } catch {
                    return error
                }
            }
            try #require(Guest.shell("mkfs.ext4 -q \(device) && mkdir -p /mnt && mount \(device) /mnt").status == 0)
            var error = try #require(refusal())
            #expect(error.code == .unsafeDevice)
            #expect(error.description.contains("\(device) is mounted on /mnt"), "\(error)")
            try #require(Guest.shell("umount /mnt").status == 0)
            error = try #require(refusal())
            #expect(error.code == .unsafeDevice)
            #expect(error.description.contains("ext4"), "\(error)")
            #expect(PCIFunction(function.address)?.driver == "nvme")
            try #require(Guest.shell("wipefs -aq \(device)").status == 0)
            #expect(refusal() == nil)
            #expect(PCIFunction(function.address)?.isHandedOut == true)
        }
    }

    @Test func `a drive that the kernel drives is not opened`() async throws {
        try await withKernelDriver("faulty") { function, device in
            let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(function.address) }
            #expect(error?.code == .inUse)
            #expect(error?.description.contains("driver nvme") == true)
        }
    }
}

/// Carries something out of a closure that runs on a reactor, which has ended before it is looked at.
final class ReactorValue<Value>: @unchecked Sendable {
    // SAFETY: written by one task, read after that has ended.
    var value: Value?
}
