import Bdev
import BdevConfiguration
import Foundation
import NVMeBdev
import NVMeDriver
import Reactors
import Synchronization
import TestSupport
import Testing

/// The kernel's driver keeps the drives.
extension GuestTests {
    private func attach(_ address: String) -> String {
        #"{"method": "bdev_nvme_attach_controller", "params": {"name": "Nvme0", "trtype": "PCIe", "#
            + #""traddr": "\#(address)"}}"#
    }

    /// Runs `body` with a controller reached through the kernel's driver.
    private func withPassThrough(
        _ address: String, options: NVMeController.Options = .init(),
        _ body: @escaping @Sendable (isolated LocalReactor, NVMeController) async throws -> Void
    ) async throws {
        let address = try #require(NVMeAddress(address))
        try await onReactor { local, _ in
            let controller = try await NVMeController.attach(at: address, on: local.reactor, options: options)
            #expect(controller.access.way == .passThrough)
            do {
                try await body(local, controller)
            } catch {
                await controller.detach()
                throw error
            }
            await controller.detach()
        }
    }

    // MARK: Bdevs

    @Test(arguments: ["plain", "large", "separate", "protected1", "protected64", "small"])
    func `a bdev of what the kernel's driver keeps passes the conformance suite`(drive: String) async throws {
        let call = try attach("\(Guest.address(drive))")
        try await withKernelDriver(drive) { _, _ in
            let notices = Notices()
            let module = NVMeModule(logger: notices.logger)
            try await withEngine(drive, [call], nvme: module) { engine, modules in
                try await conformance(engine)
                let controller = try #require(try await modules.nvme.controllers().first)
                #expect(controller.state == "enabled")
                #expect(controller.access?.way == .passThrough)
                #expect(controller.access?.reason == "the kernel's driver nvme has the device")
            }
            let told = notices.all.filter { $0.contains("pass-through, since the kernel's driver nvme has the device") }
            #expect(told.count == 1, "\(notices.all)")
        }
    }

    @Test func `a bdev of the kernel's block device passes the conformance suite, and is told of`() async throws {
        let address = try Guest.address("plain")
        try await withKernelDriver("plain") { _, _ in
            try await withEngine("plain", []) { engine, modules in
                let place = NVMeAddress(address)
                let choice = try AccessChoice.make(place, in: SystemTree(root: "/")) { _, _ in "the test says so" }
                let names = try await modules.nvme.attachBlocks("Nvme0", choice, at: place, .init())
                #expect(names == ["Nvme0n1"])
                try await conformance(engine)
                let controller = try #require(try await modules.nvme.controllers(named: "Nvme0").first)
                #expect(controller.address == "\(address)")
                #expect(controller.access?.way == .blockDevice)
                #expect(controller.access?.reason?.hasSuffix(", and the test says so") == true)
                let error = await #expect(throws: BdevError.self) { try await modules.nvme.reset("Nvme0") }
                #expect(error?.code == .notSupported)
                try await modules.nvme.detach("Nvme0")
                #expect(await engine.list().isEmpty)
                #expect(try await modules.nvme.controllers().isEmpty)
            }
        }
    }

