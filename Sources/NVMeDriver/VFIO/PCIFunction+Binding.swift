package import Reactors
import SystemPackage

// Handing a function from one driver to another.
extension PCIFunction {
    /// Takes the function from the kernel's driver and gives it to `vfio-pci`. Does nothing when that has it already.
    ///
    /// Refused while a namespace of it is mounted, is part of another device, is used for swapping, or carries a known
    /// signature (file system, partition table, volume …), unless `force` is said. Between the look and the act
    /// somebody may still mount it: the kernel offers no lock against that.
    /// - Throws: `unsafeDevice`; `notPermitted`: only root may do it; `notSupported`: the kernel has no `vfio-pci`;
    ///   `noSuchDevice`; `system`.
    public func bindToVFIO(force: Bool = false) throws(NVMeError) {
        try bindToVFIO(force: force, in: SystemTree(root: "/"))
    }

    /// Gives the function back to the driver that the kernel chooses for it: `nvme`, as a rule.
    ///
    /// The kernel waits until whoever uses it through VFIO has let go of it: detach first.
    /// - Throws: `notPermitted`, `noSuchDevice`, `system`.
    public func bindToKernel() throws(NVMeError) { try bindToKernel(in: SystemTree(root: "/")) }

    package func bindToVFIO(force: Bool, in tree: SystemTree) throws(NVMeError) {
        if Self.isHandedOut(by: Self.driver(of: address, tree)) { return }
        if tree.resolved("sys/bus/pci/drivers/vfio-pci") == nil {
            throw NVMeError(
                .notSupported, device: name, "the kernel has no driver vfio-pci",
                advice: "load it (modprobe vfio-pci), or use a kernel with CONFIG_VFIO_PCI")
        }
        if !force { try requireIdle(in: tree) }
        try change(override: "vfio-pci", in: tree)
        if !Self.isHandedOut(by: Self.driver(of: address, tree)) {
            throw NVMeError(
                .system, device: name, "vfio-pci did not take the device", advice: "see the kernel's log (dmesg)")
        }
    }

    package func bindToKernel(in tree: SystemTree) throws(NVMeError) {
        if !Self.isHandedOut(by: Self.driver(of: address, tree)) { return }
        // A line with nothing on it takes the override off.
        try change(override: "", in: tree)
    }

    private var name: String { "\(address)" }

    private func change(override: String, in tree: SystemTree) throws(NVMeError) {
        let folder = Self.folder(address)
        try write("\(override)\n", to: "\(folder)/driver_override", in: tree)
        if tree.resolved("\(folder)/driver") != nil { try write("\(address)", to: "\(folder)/driver/unbind", in: tree) }
        try write("\(address)", to: "sys/bus/pci/drivers_probe", in: tree)
    }

    private func write(_ text: String, to file: String, in tree: SystemTree) throws(NVMeError) {
        let path = tree.path(file)
        do {
            let descriptor = try FileDescriptor.open(FilePath(path), .writeOnly, options: .closeOnExec)
            try descriptor.closeAfter { _ = try descriptor.writeAll(text.utf8) }
        } catch let cause as Errno {
            let code: NVMeError.Code =
                switch cause {
                case .permissionDenied, .notPermitted, .readOnlyFileSystem: .notPermitted
                case .noSuchFileOrDirectory, .operationNotSupportedByDevice: .noSuchDevice
                default: .system
                }
            throw NVMeError(
                code, device: name, "cannot write to \(path)",
                advice: code == .notPermitted ? "drivers are changed by root: use sudo" : nil, cause: cause)
        } catch {
            throw NVMeError(.system, device: name, "cannot write to \(path): \(error)")
        }
    }

    // MARK: Safety

    /// Throws `unsafeDevice` while something uses a namespace, or one carries what is known.
    package func requireIdle(in tree: SystemTree) throws(NVMeError) {
        let mounts = tree.text("proc/self/mountinfo"), swaps = tree.text("proc/swaps") ?? ""
        for device in blockDevices {
            let folder = "sys/class/block/\(device)"
            let partitions = tree.names(folder).filter { tree.text("\(folder)/\($0)/partition") != nil }.sorted()
            for part in [device] + partitions {
                let place = "sys/class/block/\(part)", path = "/dev/\(part)"
                let numbers = (tree.text("\(place)/dev") ?? "").split(separator: ":").compactMap { UInt32($0) }
                if numbers.count == 2,
                    let mount = DeviceSafety.mountPoint(major: numbers[0], minor: numbers[1], table: mounts)
                {
                    throw refusal("\(path) is mounted on \(mount)", "unmount it")
                }
                if let holder = tree.names("\(place)/holders").min() {
                    throw refusal("\(path) is part of the device \(holder)", "take that apart")
                }
                if swaps.split(separator: "\n").contains(where: {
                    $0.hasPrefix(path + " ") || $0.hasPrefix(path + "\t")
                }) {
                    throw refusal("\(path) is swapped to", "switch that off (swapoff \(path))")
                }
            }
            if !tree.isThisMachine { continue }
            do {
                // Sees what the lists above do not: other mount namespaces, file systems over several devices.
                try DeviceSafety.requireIdle("/dev/\(device)")
            } catch {
                throw NVMeError(
                    error.code == .notPermitted ? .notPermitted : .unsafeDevice, device: name,
                    "\(error.path) \(error.message)", advice: error.advice, cause: error.cause)
            }
        }
    }

    private func refusal(_ what: String, _ advice: String) -> NVMeError {
        NVMeError(.unsafeDevice, device: name, what, advice: "\(advice), or force it: the data is at stake")
    }
}
