import Foundation
import NVMeDriver
import Reactors
import Testing

/// Writes at depth 16 until the controller is removed, which `remove` has somebody do as soon as some have ended, and
/// waits for all. What they failed with.
func writeUntilRemoved(
    _ controller: NVMeController, on local: isolated LocalReactor, _ remove: () throws -> Void
) async throws -> [NVMeStatus] {
    let pair = try await local.makeQueuePair(of: controller)
    let namespace = try #require(await controller.namespaces.first)
    let commands = Commands()
    pair.add(commands)
    var buffer = await local.buffer(byteCount: 4096)
    buffer.fillPattern(1)
    var given = 0, isAsked = false
    for _ in 0..<3000 {
        if await controller.state != .ready { break }
        // Once it has shown that it works.
        if commands.ended.count >= 32, !isAsked {
            isAsked = true
            try remove()
        }
        while given - commands.ended.count < 16 {
            let command = namespace.command(IOOpcode.write, at: UInt64(given % 4096), count: 8)
            if !pair.submit(command, data: buffer.memory, client: commands, token: UInt64(given)) { break }
            given += 1
        }
        try await local.sleep(for: .milliseconds(10))
    }
    #expect(await controller.state == .removed)
    try await commands.wait(for: given, on: local)
    #expect(given > 32)
    let failures = commands.failures
    pair.remove(commands)
    await local.close(pair, of: controller)
    return failures
}

extension GuestTests {
    /// Of a drive that nobody else uses: it is gone afterwards.
    @Test func `a drive that is unplugged while it works is removed, and no command is lost`() async throws {
        let address = try Guest.address("pluggable")
        try await onReactor { local, _ in
            let controller = try await NVMeController.attach(pciAddress: address, on: local.reactor)
            let failures = try await writeUntilRemoved(controller, on: local) {
                try Guest.monitor(#"{"execute":"device_del","arguments":{"id":"pluggable"}}"#)
            }
            let others = failures.filter { !$0.matches(.abortedBySubmissionQueueDeletion) }
            #expect(others.isEmpty, "\(others)")
            await controller.detach()
        }
        // The kernel waits for the device to be given back, and lets it go then.
        for _ in 0..<100 where PCIFunction(address) != nil { try Guest.shell("sleep 0.1") }
        #expect(PCIFunction(address) == nil)
    }
}

extension Guest {
    /// Tells QEMU something, through its monitor.
    static func monitor(_ command: String) throws {
        let port = try #require(ProcessInfo.processInfo.environment["BDEV_GUEST_QMP"])
        let handle = try #require(FileHandle(forUpdatingAtPath: port))
        for line in [#"{"execute":"qmp_capabilities"}"#, command] {
            try handle.write(contentsOf: Data((line + "\n").utf8))
        }
        try handle.close()
    }
}
