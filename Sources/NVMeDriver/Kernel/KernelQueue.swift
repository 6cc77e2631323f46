import CLinux
import Reactors
package import SystemPackage

// SAFETY (below): the queues lie in memory of the pair, which is polled, and so alive, as long as this is; indexes stay
// below its count of entries. Entries' words are read within their 64 bytes.

/// The device's side of one queue pair whose commands the kernel's driver carries out: takes entries from the
/// submission queue, gives them to the kernel through a ring of io_uring, and puts what came of them in the completion
/// queue.
///
/// Visited in each turn on the pair's reactor, after the pair itself. Cost of a command: no allocation, no lock; a
/// system call for all that a turn brings.
@safe class KernelQueue: Poller {
    /// Where the queues lie, and what is signalled when a command ends.
    struct Layout: Sendable {
        var entryCount = 0
        var submission: UInt64 = 0
        var completion: UInt64 = 0
        var event: FileDescriptor?
    }

    let id: UInt16
    let transport: KernelTransport
    private(set) var ring: CommandRing?
    private var submission: UnsafeMutableRawPointer?
    private var completion: UnsafeMutableRawPointer?
    private var entryCount = 0
    private var head = 0
    private var tail = 0
    private var phase: UInt32 = 1
    final var inFlight = 0
    private let doorbell: MMIO
    /// What came to an end without the device is not told: the driver collects it itself.
    private var isStopping = false
    private var whenStopped: (() -> Void)?

    // The namespaces that commands have named, and the last one.
    private var namespaces: [(id: UInt32, file: CommandRing.File, isWritable: Bool)] = []
    private var last = 0

    init(_ id: UInt16, of transport: KernelTransport) {
        self.id = id
        self.transport = transport
        doorbell = transport.registers.slice(from: RegisterOffset.doorbells + 8 * Int(id), byteCount: 8)
        super.init(name: "nvme \(transport.name) kernel queue \(id)")
    }

    // MARK: Starting and stopping

    /// The driver has made its queues; there is nothing in them.
    final func begin(_ layout: Layout, isPolled: Bool) throws(Errno) {
        if ring == nil {
            let made = try CommandRing(
                entryCount: min(layout.entryCount, 4096), isPolled: isPolled, mapper: id == 0 ? nil : transport.mapper,
                segmentLimit: transport.segmentLimit)
            if let event = layout.event { try made.signal(event) }
            ring = made
        }
        unsafe submission = UnsafeMutableRawPointer(bitPattern: UInt(layout.submission))
        unsafe completion = UnsafeMutableRawPointer(bitPattern: UInt(layout.completion))
        head = 0
        tail = 0
        phase = 1
        isStopping = false
        doorbell.store64(0, 0)
        entryCount = layout.entryCount
    }

    /// Takes no more commands; `done` is called when the kernel has none any more.
    final func stop(_ done: @escaping () -> Void) {
        isStopping = true
        whenStopped = done
        endIfDrained()
    }

    private func endIfDrained() {
        guard isStopping, inFlight == 0, let done = whenStopped else { return }
        entryCount = 0
        whenStopped = nil
        done()
    }

    // MARK: A turn

    override func poll() -> PollResult {
        guard entryCount > 0, let ring else { return .idle }
        let didFetch = isStopping ? false : fetch(ring)
        if inFlight == 0 { return didFetch ? .busy : .idle }
        let didWork = ring.turn { token, result, status in complete(token, result, status) }
        if isStopping { endIfDrained() }
        return didFetch || didWork ? .busy : .idle
    }

    private func fetch(_ ring: CommandRing) -> Bool {
        let end = Int(doorbell.load32(0))
        if end == head || end >= entryCount { return false }
        while head != end, let entries = unsafe submission {
            let entry = unsafe UnsafeRawPointer(entries + head &<< 6)
            if unsafe !take(entry, ring) { break }
            head = head &+ 1 == entryCount ? 0 : head &+ 1
        }
        return true
    }

