import CLinux
import Logging
public import Reactors
import Synchronization
package import SystemPackage

/// A controller on the PCI bus, handed to this process by VFIO.
package final class VFIOTransport: ControllerTransport {
    package let name: String
    package let node: Int?
    package let registers: MMIO
    package let domain: DMADomain
    package let quirks: NVMeQuirks
    package let vectorCount: Int

    /// What the device has until it is given back.
    private struct State {
        var mappings: [MappedRegion?]
        /// Of the interrupt vectors.
        var events: [FileDescriptor] = []
        var isClosed = false
    }

    private let address: PCIAddress
    private let group: VFIOGroup
    private let device: FileDescriptor
    /// Signalled when the kernel wants the device back.
    private let request: FileDescriptor
    private let hasBeenRequested = Atomic(false)
    private let state: ThreadLock<State>
    private let mainGuard: RegionGuard

    /// Memory space, bus master, no pin interrupts (PCI Local Bus Specification 3.0, section 6.2.2).
    private static let commandBits: UInt16 = 0x0406
    private static let memorySpace: UInt16 = 0x0002

    /// Opens the function at `address`, which is with VFIO (``PCIFunction/bindToVFIO(force:)``).
    ///
    /// - Throws: `noSuchDevice`, `inUse`, `noIOMMU`, `notPermitted`, `groupNotViable`, `notSupported`, `system`.
    package convenience init(
        _ address: PCIAddress, allowsNoIOMMU: Bool = false, in tree: SystemTree = SystemTree(root: "/")
    ) throws(NVMeError) {
        guard let function = PCIFunction(address, in: tree) else {
            throw NVMeError(
                .noSuchDevice, device: "\(address)", "there is no such PCI function", advice: "see lspci -D")
        }
        if !function.isNVMe {
            throw NVMeError(
                .invalidArgument, device: "\(address)",
                "the device is no NVMe controller (class 0x\(String(function.classCode, radix: 16)))")
        }
        let failure = VFIOFailure(function, in: tree)
        if !function.isHandedOut { throw failure.notHandedOut() }
        let group = try VFIOGroup.of(function, allowsNoIOMMU: allowsNoIOMMU, in: tree)
        let device = try group.openDevice(function, failure)
        do {
            try self.init(function, group, device)
        } catch {
            group.closeDevice(address, device)
            throw (error as? NVMeError) ?? failure.system("cannot set the device up", error as? Errno)
        }
    }

    private init(_ function: PCIFunction, _ group: VFIOGroup, _ device: FileDescriptor) throws {
        address = function.address
        name = "\(address)"
        node = function.node
        quirks = NVMeQuirks(vendorID: function.vendorID, deviceID: function.deviceID)
        self.group = group
        self.device = device
        try VFIOCalls.setCommandBits(Self.commandBits, device)
        guard let region = try MappedRegion(device, number: 0) else {
            throw NVMeError(.notSupported, device: name, "the kernel does not let the device's registers be mapped")
        }
        registers = region.memory
        mainGuard = region.failures
        vectorCount = try VFIOCalls.vectorCount(device)
        request = try VFIOCalls.makeEvent()
        VFIOCalls.setRequestEvent(request, device)
        let controllers = function.neighbors.filter(\.isNVMe)
        if !group.iommu.isReal {
            // What is in one piece, and stays where it is.
            domain = DMADomain(placedBy: group, pages: .huge)
        } else {
            let (usable, pageByteCount) = try group.addresses(
                part: controllers.count { $0.address < function.address }, of: controllers.count + 1)
            // Large pages of the IOMMU, where memory allows.
            domain = DMADomain(group, usable: usable, granule: max(2 << 20, pageByteCount))
        }
        state = ThreadLock(State(mappings: [region, nil, nil, nil, nil, nil]))
    }

    package var hasIOMMU: Bool { group.iommu.isReal }

    package var access: ControllerAccess { ControllerAccess(.direct, through: group.iommu.name) }

    package var isRemoved: Bool {
        if hasBeenRequested.load(ordering: .relaxed) || mainGuard.isTripped { return true }
        if VFIOCalls.take(request) == 0 { return false }
        hasBeenRequested.store(true, ordering: .relaxed)
        return true
    }

    package func enableInterrupts(count: Int) throws(NVMeError) -> [FileDescriptor] {
        precondition(1...vectorCount ~= count, "a device signals some of the vectors that it has")
        var events: [FileDescriptor] = []
        do {
            for _ in 0..<count { events.append(try VFIOCalls.makeEvent()) }
            try VFIOCalls.setVectors(events, device)
        } catch {
            for event in events { event.abandon() }
            throw NVMeError(
                .system, device: name, "cannot have \(count) interrupt vectors",
                advice: "raise the limit on open files (ulimit -n), or poll", cause: error)
        }
        state.withLock { $0.events = events }
        return events
    }

    package func baseAddressRegister(_ number: Int) -> MMIO? {
        guard 0..<6 ~= number else { return nil }
        return state.withLock { state in
            if state.isClosed { return nil }
            if state.mappings[number] == nil { state.mappings[number] = try? MappedRegion(device, number: number) }
            return state.mappings[number]?.memory
        }
    }

    package func resetFunction() throws(NVMeError) {
        do {
            if try !VFIOCalls.canReset(device) {
                throw NVMeError(.notSupported, device: name, "the kernel knows no way to reset the device")
            }
            try VFIOCalls.reset(device)
            // What the kernel restores is what it was when it handed the device out.
            try VFIOCalls.setCommandBits(Self.commandBits, device)
        } catch let error as NVMeError {
            throw error
        } catch {
            throw NVMeError(
                .system, device: name, "cannot reset the PCI function", advice: "power the machine off and on",
                cause: error as? Errno)
        }
    }

    package func restoreFunction() throws(NVMeError) {
        let events = state.withLock(\.events)
        do {
            // The kernel writes its base address registers again, too, when it sees that they are gone.
            try VFIOCalls.setCommandBits(Self.commandBits, device)
            if events.isEmpty { return }
            try VFIOCalls.setVectors([], device)
            try VFIOCalls.setVectors(events, device)
        } catch {
            throw NVMeError(
                .system, device: name, "cannot set the PCI function up again after a reset of its subsystem",
                advice: "power the machine off and on", cause: error)
        }
    }

    /// Makes the registers go away as if the device had been pulled out, for tests: accesses to them fail from now on.
    package func hideRegisters() throws(Errno) { try VFIOCalls.clearCommandBits(Self.memorySpace, device) }

    package func close() {
        let held: State? = state.withLock { state in
            if state.isClosed { return nil }
            let held = state
            state = State(mappings: Array(repeating: nil, count: 6), isClosed: true)
            return held
        }
        guard let held else { return }
        if !held.events.isEmpty { try? VFIOCalls.setVectors([], device) }
        for event in held.events { event.abandon() }
        // The regions stay mapped as long as this object: somebody may still look at a register. A mapping keeps the
        // device open, so that they are exchanged for memory of all ones.
        for mapping in held.mappings { mapping?.detach() }
        state.withLock { $0.mappings = held.mappings }
        group.closeDevice(address, device)
    }

    deinit {
        close()
        request.abandon()
    }
}

