import NVMeDriver
import Reactors
import Testing

extension GuestTests {
    @Test(arguments: [true, false, nil])
    func `doorbells in memory are used when they are asked for, after a reset too`(isAsked: Bool?) async throws {
        var options = NVMeController.Options()
        options.usesShadowDoorbells = isAsked
        try await withController("plain", options: options) { local, controller in
            let identity = await controller.identity
            #expect(identity.hasDoorbellBuffers)
            // The guest has an IOMMU.
            #expect(await controller.usesShadowDoorbells == (isAsked ?? false))
            try await exercise(controller, on: local.reactor, seed: 51)
            try await resetUnderLoad(controller, on: local)
            #expect(await controller.usesShadowDoorbells == (isAsked ?? false))
            try await exercise(controller, on: local.reactor, seed: 52)
        }
    }
}
