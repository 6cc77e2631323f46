import Logging
package import Reactors
import Synchronization
package import SystemPackage

/// A controller that the kernel's driver keeps, and whose commands it takes through io_uring (`uring_cmd`).
///
/// To the driver here it is a controller as others are: registers and queues in memory. The other side of them, which
/// is the device's elsewhere, is a ``KernelQueue`` for each pair.
package final class KernelTransport: ControllerTransport {
    package let name: String
    package let node: Int?
    package let registers: MMIO
    package let domain: DMADomain
    package let access: ControllerAccess
    /// The kernel's driver sees to all others.
    package let quirks: NVMeQuirks
    package let transferByteLimit: Int?

    /// A queue pair's other side, and where it is visited.
    struct Queue: Sendable {
        let queue: ReactorConfined<KernelQueue>
        let reactor: Reactor
    }

    private struct State {
        /// Made for pairs whose queues the driver is about to make.
        var prepared: [UInt16: Queue] = [:]
        var active: [UInt16: Queue] = [:]
        var events: [FileDescriptor] = []
        var noted: Set<Int32> = []
        var isClosed = false
    }

    let mapper = KernelMapper()
    let namespaces: KernelNamespaces
    let controller: FileDescriptor
    /// Resets the controller when it is written to; nil: this user may not.
    let resetFile: FileDescriptor?
    let usesPolledQueues: Bool
    /// The most pages that the kernel maps for one command.
    let segmentLimit: Int
    let logger: Logger
    private let device: KernelDevice
    private let tree = SystemTree(root: "/")
    private let memory: MemoryRegion
    private let state = ThreadLock(State())

    static let queueLimit = 64
    private static let entryLimit = 4096

    /// - Parameters:
    ///   - device: the kernel's.
    ///   - only: the namespace that is meant; nil: all of them.
    ///   - name: what people are told.
    ///   - access: the choice, and its reason.
    ///   - options: how it is driven.
    /// - Throws: `notPermitted`, `system`, `outOfMemory`.
    init(
        _ device: KernelDevice, only: UInt32?, name: String, access: ControllerAccess, options: NVMeController.Options
    ) throws(NVMeError) {
        self.device = device
        self.name = name
        self.access = access
        node = device.node
        let function = device.pciAddress.flatMap { [tree] in PCIFunction($0, in: tree) }
        quirks = function.map { NVMeQuirks(vendorID: $0.vendorID, deviceID: $0.deviceID) }?.intersection(.stripes) ?? []
        logger = options.logger
        usesPolledQueues = device.hasPolledQueues && !options.usesInterrupts
        let identity: [UInt8]
        do throws(Errno) {
            controller = try KernelCalls.open(device.path)
            do throws(Errno) {
                identity = try KernelCalls.identify(controller)
            } catch {
                controller.abandon()
                throw error
            }
        } catch {
            throw NVMeError(
                error == .permissionDenied || error == .notPermitted ? .notPermitted : .system, device: name,
                "\(device.path) takes no commands", cause: error)
        }
        do {
            memory = try MemoryRegion(byteCount: RegisterOffset.doorbells + 8 * (Self.queueLimit + 1))
        } catch {
            controller.abandon()
            throw NVMeError(.outOfMemory, device: name, "cannot make registers: \(error)")
        }
        registers = MMIO(memory)
        domain = DMADomain(placedBy: mapper)
        let limits = Self.limits(device, tree)
        transferByteLimit = limits.byteCount
        segmentLimit = limits.segmentCount
        resetFile = try? FileDescriptor.open(
            FilePath(tree.path("\(KernelDevice.folder(device.name))/reset_controller")), .writeOnly,
            options: .closeOnExec)
        namespaces = KernelNamespaces(device, only: only, name: name, tree: tree, logger: logger)
        // As long as may be to become ready (CAP.TO), both command sets and what Identify tells of others (CAP.CSS).
        registers.store64(
            UInt64(Self.entryLimit - 1) | 1 << 16 | 0xFF << 24 | 1 << 37 | 1 << 43, RegisterOffset.capabilities)
        let version = identity[80..<84].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        registers.store32(version == 0 ? 0x0001_0000 : version, RegisterOffset.version)
    }

    /// Of one command: the most pages, and the most bytes whatever its pages are, all of them apart, and one more as it
    /// need not begin at one's start. A power of two.
    private static func limits(_ device: KernelDevice, _ tree: SystemTree) -> (segmentCount: Int, byteCount: Int) {
        var segments = 256, bytes = 1 << 20
        for namespace in device.namespaces {
            let folder = "sys/class/block/\(namespace.block)/queue"
            if let count = tree.number("\(folder)/max_segments") { segments = min(segments, max(2, count)) }
            if let size = tree.number("\(folder)/max_hw_sectors_kb") { bytes = min(bytes, max(4, size) * 1024) }
        }
        bytes = min(bytes, (segments - 1) * 4096)
        return (segments, 1 << (Int.bitWidth - 1 - bytes.leadingZeroBitCount))
    }

    /// The system's answer to a command that has not reached the controller. The first of each kind is told.
    func note(_ cause: Errno) {
        let isFirst = state.withLock { $0.noted.insert(cause.rawValue).inserted }
        if isFirst { logger.warning("\(name): the kernel has not carried out a command: \(cause)") }
    }

    // MARK: Queues

    package func deviceSide(ofQueue id: UInt16, on local: isolated LocalReactor) -> Poller? {
        if id == 0 { return KernelAdminQueue(of: self, on: local.reactor) }
        let queue = KernelQueue(id, of: self), entry = Queue(queue: ReactorConfined(queue), reactor: local.reactor)
        state.withLock { $0.prepared[id] = entry }
        return queue
    }

    /// The driver makes its queues now, for the first time or after a reset.
    func activate(_ id: UInt16) -> Queue? {
        state.withLock { state in
            let queue = state.prepared[id]
            state.active[id] = queue
            return queue
        }
    }

    func takeQueue(_ id: UInt16) -> Queue? {
        state.withLock { state in
            state.prepared[id] = nil
            return state.active.removeValue(forKey: id)
        }
    }

    /// All that are active; they may be activated again.
    func takeQueues() -> [Queue] {
        state.withLock { state in
            defer { state.active = [:] }
            return Array(state.active.values)
        }
    }

    // MARK: Interrupts

    package var vectorCount: Int { Self.queueLimit + 1 }

    func event(_ vector: Int) -> FileDescriptor? {
        state.withLock { vector < $0.events.count ? $0.events[vector] : nil }
    }

    package func enableInterrupts(count: Int) throws(NVMeError) -> [FileDescriptor] {
        var events: [FileDescriptor] = []
        do throws(Errno) {
            for _ in 0..<count { events.append(try VFIOCalls.makeEvent()) }
        } catch {
            for event in events { event.abandon() }
            throw NVMeError(
                .system, device: name, "cannot have \(count) events",
                advice: "raise the limit on open files (ulimit -n)",
                cause: error)
        }
        state.withLock { $0.events = events }
        return events
    }

    // MARK: The device

    package var isRemoved: Bool { KernelDevice.isGone(device.name, in: tree) }

    package func baseAddressRegister(_ number: Int) -> MMIO? { nil }

    package func resetFunction() throws(NVMeError) {
        throw NVMeError(.notSupported, device: name, "the PCI function is the kernel's to reset")
    }

    package func close() {
        let events: [FileDescriptor]? = state.withLock { state in
            if state.isClosed { return nil }
            defer { state = State(isClosed: true) }
            return state.events
        }
        guard let events else { return }
        for event in events { event.abandon() }
        namespaces.close()
        controller.abandon()
        resetFile?.abandon()
    }
}
