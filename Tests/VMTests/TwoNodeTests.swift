import Bdev
import BdevConfiguration
import NVMeBdev
import NVMeDriver
import Reactors
import Testing

/// The second machine of `Scripts/vm-test`.
@Suite(
    "In the guest of two nodes", .serialized,
    .enabled(if: Guest.drives["far"] != nil, "these need two nodes and two controllers: run `make vm-test`"))
struct TwoNodeTests {
    // MARK: Nodes

    @Test(arguments: [("near", 0), ("far", 1)])
    func `numa-pinning runs on the cores and in the memory of a drive's node`(drive: String, node: Int) throws {
        let address = try Guest.address(drive)
        let result = try runProgram("numa-pinning \(address)")
        #expect(result.status == 0)
        #expect(result.text.contains("\(address): node \(node)\n"), "\(result.text)")
        #expect(
            result.text.contains("reactor_\(node): core \(node), node \(node), its buffers on node \(node)\n"),
            "\(result.text)")
    }

    @Test(arguments: [("near", 0), ("far", 1)])
    func `a controller is looked after by a reactor of its node, with memory from there`(
        drive: String, node: Int
    ) async throws {
        let address = try Guest.address(drive)
        #expect(PCIFunction(address)?.node == node)
        try await onReactor(count: 2) { _, group in
            #expect(group.reactors.map(\.node) == [0, 1])
            let engine = BdevEngine(group: group), module = NVMeModule()
            try await engine.register(module)
            let names = try await module.attach("Nvme0", at: address)
            try await engine.withDescriptor(of: names[0], mode: .readWrite) { descriptor in
                #expect(descriptor.geometry.node == node)
                let place = try await descriptor.withChannel(on: group.reactors[node]) { channel in
                    var data = try channel.allocateBuffer(byteCount: 1 << 20)
                    data.fill(with: 0x5A)
                    try await channel.write(from: data, at: .block(0))
                    data.fill(with: 0)
                    try await channel.read(at: .block(0), into: &data)
                    let byte: UInt8 = data.load(at: 4095)
                    #expect(byte == 0x5A)
                    return data.node
                }
                #expect(place == node)
            }
            await engine.stop()
        }
    }

    // MARK: A shared namespace

    private func attach(_ drive: String) throws -> String {
        #"{"method": "bdev_nvme_attach_controller", "params": {"name": "Nvme0", "trtype": "PCIe", "#
            + #""traddr": "\#(try Guest.address(drive))", "multipath": "multipath"}}"#
    }

    @Test func `two controllers of a subsystem are two ways to one bdev`() async throws {
        try await withEngine("left", [attach("left"), attach("right")]) { engine, modules in
            #expect(await engine.list().map(\.name) == ["Nvme0n1"])
            try await modules.nvme.setPolicy(.roundRobin(count: 1), of: "Nvme0n1")
            try await engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                let both = try ["left", "right"].map { try "\(Guest.address($0))" }
                try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                    let paths = try await modules.nvme.paths(of: "Nvme0n1")
                    #expect(paths.map(\.address).sorted() == both.sorted())
                    var data = try channel.allocateBuffer(byteCount: 4096)
                    for block in 0..<64 {
                        data.fill(with: UInt8(block))
                        try await channel.write(from: data, at: .block(UInt64(block * 8)))
                    }
                    // Each is read by the other controller than wrote it, for half of them at least.
                    for block in (0..<64).reversed() {
                        try await channel.read(at: .block(UInt64(block * 8)), into: &data)
                        let byte: UInt8 = data.load(at: 100)
                        #expect(byte == UInt8(block))
                    }
                }
            }
        }
    }

    @Test func `when one of two controllers goes under load, no I/O fails`() async throws {
        let left = try "\(Guest.address("left"))"
        try await withEngine("right", [attach("left"), attach("right")]) { engine, modules in
            try await engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                let load = Task {
                    try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                        var data = try channel.allocateBuffer(byteCount: 4096), count = 0
                        while !Task.isCancelled {
                            data.fill(with: UInt8(truncatingIfNeeded: count))
                            try await channel.write(from: data, at: .block(UInt64(count % 1000 * 8)))
                            count += 1
                        }
                        return count
                    }
                }
                defer { load.cancel() }
                try await Task.sleep(for: .milliseconds(300))
                try await modules.nvme.reset("Nvme0")
                try await modules.nvme.detach("Nvme0", at: left)
                #expect(try await modules.nvme.paths(of: "Nvme0n1").count == 1)
                try await Task.sleep(for: .milliseconds(300))
                load.cancel()
                #expect(try await load.value > 100)
            }
        }
    }

    // MARK: Plugging

    /// Waits for what the kernel and QEMU do in their own time.
    private func wait(_ what: String, _ isDone: () async throws -> Bool) async throws {
        for _ in 0..<300 {
            if try await isDone() { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("\(what): not after 30 s")
    }

    @Test func `a drive that is plugged in gets its bdev by itself, and loses it when it is pulled out`() async throws {
        let address = try Guest.address("plug")
        try await withEngine("plug", []) { engine, modules in
            func bdevs() async throws -> Set<String> {
                let all = try await modules.nvme.controllers().filter { $0.address == "\(address)" }
                let names = await engine.list().map(\.name)
                return Set(all.flatMap { one in names.filter { $0.hasPrefix("\(one.name)n") } })
            }
            await modules.nvme.setHotplug(enabled: true)
            try await wait("the drive that is there") { try await bdevs().count == 1 }
            try Guest.monitor(#"{"execute":"device_del","arguments":{"id":"plug"}}"#)
            try await wait("it goes") { PCIFunction(address) == nil }
            #expect(try await bdevs().isEmpty)
            let drive = #"{"driver":"null-co","node-name":"plugged","size":67108864,"read-zeroes":true}"#
            let device = #"{"driver":"nvme","id":"again","bus":"port4","serial":"again","drive":"plugged"}"#
            try Guest.monitor(#"{"execute":"blockdev-add","arguments":\#(drive)}"#)
            try Guest.monitor(#"{"execute":"device_add","arguments":\#(device)}"#)
            try await wait("another comes") { PCIFunction(address) != nil }
            // Nobody has taken it: the kernel's own driver is not loaded in this machine.
            try #require(PCIFunction(address)).bindToVFIO()
            try await wait("it has its bdev") { try await bdevs().count == 1 }
            let name = try #require(try await bdevs().first)
            try await engine.withDescriptor(of: name) { descriptor in
                try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                    var data = try channel.allocateBuffer(byteCount: 4096)
                    data.fill(with: 1)
                    try await channel.read(at: .block(0), into: &data)
                    let byte: UInt8 = data.load(at: 0)
                    #expect(byte == 0)
                }
            }
            await modules.nvme.setHotplug(enabled: false)
        }
    }
}