    @Test func `I/O goes on after a reset of a controller that the kernel keeps`() async throws {
        let call = try attach("\(Guest.address("plain"))")
        try await withKernelDriver("plain") { _, _ in
            try await withEngine("plain", [call]) { engine, modules in
                try await engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                    try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                        var data = try channel.allocateBuffer(byteCount: 4096)
                        data.fill(with: 0x5A)
                        try await channel.write(from: data, at: .block(8))
                        try await modules.nvme.reset("Nvme0")
                        data.fill(with: 0)
                        try await channel.read(at: .block(8), into: &data)
                        let byte: UInt8 = data.load(at: 4095)
                        #expect(byte == 0x5A)
                    }
                }
                try await conformance(engine)
            }
            let log = try String(decoding: Guest.shell("dmesg").output, as: UTF8.self)
            #expect(log.contains("resetting controller") || log.contains("default/read/poll queues"))
        }
    }

    // MARK: The driver

    @Test(arguments: ["plain", "large"])
    func `what is written through the kernel's commands its block device reads, and the reverse`(
        drive: String
    ) async throws {
        let size = 1 << 18, expected = try await pattern(21, size), reverse = try await pattern(22, size)
        try await withKernelDriver(drive) { function, device in
            try reverse.write(to: URL(fileURLWithPath: "/tmp/reverse"))
            try Guest.shell("dd if=/tmp/reverse of=\(device) bs=64k seek=32 oflag=direct conv=fsync status=none")
            try await withPassThrough(device.replacing("nvme", with: "ng")) { local, controller in
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                var buffer = await local.buffer(byteCount: size)
                buffer.fillPattern(21)
                try await pair.write(namespace, at: UInt64((1 << 20) / namespace.blockByteCount), from: buffer)
                try await pair.read(namespace, at: UInt64((2 << 20) / namespace.blockByteCount), into: &buffer)
                #expect(Data(buffer.copied()) == reverse)
                // The kernel keeps the pages of what the ring has registered.
                let status = try Guest.shell("awk '/VmPin/ { print $2 }' /proc/$PPID/status").output
                let pinned = Int(String(decoding: status, as: UTF8.self).dropLast()) ?? 0
                #expect(pinned >= 256, "\(pinned) KiB of the process are registered")
                await local.close(pair, of: controller)
            }
            let found = try Guest.shell(
                "dd if=\(device) bs=1M skip=1 count=1 iflag=direct status=none | head -c \(size)")
            #expect(found.output == expected, "\(found.output.count) bytes of \(device)")
            #expect(function.driver == "nvme")
        }
    }

    @Test func `a controller says the same of itself through the kernel's driver as directly`() async throws {
        typealias Identity = (controller: [UInt8], namespace: [UInt8], list: [UInt8], name: String)
        let direct = ReactorValue<Identity>(), passed = ReactorValue<Identity>()
        @Sendable func look(_ controller: NVMeController) async throws -> Identity {
            try await (
                controller.identify(1), controller.identify(0, namespaceID: 1), controller.identify(2),
                "\(controller.version) \(controller.namespaces)"
            )
        }
        try await withController("separate") { _, controller in direct.value = try await look(controller) }
        let address = try Guest.address("separate")
        try await withKernelDriver("separate") { _, _ in
            try await withPassThrough("\(address)") { _, controller in passed.value = try await look(controller) }
        }
        var mine = try #require(direct.value)
        let theirs = try #require(passed.value)
        // FUSES: the kernel takes no fused commands.
        mine.controller.replaceSubrange(522..<524, with: [0, 0])
        #expect(mine.controller == theirs.controller)
        #expect(mine.namespace == theirs.namespace)
        #expect(mine.list == theirs.list)
        #expect(theirs.name.hasPrefix(mine.name.split(separator: " ")[0]))
    }

    @Test func `errors are the controller's own, by their names`() async throws {
        let address = try Guest.address("bad")
        try await withKernelDriver("bad") { _, _ in
            try await withPassThrough("\(address)") { local, controller in
                let pair = try await local.makeQueuePair(of: controller), commands = Commands()
                pair.add(commands)
                let namespace = try #require(await controller.namespaces.first)
                let buffer = await local.buffer(byteCount: 4096)
                let beyond = namespace.command(IOOpcode.read, at: namespace.blockCount, count: 8)
                pair.submit(beyond, data: buffer.memory, client: commands, token: 1)
                let unreadable = namespace.command(IOOpcode.read, at: 2048, count: 8)
                pair.submit(unreadable, data: buffer.memory, client: commands, token: 2)
                var missing = beyond
                missing.namespaceID = 77
                pair.submit(missing, data: buffer.memory, client: commands, token: 3)
                var fused = namespace.command(IOOpcode.compare, at: 0, count: 8)
                fused.fusion = .first
                pair.submit(fused, data: buffer.memory, client: commands, token: 4)
                try await commands.wait(for: 4, on: local)
                let names = commands.ended.sorted { $0.key < $1.key }.map(\.value.status.description)
                #expect(names[0].hasPrefix("LBA out of range"), "\(names)")
                #expect(names[1].contains("read error"), "\(names)")
                #expect(names[2].hasPrefix("invalid namespace or format"), "\(names)")
                #expect(names[3].hasPrefix("invalid field in command"), "\(names)")
                pair.remove(commands)
                await local.close(pair, of: controller)
            }
        }
    }

    @Test func `scattered data at any byte goes through, and full queues keep order`() async throws {
        let address = try Guest.address("plain")
        try await withKernelDriver("plain") { _, _ in
            var options = NVMeController.Options()
            options.queueEntryCount = 8
            options.requestCount = 16
            try await withPassThrough("\(address)", options: options) { local, controller in
                let pair = try await local.makeQueuePair(of: controller), commands = Commands()
                pair.add(commands)
                let namespace = try #require(await controller.namespaces.first)
                var written = await local.buffer(byteCount: 65_536)
                var found = await local.buffer(byteCount: 65_536)
                written.fillPattern(31)
                found.fill(with: 0)
                // Pieces of odd lengths, at odd places.
                let cuts = [0, 512, 1037, 4096, 9001, 9002, 20_000, 32_768]
                let pieces = zip(cuts, cuts.dropFirst()).map { written.memory.slice(from: $0, count: $1 - $0) }
                pair.submit(
                    namespace.command(IOOpcode.write, at: 128, count: 64), segments: pieces, client: commands, token: 0)
                try await commands.wait(for: 1, on: local)
                for index in 0..<15 {
                    let read = namespace.command(IOOpcode.read, at: 128 + UInt64(index * 4), count: 4)
                    let place = found.memory.slice(from: index * 2048, count: 2048)
                    #expect(pair.submit(read, data: place, client: commands, token: UInt64(index + 1)))
                }
                try await commands.wait(for: 16, on: local)
                #expect(commands.failures.isEmpty, "\(commands.failures)")
                #expect(found.copied()[..<30_720] == written.copied()[..<30_720])
                pair.remove(commands)
                await local.close(pair, of: controller)
            }
        }
    }

    @Test func `a reset by the kernel under load answers every command once`() async throws {
        let address = try Guest.address("plain")
        try await withKernelDriver("plain") { _, _ in
            try await withPassThrough("\(address)") { local, controller in
                try await resetUnderLoad(controller, on: local)
            }
        }
    }

    @Test func `a reactor sleeps while the kernel works, and is woken`() async throws {
        let address = try Guest.address("slow")
        try await withKernelDriver("slow") { _, _ in
            let polls = Mutex<[UInt64]>([])
            for usesInterrupts in [false, true] {
                var options = NVMeController.Options()
                options.usesInterrupts = usesInterrupts
                try await withPassThrough("\(address)", options: options) { local, controller in
                    let pair = try await local.makeQueuePair(of: controller)
                    let namespace = try #require(await controller.namespaces.first)
                    var buffer = await local.buffer(byteCount: 65_536)
                    let before = pair.statistics.polls
                    for _ in 0..<10 { try await pair.read(namespace, at: 0, into: &buffer) }
                    let count = pair.statistics.polls - before
                    polls.withLock { $0.append(count) }
                    await local.close(pair, of: controller)
                }
            }
            let counts = polls.withLock { $0 }
            #expect(counts[1] < counts[0] / 4, "for 10 reads: \(counts[0]) polls, and \(counts[1]) with events")
        }
    }

    @Test func `polled queues of the kernel's driver are used where there are any`() async throws {
        try Guest.shell("modprobe -r nvme; modprobe nvme poll_queues=1")
        let address = try Guest.address("plain")
        try await withKernelDriver("plain") { function, device in
            let shown = try Guest.shell("cat /sys/class/block/\(device.dropFirst(5))/queue/io_poll").output
            #expect(String(decoding: shown, as: UTF8.self) == "1\n")
            try await withPassThrough("\(address)") { local, controller in
                try await exercise(controller, on: local.reactor, seed: 41)
            }
        }
        try Guest.shell("modprobe -r nvme; modprobe nvme")
    }

    // MARK: Others who use the drive

    @Test func `a namespace that is mounted can be read only, and one that is used cannot be mounted`() async throws {
        let address = try Guest.address("faulty")
        try await withKernelDriver("faulty") { _, device in
            try #require(Guest.shell("mkfs.ext4 -q \(device) && mkdir -p /mnt && mount \(device) /mnt").status == 0)
            let notices = Notices()
            var options = NVMeController.Options()
            options.logger = notices.logger
            try await withPassThrough("\(address)", options: options) { local, controller in
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                var buffer = await local.buffer(byteCount: 4096)
                try await pair.read(namespace, at: 2, into: &buffer)
                // The magic number of ext4's superblock.
                let magic: UInt16 = buffer.load(at: 0x38)
                #expect(magic == 0xEF53)
                do {
                    try await pair.write(namespace, at: 0, from: buffer)
                    Issue.record("a mounted namespace has been written")
                } catch { #expect("\(error)".contains("operation denied"), "\(error)") }
                do {
                    try await controller.format(1, formatIndex: 0)
                    Issue.record("a mounted namespace has been formatted")
                } catch { #expect("\(error)".contains("operation denied"), "\(error)") }
                await local.close(pair, of: controller)
            }
            #expect(controllerSays(notices, "is in use: namespace 1 can only be read"))
            #expect(controllerSays(notices, "is mounted on /mnt"))
            try #require(Guest.shell("umount /mnt").status == 0)
            try await withPassThrough("\(address)") { local, controller in
                #expect(try Guest.shell("mount \(device) /mnt 2>&1").status != 0)
                try await exercise(controller, on: local.reactor, seed: 42)
            }
            try #require(Guest.shell("wipefs -aq \(device)").status == 0)
        }
    }

    private func controllerSays(_ notices: Notices, _ text: String) -> Bool {
        notices.all.contains { $0.contains(text) }
    }

    @Test func `what others change about a namespace is seen, and its bdev is made anew`() async throws {
        let call = try attach("\(Guest.address("plain"))")
        try await withKernelDriver("plain") { _, device in
            let controller = device.dropLast(2)
            try await withEngine("plain", [call]) { engine, _ in
                await engine.waitForExamine()
                // Formats 4 and 0 of QEMU's namespaces.
                for (format, size) in [(4, 4096), (0, 512)] {
                    let result = try Guest.shell("nvme format \(controller) -n 1 -l \(format) --force 2>&1")
                    try #require(result.status == 0, "\(String(decoding: result.output, as: UTF8.self))")
                    for _ in 0..<200 {
                        if await engine.list().first?.geometry.blockByteCount == size { break }
                        try await engine.reactors[0].run { local in try await local.sleep(for: .milliseconds(50)) }
                    }
                    #expect(await engine.list().map(\.geometry.blockByteCount) == [size])
                }
                try await conformance(engine)
            }
        }
    }

    /// An old kernel gives a controller's shadow doorbells back after its IOMMU has, and dies of it.
    @Test(.enabled(if: Guest.isLinux62OrLater, "the kernel cannot lose a drive of QEMU's whose files are open"))
    func `a drive that goes from under the kernel's driver is removed, and no command is lost`() async throws {
        let address = try Guest.address("faulty")
        try await withKernelDriver("faulty") { _, _ in
            try await withPassThrough("\(address)") { local, controller in
                _ = try await writeUntilRemoved(controller, on: local) {
                    // The kernel waits for commands; those of this reactor end meanwhile.
                    try Guest.shell("echo 1 >/sys/bus/pci/devices/\(address)/remove &")
                }
            }
            for _ in 0..<100 where PCIFunction(address) != nil { try Guest.shell("sleep 0.1") }
            #expect(PCIFunction(address) == nil)
            try Guest.shell("echo 1 >/sys/bus/pci/rescan")
            for _ in 0..<100 where PCIFunction(address) == nil { try Guest.shell("sleep 0.1") }
        }
    }

    // MARK: Tools

    @Test func `nvme-perf and nvme-identify take what the kernel's driver has`() async throws {
        let address = try Guest.address("large")
        try await withKernelDriver("large") { _, device in
            let line = "-q 8 --number-ios 500 -w randrw --disable-cpumask-locks --output json"
            for name in ["-b \(address)", device.replacing("nvme", with: "ng")] {
                let result = try runProgram("nvme-perf \(name) \(line)")
                #expect(result.status == 0)
                let job = try #require((result.json?["jobs"] as? [[String: Any]])?.first)
                #expect(job["io_completed"] as? Int == 500)
                #expect(job["io_failed"] as? Int == 0)
            }
            let result = try runProgram("nvme-identify --json \(device.dropLast(2))")
            let controllers = try #require(result.json?["controllers"] as? [[String: Any]])
            let controller = try #require(controllers.first?["controller"] as? [String: Any])
            #expect(controller["serial"] as? String == "large")
            #expect((controller["access"] as? String)?.hasPrefix("pass-through, since a device") == true)
        }
    }
}
