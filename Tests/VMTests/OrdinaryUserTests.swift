import Foundation
import NVMeDriver
import Reactors
import Testing

/// Run a second time for these, as a user without rights who was given the group of the drive "plain".
@Suite(
    "As an ordinary user in the guest", .serialized,
    .enabled(
        if: Guest.drives["plain"] != nil && Guest.isOrdinaryUser, "these need real controllers: run `make vm-test`"))
struct OrdinaryUserTests {
    @Test func `a controller whose group one owns works`() async throws {
        #expect(geteuid() != 0)
        try await onReactor { local, _ in
            let controller = try await NVMeController.attach(
                pciAddress: Guest.address("plain"), on: local.reactor)
            try await exercise(controller, on: local.reactor, seed: 6)
            await controller.detach()
        }
    }

    @Test(.enabled(if: Guest.isLinux62OrLater, "older kernels take commands from root only"))
    func `a controller that the kernel keeps works by the rights to its device files`() async throws {
        // Its drive has been given to the kernel's driver for this, and its files to the user.
        let address = try Guest.address("faulty")
        try await onReactor { local, _ in
            let controller = try await NVMeController.attach(at: NVMeAddress(address), on: local.reactor)
            #expect(controller.access.way == .passThrough)
            try await exercise(controller, on: local.reactor, seed: 7)
            await controller.detach()
        }
    }

    @Test func `without the rights to its device files there are its block devices, and the reason is told`() throws {
        try expectBlocks("zoned")
    }

    @Test(.enabled(if: !Guest.isLinux62OrLater, "the rights to the files suffice"))
    func `an old kernel takes commands from root only, and that is told`() throws { try expectBlocks("faulty") }

    private func expectBlocks(_ drive: String) throws {
        let address = try NVMeAddress(Guest.address(drive))
        let choice = try AccessChoice.make(address, in: SystemTree(root: "/"), probe: KernelCalls.probe)
        #expect(choice.access.way == .blockDevice)
        #expect(choice.access.reason?.contains("takes no commands: this user may not use it") == true)
    }

    @Test func `a group that one does not own is refused, with what to do about it`() throws {
        let address = try Guest.address("large")
        let error = #expect(throws: NVMeError.self) { _ = try VFIOTransport(address) }
        #expect(error?.code == .notPermitted)
        #expect(error?.advice?.contains("chown USER /dev/vfio/") == true)
        #expect(error?.advice?.contains("SUBSYSTEM==\"vfio\"") == true)
    }

    @Test func `too little memory that may be locked is refused, with the line that raises it`() async throws {
        // Of this process, and taken back at the end.
        let process = getpid()
        #expect(try Guest.shell("prlimit --pid \(process) --memlock=65536:").status == 0)
        defer { _ = try? Guest.shell("prlimit --pid \(process) --memlock=1073741824:") }
        try await onReactor { local, _ in
            let error = await #expect(throws: NVMeError.self) {
                _ = try await NVMeController.attach(pciAddress: Guest.address("plain"), on: local.reactor)
            }
            #expect(error?.code == .memoryLimit, "\(error as Any)")
            #expect(error?.description.contains("65536") == true)
            #expect(error?.advice?.contains("ulimit -l unlimited") == true)
        }
    }

    @Test func `drivers are changed by root`() throws {
        let function = try #require(PCIFunction(Guest.address("plain")))
        let error = #expect(throws: NVMeError.self) { try function.bindToKernel() }
        #expect(error?.code == .notPermitted)
    }
}
