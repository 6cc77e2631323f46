import Foundation
import NVMeDriver
import Reactors
import SystemPackage
import Testing

extension GuestTests {
    @Test func `two processes cannot have one controller, and the second is told who has it`() async throws {
        let address = try Guest.address("plain")
        try expectInUse(address)
        let transport = try VFIOTransport(address)
        transport.domain.close()
        transport.close()
    }

    @Test func `one process cannot have one controller twice`() async throws {
        let address = try Guest.address("plain")
        try await withController("plain") { local, controller in
            let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(address) }
            #expect(error?.code == .inUse)
            #expect(error?.advice == "detach it first")
            try await exercise(controller, on: local.reactor, seed: 8)
        }
    }

    @Test func `four controllers come up side by side and work at once`() async throws {
        try await workAtOnce(["plain", "large", "extended", "buffered"])
    }

    @Test func `interrupts arrive as events`() async throws {
        let address = try Guest.address("plain")
        try await onReactor { local, _ in
            let transport = try VFIOTransport(address)
            #expect(transport.vectorCount > 2)
            let events = try transport.enableInterrupts(count: 2)
            let controller = try await NVMeController.attach(transport, on: local.reactor)
            // All admin commands so far have signalled vector 0; nothing uses the other.
            #expect(try events[0].counter() > 0)
            #expect(try events[1].counter() == 0)
            _ = try await controller.identify(1)
            try await local.sleep(for: .milliseconds(20))
            #expect(try events[0].counter() > 0)
            await controller.detach()
        }
    }

    @Test func `a reactor that waits for interrupts polls far less than one that polls`() async throws {
        var polls: [UInt64] = []
        for usesInterrupts in [false, true] {
            var options = NVMeController.Options()
            options.usesInterrupts = usesInterrupts
            let count = ReactorValue<UInt64>()
            // Its reads take 20 ms, however fast the machine is.
            try await withController("slow", options: options) { local, controller in
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                var buffer = await local.buffer(byteCount: 65536)
                let before = pair.statistics.polls
                for _ in 0..<10 { try await pair.read(namespace, at: 0, into: &buffer) }
                count.value = pair.statistics.polls - before
                await local.close(pair, of: controller)
            }
            polls.append(try #require(count.value))
        }
        #expect(polls[1] < polls[0] / 4, "for 10 reads: \(polls[0]) polls, and \(polls[1]) with interrupts")
    }

    @Test func `a function reset leaves a controller that comes up again`() async throws {
        let address = try Guest.address("plain")
        try await onReactor { local, _ in
            let transport = try VFIOTransport(address)
            try transport.resetFunction()
            let controller = try await NVMeController.attach(transport, on: local.reactor)
            try await exercise(controller, on: local.reactor, seed: 3)
            await controller.detach()
        }
    }

    @Test func `what a reset of the subsystem takes from a function is given back to it`() async throws {
        let address = try Guest.address("plain")
        try await onReactor { local, _ in
            let transport = try VFIOTransport(address)
            let events = try transport.enableInterrupts(count: 2)
            try transport.hideRegisters()
            try transport.restoreFunction()
            #expect(transport.registers.load32(0x1C) != .max)
            #expect(!transport.isRemoved)
            let controller = try await NVMeController.attach(transport, on: local.reactor)
            #expect(try events[0].counter() > 0)
            try await exercise(controller, on: local.reactor, seed: 5)
            await controller.detach()
        }
    }

    @Test func `registers that do not answer read as ones, and the controller is removed`() async throws {
        let address = try Guest.address("plain")
        try await onReactor { local, _ in
            let transport = try VFIOTransport(address)
            let controller = try await NVMeController.attach(transport, on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            #expect(!transport.isRemoved)
            try transport.hideRegisters()
            #expect(transport.registers.load32(0x1C) == .max)
            #expect(transport.isRemoved)
            for _ in 0..<100 where await controller.state == .ready { try await local.sleep(for: .milliseconds(50)) }
            #expect(await controller.state == .removed)
            let namespace = try #require(await controller.namespaces.first)
            let buffer = await local.buffer(byteCount: 4096)
            await #expect(throws: NVMeError.self) { try await pair.write(namespace, at: 0, from: buffer) }
            await local.close(pair, of: controller)
            await controller.detach()
        }
        // Whoever comes next finds all well.
        try await withController("plain") { local, controller in
            try await exercise(controller, on: local.reactor, seed: 4)
        }
    }

    @Test func `a reset under load answers every command once`() async throws {
        try await withController("plain") { local, controller in try await resetUnderLoad(controller, on: local) }
    }

    @Test func `the controller memory buffer can be mapped`() async throws {
        let transport = try VFIOTransport(try Guest.address("buffered"))
        let memory = try #require(transport.baseAddressRegister(2))
        #expect(memory.byteCount == 4 << 20)
        #expect(transport.baseAddressRegister(1) == nil)
        #expect(transport.baseAddressRegister(6) == nil)
        transport.domain.close()
        transport.close()
    }

    @Test func `commands in the controller memory buffer are found there, after a reset too`() async throws {
        var options = NVMeController.Options()
        options.controllerMemory = [.submissionQueues]
        try await withController("buffered", options: options) { local, controller in
            #expect(await controller.controllerMemoryUse == [.submissionQueues])
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = try #require(await controller.namespaces.first)
            var buffer = await local.buffer(byteCount: 65_536)
            for round in 1...2 {
                buffer.fillPattern(UInt64(round))
                try await pair.write(namespace, at: 64, from: buffer)
                buffer.fill(with: 0)
                try await pair.read(namespace, at: 64, into: &buffer)
                var expected = await local.buffer(byteCount: 65_536)
                expected.fillPattern(UInt64(round))
                #expect(buffer.copied() == expected.copied())
                if round == 1 { try await controller.reset() }
            }
            await local.close(pair, of: controller)
        }
    }

    @Test func `data in the controller memory buffer is found there, and comes from another controller`() async throws {
        var options = NVMeController.Options()
        options.controllerMemory = [.data]
        try await withController("buffered", options: options) { local, controller in
            let buffers = try await controller.makeBuffers(byteCount: 65_536, count: 2, for: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = try #require(await controller.namespaces.first)
            var own = buffers.allocate(on: local)!, other = buffers.allocate(on: local)!
            var host = await local.buffer(byteCount: 65_536)
            own.fillPattern(1)
            try await pair.write(namespace, at: 128, from: own)
            try await pair.read(namespace, at: 128, into: &host)
            #expect(host.copied() == own.copied())
            other.fill(with: 0)
            try await pair.read(namespace, at: 128, into: &other)
            #expect(other.copied() == own.copied())

            let source = try await NVMeController.attach(pciAddress: Guest.address("plain"), on: local.reactor)
            let from = try await local.makeQueuePair(of: source)
            let away = try #require(await source.namespaces.first)
            host.fillPattern(2)
            try await from.write(away, at: 64, from: host)
            try await from.read(away, at: 64, into: &own)
            try await pair.write(namespace, at: 256, from: own)
            var found = await local.buffer(byteCount: 65_536)
            try await pair.read(namespace, at: 256, into: &found)
            #expect(found.copied() == host.copied())
            await local.close(from, of: source)
            await source.detach()
            await local.close(pair, of: controller)
        }
        #expect(try Guest.faults(of: "plain").isEmpty)
    }

    @Test func `persistent memory shows what lies there`() async throws {
        try await onReactor { local, _ in
            let transport = try VFIOTransport(try Guest.address("large"))
            let controller = try await NVMeController.attach(transport, on: local.reactor)
            let memory = try await controller.persistentMemory()
            #expect(memory.byteCount == 16 << 20)
            let register = try #require(transport.baseAddressRegister(4))
            register.store32(0x5EED_1234, 0x8000)
            var buffer = await local.buffer(byteCount: 8192)
            memory.read(from: 0x7000, into: &buffer)
            #expect(buffer.load(UInt32.self, at: 0x1000) == 0x5EED_1234)
            #expect(buffer.load(UInt32.self, at: 0) == 0)
            await controller.detach()
        }
    }

    /// The proof that the other tests would notice: an access that the IOMMU refuses is in the kernel's log.
    @Test func `memory taken from a device is out of its reach`() async throws {
        let before = try Guest.faults(of: "faulty").count
        try await onReactor { local, _ in
            let transport = try VFIOTransport(try Guest.address("faulty"))
            var options = NVMeController.Options()
            options.adminTimeout = .seconds(2)
            let controller = try await NVMeController.attach(transport, on: local.reactor, options: options)
            // From under the controller, which is told to look at its queue then.
            transport.domain.close()
            await #expect(throws: NVMeError.self) { _ = try await controller.identify(1) }
            await controller.detach()
        }
        #expect(try Guest.faults(of: "faulty").count > before)
    }
}

/// Has another process open the group of a function, and attaches to that meanwhile: the refusal names the process.
func expectInUse(_ address: PCIAddress) throws {
    let group = try #require(PCIFunction(address)?.group)
    // The kernel hands a group to one opener at a time.
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: "/bin/bash")
    holder.arguments = ["-c", "exec 3<>/dev/vfio/\(group); echo ready; read -t 60 <&1"]
    let output = Pipe()
    holder.standardOutput = output
    try holder.run()
    _ = output.fileHandleForReading.availableData
    let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(address) }
    #expect(error?.code == .inUse)
    #expect(error?.description.contains("process \(holder.processIdentifier) ") == true, "\(error as Any)")
    holder.terminate()
    holder.waitUntilExit()
}

