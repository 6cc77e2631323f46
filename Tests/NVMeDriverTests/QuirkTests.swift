import NVMeDriver
import NVMeSoftController
import Reactors
import Synchronization
import Testing

@Suite("What controllers are known for")
struct QuirkTests {
    private static func options(_ quirks: NVMeQuirks, namespaceCount: Int = 1) -> SoftController.Options {
        var options = SoftController.Options()
        options.quirks = quirks
        options.namespaces = (0..<namespaceCount).map { _ in SoftNamespaceOptions(blockCount: 4096) }
        return options
    }

    @Test func `is found by the identifiers of their functions`() {
        #expect(NVMeQuirks(vendorID: 0x8086, deviceID: 0x0953) == [.stripes, .startsLate])
        #expect(NVMeQuirks(vendorID: 0x8086, deviceID: 0x0A54) == .stripes)
        #expect(NVMeQuirks(vendorID: 0x144D, deviceID: 0xA821) == .stopsLate)
        #expect(NVMeQuirks(vendorID: 0x144D, deviceID: 0x0953) == [])
        // QEMU's.
        #expect(NVMeQuirks(vendorID: 0x1B36, deviceID: 0x0010) == [])
    }

    /// Commands that 64 blocks from block 4 on are cut into.
    private func commandCount(_ options: SoftController.Options) throws -> UInt64 {
        let count = Mutex<UInt64>(0)
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: 64 * 512)
            let before = pair.statistics.submitted
            try await pair.read(await controller.namespaces[0], at: 4, into: &buffer)
            let submitted = pair.statistics.submitted - before
            count.withLock { $0 = submitted }
            await local.close(pair, of: controller)
            await controller.detach()
        }
        return count.withLock { $0 }
    }

    @Test func `stripes, which no transfer goes over, unless the namespace says where it is to be cut`() throws {
        var options = Self.options(.stripes)
        #expect(try commandCount(options) == 1)
        // Of 16 blocks: 12, 16, 16, 16, 4.
        options.stripePageShift = 1
        #expect(try commandCount(options) == 5)
        options.namespaces[0].optimalBoundaryBlockCount = 32
        #expect(try commandCount(options) == 3)
        options = Self.options([])
        options.stripePageShift = 1
        #expect(try commandCount(options) == 1)
    }

    @Test func `late starts and stops, which are waited for`() throws {
        for (quirks, pause) in [(NVMeQuirks.startsLate, Duration.seconds(2)), (.stopsLate, .milliseconds(2300))] {
            try simulateSoft(options: Self.options(quirks)) { local, soft in
                let start = local.now
                let controller = try await soft.attach(on: local.reactor)
                let attached = local.now
                try await controller.reset()
                let reset = local.now
                #expect((start.duration(to: attached) >= pause) == quirks.contains(.startsLate))
                #expect((attached.duration(to: reset) >= pause) == quirks.contains(.stopsLate))
                await controller.detach()
            }
        }
    }

    @Test(arguments: [NVMeVersion(1, 0), NVMeVersion(1, 4)])
    func `no list of namespaces, which are asked for one by one then`(version: NVMeVersion) throws {
        var options = Self.options(version < NVMeVersion(1, 1) ? [] : .listsNoNamespaces, namespaceCount: 3)
        options.version = version
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            #expect(controller.version == version)
            #expect(await controller.namespaces.map(\.id) == [1, 2, 3])
            let pair = try await local.makeQueuePair(of: controller)
            var buffer = await local.buffer(byteCount: 512)
            try await pair.read(await controller.namespaces[2], at: 7, into: &buffer)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }
}
