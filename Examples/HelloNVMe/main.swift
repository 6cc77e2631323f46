import Glibc
import NVMeDriver
import NVMeSoftController
import Reactors

let group = try ReactorGroup()
do {
    let isSame = try await group.reactors[0].run { local in
        let controller = try await attach(to: CommandLine.arguments.dropFirst().first ?? "--soft", on: local)
        let namespace = await controller.namespaces[0]
        let pair = try await local.makeQueuePair(of: controller)
        var written = await local.buffer(byteCount: 8 * namespace.blockByteCount)
        var read = await local.buffer(byteCount: 8 * namespace.blockByteCount)
        written.store("Hello, NVMe!")
        try await pair.write(namespace, at: 8, from: written)
        try await pair.read(namespace, at: 8, into: &read)
        await local.close(pair, of: controller)
        await controller.detach()
        return read.contentEquals(written)
    }
    print(isSame ? "read back what was written" : "read back something else")
} catch {
    print("hello-nvme: \(error)")
    exit(2)
}

/// A device that is bound to vfio-pci, by its PCI address; or a controller in this process.
func attach(to name: String, on local: isolated LocalReactor) async throws -> NVMeController {
    if name != "--soft" {
        guard let address = PCIAddress(name) else {
            throw NVMeError(.invalidArgument, "'\(name)' is no PCI address such as 0000:3b:00.0")
        }
        return try await .attach(pciAddress: address, on: local.reactor)
    }
    var options = SoftController.Options()
    options.namespaces = [SoftNamespaceOptions(blockCount: 2048)]
    return try await SoftController(options, on: local).attach(on: local.reactor)
}