/// Attaches the controllers of some drives at once, on two reactors, and has each do something.
func workAtOnce(_ names: [String]) async throws {
    try await onReactor(count: 2) { _, group in
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for (index, name) in names.enumerated() {
                let reactor = group.reactors[index % 2]
                tasks.addTask {
                    let controller = try await NVMeController.attach(
                        pciAddress: Guest.address(name), on: reactor)
                    try await exercise(controller, on: reactor, seed: UInt64(index))
                    await controller.detach()
                }
            }
            try await tasks.waitForAll()
        }
    }
    for name in names { #expect(try Guest.faults(of: name).isEmpty) }
}

/// Writes and reads back 16 KiB at two places.
func exercise(_ controller: NVMeController, on reactor: Reactor, seed: UInt64) async throws {
    try await reactor.run { local in
        let pair = try await local.makeQueuePair(of: controller)
        let namespace = try #require(await controller.namespaces.first)
        let count = 16384 / namespace.blockByteCount
        var written = await local.buffer(byteCount: count * namespace.blockByteCount)
        var found = await local.buffer(byteCount: count * namespace.blockByteCount)
        for round in 0..<8 {
            let block = UInt64(round * count)
            written.fillPattern(seed &* 100 &+ UInt64(round))
            found.fill(with: 0)
            try await pair.write(namespace, at: block, from: written)
            try await pair.read(namespace, at: block, into: &found)
            let isSame = found.contentEquals(written)
            #expect(isSame, "round \(round) of \(controller.name)")
        }
        await local.close(pair, of: controller)
    }
}

