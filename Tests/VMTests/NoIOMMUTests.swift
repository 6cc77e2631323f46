import Bdev
import NVMeBdev
import NVMeDriver
import Reactors
import Testing

/// The fourth machine of `Scripts/vm-test`.
@Suite(
    "In the guest without an IOMMU", .serialized,
    .enabled(if: Guest.drives["exposed"] != nil, "these need a VFIO without an IOMMU: run `make vm-test`"))
struct NoIOMMUTests {
    private static var options: NVMeController.Options {
        var options = NVMeController.Options()
        options.allowsNoIOMMU = true
        return options
    }

    private func refusal(_ pages: MemoryRegion.Pages, _ options: NVMeController.Options) async throws -> NVMeError? {
        let found = ReactorValue<NVMeError>(), address = try Guest.address("exposed")
        try await onReactor(pages: pages) { local, _ in
            do throws(NVMeError) {
                let controller = try await NVMeController.attach(
                    pciAddress: address, on: local.reactor, options: options)
                await controller.detach()
            } catch {
                found.value = error
            }
        }
        return found.value
    }

    @Test func `a controller is refused unless the risk is taken`() async throws {
        let error = try await refusal(.huge, NVMeController.Options())
        #expect(error?.code == .noIOMMU)
        #expect(error?.advice?.contains("allowsNoIOMMU") == true)
    }

    @Test func `normal pages are refused, with what to do about it`() async throws {
        let error = try await refusal(.normal, Self.options)
        #expect(error?.code == .notSupported)
        #expect(error?.advice?.contains("ReactorOptions.memory.pages = .huge") == true)
    }

    @Test(arguments: ["exposed", "exposed4k"])
    func `a controller works on physical addresses, and says that nobody looks after it`(drive: String) async throws {
        let address = try Guest.address(drive)
        try await onReactor(pages: .huge) { local, _ in
            let controller = try await NVMeController.attach(
                pciAddress: address, on: local.reactor, options: Self.options)
            #expect(controller.access.description == "direct, through no IOMMU")
            #expect(await controller.usesShadowDoorbells)
            try await exercise(controller, on: local.reactor, seed: 41)
            try await controller.reset()
            try await exercise(controller, on: local.reactor, seed: 42)
            await controller.detach()
        }
    }

    @Test func `nvme-perf wants to be told that it may`() throws {
        let line = "-b \(try Guest.address("exposed")) -q 128 -o 32k -w randread --number-ios 1000"
        let refused = try runProgram("nvme-perf \(line)")
        #expect(refused.status == 2)
        let result = try runProgram("nvme-perf \(line) --allow-no-iommu")
        #expect(result.status == 0, "\(result.text)")
    }

    @Test func `a bdev passes the conformance suite`() async throws {
        let address = try Guest.address("exposed")
        try await onReactor(pages: .huge) { _, group in
            let engine = BdevEngine(group: group), module = NVMeModule()
            var options = NVMeModule.Options()
            options.allowsNoIOMMU = true
            try module.setOptions(options)
            try await engine.register(module)
            _ = try await module.attach("Nvme0", at: address)
            try await conformance(engine)
            await engine.stop()
        }
    }
}