extension NVMeController {
    /// Takes the controller at `pciAddress` from VFIO and brings it up on this reactor.
    ///
    /// The function must be bound to `vfio-pci` (``PCIFunction/bindToVFIO(force:)``). No rights are needed where the
    /// user may open the IOMMU group (`/dev/vfio/N`) and may lock enough memory. Several controllers may be attached
    /// side by side, each by a task of its own.
    /// - Parameters:
    ///   - pciAddress: where it is.
    ///   - reactor: its home.
    ///   - options: how it is driven.
    /// - Throws: `noSuchDevice`; `inUse`, which says by whom; `noIOMMU`; `groupNotViable`, which says because of which
    ///   devices; `notPermitted` and `memoryLimit`, which say what to allow; what bringing it up throws: `removed`,
    ///   `timedOut`, `controllerFailed`, `commandFailed`, `notSupported`, `outOfMemory`. The device is given back then.
    public static func attach(
        pciAddress: PCIAddress, on reactor: Reactor, options: Options = Options()
    ) async throws(NVMeError) -> NVMeController {
        let transport = try VFIOTransport(pciAddress, allowsNoIOMMU: options.allowsNoIOMMU)
        if !transport.hasIOMMU {
            options.logger.warning("\(pciAddress): no IOMMU looks after the device: it reaches all memory")
            if reactor.memoryPages != .huge {
                transport.close()
                throw NVMeError(
                    .notSupported, device: "\(pciAddress)",
                    "without an IOMMU a device reaches hugepages only, and its reactor's memory is none",
                    advice: "make the reactors with ReactorOptions.memory.pages = .huge")
            }
        }
        return try await attach(transport, on: reactor, options: options)
    }
}
