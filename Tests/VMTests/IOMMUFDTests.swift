import NVMeDriver
import Reactors
import Testing

/// The third machine of `Scripts/vm-test`.
@Suite(
    "In the guest with iommufd", .serialized,
    .enabled(
        if: Guest.drives["first"] != nil && !Guest.isOrdinaryUser, "these need iommufd: run `make vm-test`"))
struct IOMMUFDTests {
    @Test func `a controller is reached through iommufd, and says so`() async throws {
        try await withController("first") { local, controller in
            #expect(controller.access.interface == "iommufd")
            #expect(controller.access.description == "direct, through iommufd")
            try await exercise(controller, on: local.reactor, seed: 31)
        }
    }

    @Test(arguments: ["first", "second"])
    func `a bdev passes the conformance suite`(drive: String) async throws {
        let attach =
            #"{"method": "bdev_nvme_attach_controller", "params": {"name": "Nvme0", "trtype": "PCIe", "#
            + #""traddr": "\#(try Guest.address(drive))"}}"#
        try await withEngine(drive, [attach]) { engine, _ in try await conformance(engine) }
    }

    @Test func `three controllers, with address spaces of their own, work at once`() async throws {
        try await workAtOnce(["first", "second", "third"])
    }

    @Test func `interrupts and queues in the controller's memory work the same`() async throws {
        var options = NVMeController.Options()
        options.usesInterrupts = true
        options.controllerMemory = [.submissionQueues, .data]
        try await withController("second", options: options) { local, controller in
            try await exercise(controller, on: local.reactor, seed: 32)
        }
    }

    @Test func `one process cannot have one controller twice`() async throws {
        let address = try Guest.address("first")
        try await withController("first") { _, _ in
            let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(address) }
            #expect(error?.code == .inUse)
        }
    }

    @Test func `whoever has the group has the device, and is named`() throws {
        try expectInUse(Guest.address("first"))
    }
}

/// Run as a user without rights, who was given the device file of the drive "first" and no group.
@Suite(
    "As an ordinary user in the guest with iommufd", .serialized,
    .enabled(
        if: Guest.drives["first"] != nil && Guest.isOrdinaryUser, "these need iommufd: run `make vm-test`"))
struct OrdinaryIOMMUFDTests {
    @Test func `a controller whose device file one owns works`() async throws {
        try await onReactor { local, _ in
            let controller = try await NVMeController.attach(pciAddress: Guest.address("first"), on: local.reactor)
            #expect(controller.access.interface == "iommufd")
            try await exercise(controller, on: local.reactor, seed: 33)
            await controller.detach()
        }
    }

    @Test func `one whose device file and group one does not own is refused, with what to do about it`() throws {
        let address = try Guest.address("second")
        let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(address) }
        #expect(error?.code == .notPermitted)
        #expect(error?.advice?.contains("SUBSYSTEM==\"vfio\"") == true)
    }
}