    /// False: there is no room for it at present.
    @unsafe
    func take(_ entry: UnsafeRawPointer, _ ring: CommandRing) -> Bool {
        let identifier = unsafe entry.load(fromByteOffset: 2, as: UInt16.self)
        guard let place = namespace(unsafe entry.load(fromByteOffset: 4, as: UInt32.self), ring) else {
            post(identifier, NVMeCompletion(status: NVMeStatus(type: 0, code: 0x0B, doNotRetry: true)))
            return true
        }
        let opcode = unsafe entry.load(as: UInt8.self), flags = unsafe entry.load(fromByteOffset: 1, as: UInt8.self)
        // The kernel knows no fused commands.
        if flags & 3 != 0 {
            post(identifier, NVMeCompletion(status: NVMeStatus(type: 0, code: 0x02, doNotRetry: true)))
            return true
        }
        if !namespaces[place].isWritable, !Self.readsOnly(opcode) {
            post(identifier, NVMeCompletion(status: .operationDenied))
            return true
        }
        let isTaken = unsafe ring.prepare(
            entry, for: namespaces[place].file, isAdmin: false, token: UInt64(identifier))
        if isTaken { inFlight &+= 1 }
        return isTaken
    }

    /// Commands that leave a namespace as it is.
    private static func readsOnly(_ opcode: UInt8) -> Bool {
        switch opcode {
        case IOOpcode.flush, IOOpcode.read, IOOpcode.compare, IOOpcode.verify, IOOpcode.reservationReport,
            IOOpcode.ioManagementReceive, IOOpcode.zoneManagementReceive:
            true
        default: false
        }
    }

    @inline(__always)
    private func namespace(_ id: UInt32, _ ring: CommandRing) -> Int? {
        if last < namespaces.count, namespaces[last].id == id { return last }
        return find(id, ring)
    }

    private func find(_ id: UInt32, _ ring: CommandRing) -> Int? {
        if let known = namespaces.firstIndex(where: { $0.id == id }) {
            last = known
            return known
        }
        guard let file = transport.namespaces.file(of: id) else { return nil }
        last = namespaces.count
        namespaces.append((id, ring.add(file.descriptor), file.isWritable))
        return last
    }

    // MARK: Completions

    func complete(_ token: UInt64, _ result: UInt64, _ status: Int32) {
        inFlight &-= 1
        let identifier = UInt16(truncatingIfNeeded: token)
        if status >= 0 {
            let answer = NVMeStatus(rawValue: UInt16(truncatingIfNeeded: status))
            // The kernel's own reset has ended it.
            if isStopping, answer.isPathError { return }
            return post(identifier, NVMeCompletion(result: result, status: answer))
        }
        if isStopping { return }
        let cause = Errno(rawValue: -status)
        transport.note(cause)
        if cause == .operationNotSupportedByDevice || cause == .noSuchAddressOrDevice { forgetNamespaces() }
        post(identifier, NVMeCompletion(status: NVMeStatus(of: cause)))
    }

    /// One has gone. They are looked up anew.
    private func forgetNamespaces() {
        for each in namespaces { transport.namespaces.forget(each.id) }
        namespaces = []
        ring?.removeFiles()
    }

    /// A queue has room for all that were in it.
    final func post(_ identifier: UInt16, _ answer: NVMeCompletion) {
        guard let entries = unsafe completion else { return }
        let entry = unsafe entries + tail &<< 4
        unsafe entry.storeBytes(of: answer.result, as: UInt64.self)
        unsafe entry.storeBytes(of: UInt32(head) | UInt32(id) << 16, toByteOffset: 8, as: UInt32.self)
        // The word with the phase comes last.
        let word = UInt32(identifier) | (UInt32(answer.status.rawValue) << 1 | phase) << 16
        unsafe clinux_mmio_store32(entry + 12, word)
        tail &+= 1
        if tail == entryCount {
            tail = 0
            phase ^= 1
        }
    }
}

extension NVMeStatus {
    /// Something else uses the namespace.
    static let operationDenied = NVMeStatus(type: 0, code: 0x15, doNotRetry: true)

    /// What it means that the kernel has not given a command to the controller, or has lost it.
    package init(of cause: Errno) {
        switch cause {
        // A reset by the kernel.
        case .interrupted, .canceled: self.init(type: 3, code: 0x71)
        case .operationNotSupportedByDevice, .noSuchAddressOrDevice, .badFileDescriptor:
            self.init(type: 0, code: 0x0B, doNotRetry: true)
        case .invalidArgument: self.init(type: 0, code: 0x02, doNotRetry: true)
        case .permissionDenied, .notPermitted: self = .operationDenied
        case .badAddress: self.init(type: 0, code: 0x04, doNotRetry: true)
        default: self = .internalError
        }
    }
}
