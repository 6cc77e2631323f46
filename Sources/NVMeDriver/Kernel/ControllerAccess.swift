import Logging
public import Reactors

/// How a controller is reached, and why not in a better way.
public struct ControllerAccess: Hashable, Sendable, CustomStringConvertible {
    public enum Way: String, Sendable {
        /// Its registers and queues are this process's own, through VFIO.
        case direct
        /// The kernel's driver has it, and takes commands through io_uring.
        case passThrough = "pass-through"
        /// The kernel's driver has it, and only its block devices can be used.
        case blockDevice = "block device"
    }

    public let way: Way
    /// A sentence; nil: there is no better way.
    public let reason: String?
    /// The kernel's interface to the IOMMU, of what is reached through VFIO: `type 1` or `iommufd`.
    public let interface: String?

    package init(_ way: Way, through interface: String? = nil, because reason: String? = nil) {
        self.way = way
        self.interface = interface
        self.reason = reason
    }

    /// `direct, through iommufd`, or `pass-through, since the kernel's driver nvme has the device`.
    public var description: String {
        way.rawValue + (interface.map { ", through \($0)" } ?? "") + (reason.map { ", since \($0)" } ?? "")
    }
}

/// Which way to a controller there is.
package struct AccessChoice: Sendable {
    package let access: ControllerAccess
    /// nil: the function is with VFIO.
    package let device: KernelDevice?
    /// The only one that is meant.
    package let namespace: UInt32?

    /// VFIO where it has the function; else the kernel's driver through io_uring where that can be, as `probe` says
    /// (nil, or what is missing); else the kernel's block devices. No device changes hands for it.
    ///
    /// - Throws: `noSuchDevice`; `invalidArgument` for another kind of function; `notSupported` when no driver has it;
    ///   `inUse` when another than the kernel's NVMe driver has.
    package static func make(
        _ address: NVMeAddress, in tree: SystemTree, probe: (KernelDevice, UInt32?) -> String?
    ) throws(NVMeError) -> AccessChoice {
        var reason = "a device of the kernel's driver was named"
        if let pci = address.pciAddress {
            guard let function = PCIFunction(pci, in: tree) else {
                throw NVMeError(
                    .noSuchDevice, device: "\(pci)", "there is no such PCI function", advice: "see lspci -D")
            }
            if function.isHandedOut || !function.isNVMe {
                return AccessChoice(access: ControllerAccess(.direct), device: nil, namespace: nil)
            }
            if function.driver != "nvme" { throw VFIOFailure(function, in: tree).notHandedOut() }
            reason = Self.reason(function, in: tree)
        }
        let (device, namespace) = try KernelDevice.find(address, in: tree)
        guard let obstacle = probe(device, namespace) else {
            return AccessChoice(
                access: ControllerAccess(.passThrough, because: reason), device: device, namespace: namespace)
        }
        return AccessChoice(
            access: ControllerAccess(.blockDevice, because: "\(reason), and \(obstacle)"), device: device,
            namespace: namespace)
    }

    /// Why VFIO does not have it, and what would be in the way.
    private static func reason(_ function: PCIFunction, in tree: SystemTree) -> String {
        var text = "the kernel's driver nvme has the device"
        if function.group == nil { text += " (no IOMMU looks after it)" }
        do throws(NVMeError) {
            try function.requireIdle(in: tree)
        } catch {
            text += " (\(error.message))"
        }
        return text
    }
}

extension NVMeController {
    /// Brings the controller at `address` up on this reactor: through VFIO when that has it, else through the kernel's
    /// own driver, which keeps it. A notice tells which, and why.
    ///
    /// Through the kernel's driver all of a controller works but fused commands; its namespaces are looked at once a
    /// second, since the kernel keeps what the controller reports for itself. A namespace that is mounted or otherwise
    /// in use can only be read. The others are claimed, so that nobody mounts them meanwhile.
    /// - Parameters:
    ///   - address: where it is.
    ///   - reactor: its home.
    ///   - options: how it is driven.
    /// - Throws: as the attach by PCI address; `notSupported` when only its block devices can be used: the message says
    ///   why.
    public static func attach(
        at address: NVMeAddress, on reactor: Reactor, options: Options = Options()
    ) async throws(NVMeError) -> NVMeController {
        let choice = try AccessChoice.make(address, in: SystemTree(root: "/"), probe: KernelCalls.probe)
        return try await attach(choice, at: address, on: reactor, options: options)
    }

    package static func attach(
        _ choice: AccessChoice, at address: NVMeAddress, on reactor: Reactor, options: Options
    ) async throws(NVMeError) -> NVMeController {
        switch choice.access.way {
        case .direct:
            guard let pci = address.pciAddress else { preconditionFailure("a device file is of the kernel's driver") }
            return try await attach(pciAddress: pci, on: reactor, options: options)
        case .passThrough:
            guard let device = choice.device else { preconditionFailure("pass-through without a device") }
            options.logger.notice("\(address): \(choice.access)")
            var options = options
            // Registers are memory here anyhow.
            options.usesShadowDoorbells = false
            let transport = try KernelTransport(
                device, only: choice.namespace, name: address.description, access: choice.access, options: options)
            return try await attach(transport, on: reactor, options: options)
        case .blockDevice:
            throw NVMeError(
                .notSupported, device: address.description,
                "only its block devices can be used: \(choice.access.reason ?? "")",
                advice: "use them through the uring module, or bind the device to vfio-pci")
        }
    }

    /// How this process reaches it.
    public nonisolated var access: ControllerAccess { transport.access }
}