/// Resets a controller three times while it writes. Each command ends once: done, or as aborted.
func resetUnderLoad(_ controller: NVMeController, on local: isolated LocalReactor) async throws {
    let pair = try await local.makeQueuePair(of: controller)
    let namespace = try #require(await controller.namespaces.first)
    let commands = Commands()
    pair.add(commands)
    var buffer = await local.buffer(byteCount: 65536)
    buffer.fillPattern(9)
    var given = 0
    for round in 0..<3 {
        for index in 0..<200 {
            let command = namespace.command(IOOpcode.write, at: UInt64(index * 128), count: 128)
            if pair.submit(command, data: buffer.memory, client: commands, token: UInt64(given)) { given += 1 }
        }
        // Some are with the controller, some wait.
        try await local.sleep(for: .milliseconds(2))
        try await controller.reset()
        try await commands.wait(for: given, on: local)
        let others = commands.failures.filter { !$0.matches(.abortedBySubmissionQueueDeletion) }
        #expect(others.isEmpty, "round \(round): \(others)")
    }
    pair.remove(commands)
    await local.close(pair, of: controller)
    try await exercise(controller, on: local.reactor, seed: 5)
}

extension FileDescriptor {
    /// Of an eventfd that does not block; it is 0 afterwards.
    func counter() throws -> UInt64 {
        var count: UInt64 = 0
        do {
            _ = try unsafe withUnsafeMutableBytes(of: &count) { try unsafe read(into: $0) }
        } catch Errno.resourceTemporarilyUnavailable {
            return 0
        }
        return count
    }
}
