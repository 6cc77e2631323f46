public import Bdev
import Logging
package import NVMeDriver
import Reactors

/// A controller whose namespaces are used through the kernel's block devices.
struct PlainController: Sendable {
    let address: NVMeAddress
    let access: ControllerAccess
    let node: Int?
    var bdevs: [String] = []
}

extension NVMeModule {
    /// Who makes bdevs of block devices: the uring module, as a rule.
    public struct BlockDevices: Sendable {
        let make: @Sendable (_ name: String, _ path: String) async throws(BdevError) -> Void
        let delete: @Sendable (_ name: String) async throws(BdevError) -> Void

        /// - Parameters:
        ///   - make: makes the bdev `name` of the device at `path`.
        ///   - delete: removes it, and waits until everyone has closed it.
        public init(
            make: @escaping @Sendable (_ name: String, _ path: String) async throws(BdevError) -> Void,
            delete: @escaping @Sendable (_ name: String) async throws(BdevError) -> Void
        ) {
            self.make = make
            self.delete = delete
        }
    }

    /// Where neither VFIO nor pass-through can be used, bdevs are made of the kernel's block devices from now on.
    /// Without this, such a controller cannot be attached.
    public func useBlockDevices(_ blockDevices: BlockDevices) { state.withLock { $0.blockDevices = blockDevices } }

    func choose(_ address: NVMeAddress, for name: String) throws(BdevError) -> AccessChoice {
        do throws(NVMeError) {
            return try AccessChoice.make(address, in: SystemTree(root: "/"), probe: KernelCalls.probe)
        } catch {
            throw BdevError(error, "cannot attach '\(name)'")
        }
    }

    package func attachBlocks(
        _ name: String, _ choice: AccessChoice, at address: NVMeAddress, _ options: AttachOptions
    ) async throws(BdevError) -> [String] {
        guard let device = choice.device, let blockDevices = state.withLock({ $0.blockDevices }) else {
            throw BdevError(
                .notSupported,
                "cannot attach '\(name)': only the block devices of \(address) can be used: "
                    + (choice.access.reason ?? ""), advice: "use them through the uring module")
        }
        var exclusive = options
        exclusive.allowsMultipath = false
        try begin(name, exclusive)
        defer { end(name) }
        let namespaces = device.namespaces.filter { choice.namespace == nil || $0.id == choice.namespace }
        if namespaces.count > options.bdevCountLimit {
            throw BdevError(
                .invalidArgument,
                "the controller has \(namespaces.count) namespaces, more than the \(options.bdevCountLimit) allowed",
                advice: "allow more bdevs")
        }
        logger.notice("\(address): \(choice.access)")
        var plain = PlainController(address: address, access: choice.access, node: device.node)
        for namespace in namespaces {
            let bdev = "\(name)n\(namespace.id)"
            do throws(BdevError) {
                try await blockDevices.make(bdev, namespace.blockPath)
            } catch {
                for made in plain.bdevs { try? await blockDevices.delete(made) }
                throw error
            }
            plain.bdevs.append(bdev)
        }
        let attached = plain
        state.withLock { $0.plain[name] = attached }
        return attached.bdevs
    }

    /// False: nothing is attached as `name` in this way.
    func detachBlocks(_ name: String, at address: String?) async throws(BdevError) -> Bool {
        let (found, blockDevices) = state.withLock { ($0.plain[name], $0.blockDevices) }
        guard let found, let blockDevices else { return false }
        if let address, address != found.address.description {
            throw BdevError(.noSuchBdev, "no controller at \(address) is attached as '\(name)'")
        }
        for bdev in found.bdevs {
            do throws(BdevError) {
                try await blockDevices.delete(bdev)
            } catch {
                // Somebody has deleted it by its own name.
                if error.code != .noSuchBdev { throw error }
            }
        }
        state.withLock { _ = $0.plain.removeValue(forKey: name) }
        return true
    }
}
