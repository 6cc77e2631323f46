import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A bdev of a namespace")
struct NamespaceBdevTests {
    @Test(arguments: [512, 4096], [false, true])
    func `passes the conformance suite`(dataByteCount: Int, hasSGL: Bool) throws {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 16_384)]
        options.namespaces[0].dataByteCount = dataByteCount
        options.hasSGL = hasSGL
        options.transferPageShift = 5
        let seed = UInt64.random(in: 1 ... .max)
        try simulateSoft(seed: seed, options: options) { local, soft in
            let engine = BdevEngine(reactors: [local.reactor]), module = NVMeModule()
            try await engine.register(module)
            let controller = try await soft.attach(on: local.reactor)
            #expect(try await module.add(controller, as: "Nvme0") == ["Nvme0n1"])
            var suite = ConformanceSuite.Options()
            suite.seed = seed
            suite.zeroesUnmappedBlocks = true
            try await ConformanceSuite(engine: engine, bdev: "Nvme0n1", options: suite).run()
            try await module.detach("Nvme0")
            await engine.stop()
        }
    }
}
