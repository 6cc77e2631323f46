import Reactors
import SystemPackage

/// The admin queue of a controller, on its home reactor.
final class AdminQueue {
    let pair: NVMeQueuePair
    let memory: QueueMemory
    private let reactor: Reactor
    private var poller: Poller?
    private var scanner: Poller?
    private let transport: any ControllerTransport
    private var device: Poller?
    /// Commands that end only when something happens: nobody polls for them all the time.
    var eventCount = 0

    init(
        _ transport: any ControllerTransport, on reactor: Reactor, capabilities: ControllerCapabilities,
        options: NVMeController.Options
    ) throws(NVMeError) {
        self.reactor = reactor
        self.transport = transport
        let entryCount = min(max(2, options.adminEntryCount), 4096)
        memory = try QueueMemory(
            entryCount: entryCount, slotCount: entryCount - 1, pageByteCount: capabilities.pageByteCounts.lowerBound,
            node: transport.node, domain: transport.domain)
        // Admin commands always use PRP entries.
        let pointers = DataPointers(
            pageByteCount: capabilities.pageByteCounts.lowerBound, hasSGL: false, needsAlignedSGL: false,
            table: TranslationTable(domain: transport.domain), namesLengths: transport.transferByteLimit != nil)
        pair = NVMeQueuePair(id: 0, memory: memory, pointers: pointers, reactor: reactor)
    }

    /// Names the queue to a controller that is off.
    func prepare(_ registers: MMIO) {
        if pair.state == .connected { pair.disconnect(resumes: false) }
        memory.clear()
        let size = UInt32(memory.entryCount - 1)
        registers.store32(size << 16 | size, RegisterOffset.adminQueueAttributes)
        registers.store64(memory.submissionAddress.rawValue, RegisterOffset.adminSubmissionQueue)
        registers.store64(memory.completionAddress.rawValue, RegisterOffset.adminCompletionQueue)
    }

    func connect(_ registers: MMIO, stride: Int) {
        pair.connect(Self.doorbells(of: 0, in: registers, stride: stride))
    }

    static func doorbells(
        of id: UInt16, in registers: MMIO, stride: Int
    ) -> (submission: Doorbell, completion: Doorbell) {
        let first = RegisterOffset.doorbells + 2 * Int(id) * stride
        return (registers.doorbell(first), registers.doorbell(first + stride))
    }

    /// Polls from now on: all the time while commands are under way, else ten times a second for what the controller
    /// reports by itself.
    func startPolling(named name: String, on local: isolated LocalReactor, scan: @escaping () -> Void) {
        let poller = AdminPoller(self, name: "nvme admin \(name)")
        self.poller = poller
        local.add(poller)
        device = transport.deviceSide(ofQueue: 0, on: local)
        if let device { local.add(device) }
        scanner = local.addPoller(named: "nvme scan \(name)", every: NVMeQueuePair.scanPeriod) {
            scan()
            return .idle
        }
    }

    fileprivate func visit() -> PollResult {
        let result = pair.poll()
        return result == .pending && pair.outstanding <= eventCount ? .idle : result
    }

    func stopPolling(on local: isolated LocalReactor) {
        if let poller { local.remove(poller) }
        if let scanner { local.remove(scanner) }
        if let device { local.remove(device) }
        device = nil
        poller = nil
        scanner = nil
    }
}

/// Visits an admin queue. Keeps it until it is stopped: a reference that does not would be counted at each visit.
private final class AdminPoller: Poller {
    private let queue: AdminQueue

    init(_ queue: AdminQueue, name: String) {
        self.queue = queue
        super.init(name: name)
    }

    override func poll() -> PollResult { queue.visit() }
}
