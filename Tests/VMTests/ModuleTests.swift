import Bdev
import BdevConfiguration
import BdevConformance
import NVMeBdev
import NVMeDriver
import Reactors
import Testing

/// Applies `calls` to an engine, runs `body` with it, and stops it. The IOMMU must not have refused anything.
func withEngine(
    _ drive: String, _ calls: [String], nvme: NVMeModule = NVMeModule(),
    _ body: @escaping @Sendable (BdevEngine, StandardModules) async throws -> Void
) async throws {
    let before = try Guest.faults(of: drive).count
    try await onReactor { _, group in
        let engine = BdevEngine(group: group), modules = StandardModules(nvme: nvme)
        do {
            try await modules.register(with: engine)
            let text = #"{"subsystems":[{"subsystem":"bdev","config":[\#(calls.joined(separator: ","))]}]}"#
            let document = try ConfigurationDocument(parsing: Array(text.utf8))
            _ = try await modules.methods.apply(document, to: engine)
            try await body(engine, modules)
        } catch {
            // Told at once, whatever the engine waits for.
            Issue.record("on \(drive): \(error)")
            await engine.stop()
            throw error
        }
        await engine.stop()
    }
    #expect(try Guest.faults(of: drive).count == before)
}

/// That the engine has one bdev, Nvme0n1, which passes the conformance suite.
func conformance(_ engine: BdevEngine) async throws {
    await engine.waitForExamine()
    #expect(await engine.list().map(\.name) == ["Nvme0n1"])
    var suite = ConformanceSuite.Options()
    suite.operationCount = 20
    suite.workerCount = 4
    try await ConformanceSuite(engine: engine, bdev: "Nvme0n1", options: suite).run()
}

extension GuestTests {
    private static func attach(_ drive: String, checks: Bool = false) throws -> String {
        let address = try Guest.address(drive)
        return #"{"method": "bdev_nvme_attach_controller", "params": {"name": "Nvme0", "trtype": "PCIe", "#
            + #""traddr": "\#(address)", "prchk_guard": \#(checks), "prchk_reftag": \#(checks)}}"#
    }

    @Test(arguments: [
        "plain", "large", "separate", "protected1", "protected2", "protected3", "protected64", "small", "single",
        "zoned",
    ])
    func `a bdev made by JSON passes the conformance suite`(drive: String) async throws {
        try await withEngine(drive, [Self.attach(drive)]) { engine, modules in
            try await conformance(engine)
            #expect(try await modules.nvme.controllers().map(\.state) == ["enabled"])
        }
    }

    @Test func `a bdev survives a reset of its controller, and goes with it`() async throws {
        let reset = #"{"method": "bdev_nvme_reset_controller", "params": {"name": "Nvme0"}}"#
        try await withEngine("plain", [Self.attach("plain"), reset]) { engine, modules in
            let health = try await modules.nvme.health(of: "Nvme0")
            #expect(health.identity.serialNumber == "plain")
            try await engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                    var data = try channel.allocateBuffer(byteCount: 4096)
                    data.fill(with: 0x3C)
                    try await channel.write(from: data, at: .block(8))
                    try await channel.flush()
                    data.fill(with: 0)
                    try await channel.read(at: .block(8), into: &data)
                    let byte: UInt8 = data.load(at: 4095)
                    #expect(byte == 0x3C)
                }
            }
            try await modules.nvme.detach("Nvme0")
            #expect(await engine.list().isEmpty)
        }
    }

    @Test(arguments: ["protected1", "protected2", "protected3", "protected64"])
    func `a controller makes and checks protection information for a bdev`(drive: String) async throws {
        try await withEngine(drive, [Self.attach(drive, checks: true)]) { engine, _ in
            try await engine.withDescriptor(of: "Nvme0n1", mode: .readWrite) { descriptor in
                #expect(descriptor.geometry.protection?.checks.contains(.guard) == true)
                try await descriptor.withChannel(on: engine.reactors[0]) { channel in
                    let blockByteCount = descriptor.geometry.blockByteCount
                    var data = try channel.allocateBuffer(byteCount: 8 * blockByteCount)
                    data.fill(with: 0x3C)
                    try await channel.write(from: data, at: .block(64))
                    data.fill(with: 0)
                    try await channel.read(at: .block(64), into: &data)
                    let byte: UInt8 = data.load(at: 4095)
                    #expect(byte == 0x3C)
                    try await channel.writeZeroes(at: .block(64), count: .blocks(8))
                    try await channel.read(at: .block(64), into: &data)
                    // A block whose guard is wrong, which a write without checks makes.
                    var wrong = NVMeCommand(opcode: IOOpcode.write)
                    wrong.words[10] = 70
                    var block: IOBuffer? = try channel.allocateBuffer(byteCount: blockByteCount)
                    var metadata: IOBuffer? = try channel.allocateBuffer(
                        byteCount: descriptor.geometry.metadataByteCount)
                    block!.fill(with: 0x77)
                    metadata!.fill(with: 0)
                    _ = try await channel.perform(wrong, on: .io, data: &block, metadata: &metadata)
                    do {
                        try await channel.read(at: .block(64), into: &data)
                        Issue.record("a wrong guard has not been found")
                    } catch let error as BdevError { #expect(error.status?.detail == 0x282) }
                    try await channel.writeZeroes(at: .block(64), count: .blocks(8))
                }
            }
        }
    }
}
