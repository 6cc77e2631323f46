package import Reactors

/// A controller that the kernel's driver has, as sysfs shows it. A look at one moment.
package struct KernelDevice: Sendable, Hashable {
    package struct Namespace: Sendable, Hashable {
        package let id: UInt32
        /// `nvme0n1`.
        package let block: String
        /// In units of 512 bytes.
        let size: UInt64
        let blockByteCount: Int

        package var blockPath: String { "/dev/\(block)" }
        /// The character device, which takes commands.
        package var genericPath: String { "/dev/ng\(block.dropFirst(4))" }
    }

    /// `nvme0`.
    package let name: String
    /// Of its function; nil: it is not on the PCI bus.
    package let pciAddress: PCIAddress?
    package let node: Int?
    /// By identifier.
    package let namespaces: [Namespace]
    /// The driver has queues that are polled (nvme.poll_queues).
    package let hasPolledQueues: Bool

    package var path: String { "/dev/\(name)" }

    package init?(_ name: String, in tree: SystemTree) {
        let folder = Self.folder(name)
        if Self.isGone(name, in: tree) { return nil }
        self.name = name
        pciAddress = tree.text("\(folder)/address").flatMap { PCIAddress($0) }
        node = tree.number("\(folder)/numa_node").flatMap { $0 < 0 ? nil : $0 }
        namespaces = Self.namespaces(of: name, in: tree)
        hasPolledQueues = namespaces.contains { tree.number("sys/class/block/\($0.block)/queue/io_poll") == 1 }
    }

    static func folder(_ name: String) -> String { "sys/class/nvme/\(name)" }

    static func namespaces(of name: String, in tree: SystemTree) -> [Namespace] {
        tree.names(folder(name)).compactMap { entry in
            guard let block = PCIFunction.blockDevice(entry),
                let id = tree.number("\(folder(name))/\(entry)/nsid").flatMap({ UInt32(exactly: $0) })
            else { return nil }
            let size = tree.number("\(folder(name))/\(entry)/size") ?? 0
            return Namespace(
                id: id, block: block, size: UInt64(max(0, size)),
                blockByteCount: tree.number("sys/class/block/\(block)/queue/logical_block_size") ?? 0)
        }.sorted { $0.id < $1.id }
    }

    /// It was pulled out, or has failed for good.
    package static func isGone(_ name: String, in tree: SystemTree) -> Bool {
        guard let state = tree.text("\(folder(name))/state") else { return true }
        return state == "dead" || state.hasPrefix("deleting")
    }

    /// The controller at `address`, and which of its namespaces is meant; nil: all of them.
    package static func find(
        _ address: NVMeAddress, in tree: SystemTree
    ) throws(NVMeError) -> (device: KernelDevice, namespace: UInt32?) {
        switch address.place {
        case .pci(let pci):
            let names = tree.names("\(PCIFunction.folder(pci))/nvme").sorted()
            if let device = names.lazy.compactMap({ KernelDevice($0, in: tree) }).first { return (device, nil) }
        case .controller(let name):
            if let device = KernelDevice(name, in: tree) { return (device, nil) }
        case .namespace(let block):
            for name in tree.names("sys/class/nvme").sorted() {
                guard let device = KernelDevice(name, in: tree),
                    let namespace = device.namespaces.first(where: { $0.block == block })
                else { continue }
                return (device, namespace.id)
            }
        }
        throw NVMeError(
            .noSuchDevice, device: address.description, "the kernel's driver has no such controller or namespace",
            advice: "see 'nvme list'")
    }
}
