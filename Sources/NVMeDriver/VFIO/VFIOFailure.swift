import Reactors
import SystemPackage

/// What the kernel's refusals mean, for a function: what is wrong, and what to do.
struct VFIOFailure {
    private let function: PCIFunction
    private let tree: SystemTree

    init(_ function: PCIFunction, in tree: SystemTree) {
        self.function = function
        self.tree = tree
    }

    private var name: String { "\(function.address)" }

    static func noIOMMU(_ function: PCIFunction) -> NVMeError {
        NVMeError(
            .noIOMMU, device: "\(function.address)", "no IOMMU looks after the device: it could write to all memory",
            advice: "switch the IOMMU on in the firmware (VT-d, AMD-Vi) and boot the kernel with intel_iommu=on or "
                + "amd_iommu=on; where there is none, the driver's option allowsNoIOMMU "
                + "(nvme-perf: --allow-no-iommu) takes the risk")
    }

    /// Not with VFIO at all.
    func notHandedOut() -> NVMeError {
        guard let driver = function.driver else {
            return NVMeError(
                .notSupported, device: name, "the device has no driver",
                advice: "bind it to vfio-pci (PCIFunction.bindToVFIO)")
        }
        let devices = function.blockDevices.isEmpty ? "" : ", as \(function.blockDevices.joined(separator: ", "))"
        return NVMeError(
            .inUse, device: name, "the kernel's driver \(driver) has the device\(devices)",
            advice: "bind it to vfio-pci (PCIFunction.bindToVFIO)")
    }

    func opening(_ path: String, _ cause: Errno) -> NVMeError {
        switch cause {
        case .resourceBusy:
            let holder = holder(of: path).map { "\($0) has" } ?? "another process has"
            return NVMeError(.inUse, device: name, "\(holder) \(path) open", advice: "end that process", cause: cause)
        case .permissionDenied, .notPermitted:
            return NVMeError(
                .notPermitted, device: name, "this user may not open \(path)",
                advice: "give it to the user (chown USER \(path)), for good by a udev rule "
                    + "(SUBSYSTEM==\"vfio\", OWNER=\"USER\")",
                cause: cause)
        case .noSuchFileOrDirectory, .operationNotSupportedByDevice:
            return NVMeError(
                .notSupported, device: name, "there is no \(path)",
                advice: "load VFIO (modprobe vfio-pci) and bind all devices of IOMMU group "
                    + "\(function.group.map { "\($0)" } ?? "?") to vfio-pci", cause: cause)
        default: return system("cannot open \(path)", cause)
        }
    }

    /// From the open descriptors of all processes that this one may see (proc(5)).
    func holder(of path: String) -> String? {
        guard let wanted = tree.resolved(String(path.dropFirst())) else { return nil }
        for process in tree.names("proc").compactMap({ Int($0) }).sorted() {
            for descriptor in tree.names("proc/\(process)/fd")
            where tree.resolved("proc/\(process)/fd/\(descriptor)") == wanted {
                let command = tree.text("proc/\(process)/comm")
                return "process \(process)" + (command.map { " (\($0))" } ?? "")
            }
        }
        return nil
    }

    func notViable() -> NVMeError {
        let others = function.neighbors.filter(\.blocksGroup).map(\.description)
        let group = function.group.map { "\($0)" } ?? "?"
        return NVMeError(
            .groupNotViable, device: name,
            "IOMMU group \(group) cannot be handed out, since drivers of the kernel have other devices of it: "
                + (others.isEmpty ? "see /sys/kernel/iommu_groups/\(group)/devices" : others.joined(separator: ", ")),
            advice: "bind them to vfio-pci too, or put the device into another slot")
    }

    /// `module`: whose parameter allows it nevertheless.
    func unsafeInterrupts(module: String) -> NVMeError {
        NVMeError(
            .notPermitted, device: name, "the machine cannot keep the device's interrupts apart from others'",
            advice: "switch interrupt remapping on in the firmware; to live with it, "
                + "write 1 to /sys/module/\(module)/parameters/allow_unsafe_interrupts", cause: .notPermitted)
    }

    func system(_ what: String, _ cause: Errno?) -> NVMeError {
        NVMeError(.system, device: name, what, advice: "see the kernel's log (dmesg)", cause: cause)
    }

    /// Of VFIO_IOMMU_MAP_DMA.
    static func mapping(_ byteCount: Int, _ cause: Errno) -> NVMeError {
        if cause == .noMemory, let limit = VFIOCalls.lockedMemoryLimit {
            return NVMeError(
                .memoryLimit, "cannot pin \(byteCount) bytes for the device: the process may lock \(limit) bytes",
                advice: "raise that: 'ulimit -l unlimited' in its shell, LimitMEMLOCK=infinity in its systemd unit, or "
                    + "'USER - memlock unlimited' in /etc/security/limits.conf", cause: cause)
        }
        if cause == .noSpace {
            return NVMeError(
                .outOfMemory, "the kernel lets the device have no more mappings",
                advice: "raise /sys/module/vfio_iommu_type1/parameters/dma_entry_limit", cause: cause)
        }
        return NVMeError(
            cause == .noMemory ? .outOfMemory : .system, "cannot map \(byteCount) bytes for the device",
            advice: "see the kernel's log (dmesg)", cause: cause)
    }
}
