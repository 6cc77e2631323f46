import Reactors

/// A failure that is made up, to see what its users do.
public struct ErrorInjection: Sendable, Hashable {
    /// Which commands.
    public var opcode: UInt8
    /// How many of them; then it is used up.
    public var count: Int
    /// What they end with.
    public var status: NVMeStatus

    public init(opcode: UInt8, count: Int, status: NVMeStatus) {
        self.opcode = opcode
        self.count = count
        self.status = status
    }
}

// What the controller, and the pair's own clock, do to a pair.
extension NVMeQueuePair {
    /// How long a period of the scan for time-outs and retries is: the unit of the controller's retry delays.
    static let scanPeriod = Duration.milliseconds(100)
    private static let retryLimit: UInt8 = 4

    // MARK: Connecting

    /// The controller has the queues, empty: commands that waited are given to it.
    func connect(_ doorbells: (submission: Doorbell, completion: Doorbell)) {
        self.doorbells = doorbells
        state = .connected
        startWaiting()
    }

    /// The controller has forgotten the queues, or is about to. What it had not answered waits for it to come back
    /// (`resumes`), or ends as aborted.
    func disconnect(resumes: Bool) {
        state = .disconnected
        doorbells = nil
        needsDoorbell = false
        unacknowledged = 0
        for slot in 0..<memory.slotCount {
            switch memory[slot].state {
            // Two that are one operation would not stay side by side.
            case .inFlight where resumes && memory[slot].command.fusion == .none: wait(slot)
            case .inFlight, .aborting: fail(slot, .abortedBySubmissionQueueDeletion)
            case .lingering: free(slot)
            case .free, .waiting, .failed: continue
            }
        }
        inFlight = 0
        memory.clear()
        tail = 0
        head = 0
        phase = 1
    }

    /// For good: everything that is not complete ends as aborted.
    func close() {
        disconnect(resumes: false)
        state = .closed
        failWaiting()
        // Nobody visits it any more; a client that gives others for ever is not waited for.
        for _ in 0...memory.slotCount where hasFailed || hasRefused { _ = poll() }
    }

    /// What has not been given to the controller, and will not be, ends as aborted.
    func failWaiting() {
        while waitingFirst >= 0 {
            let slot = Int(waitingFirst)
            waitingFirst = memory[slot].next
            fail(slot, .abortedBySubmissionQueueDeletion)
        }
        waitingLast = -1
        for each in delayed { fail(each.slot, .abortedBySubmissionQueueDeletion) }
        delayed = []
    }

    // MARK: Retries

    /// Whether the controller asked for the command again, later.
    @inline(never)
    func keepsForRetry(_ slot: Int, _ status: NVMeStatus) -> Bool {
        let isTransient = status.matches(.namespaceNotReady) || status.matches(.formatInProgress)
        if !isTransient || status.doesNotRetry || state != .connected { return false }
        if memory[slot].command.fusion != .none { return false }
        if memory[slot].retries >= Self.retryLimit { return false }
        memory[slot].retries += 1
        memory[slot].state = .waiting
        let periods = status.retryDelay == 0 ? 1 : retryDelays[status.retryDelay - 1]
        delayed.append((slot, epoch &+ UInt32(periods)))
        return true
    }

    /// Visited once in a period: retries what is due, and says what has been with the controller for too long.
    func scan() {
        epoch &+= 1
        if !delayed.isEmpty {
            let due = delayed.filter { $0.epoch <= epoch }
            delayed.removeAll { $0.epoch <= epoch }
            for each in due { wait(each.slot) }
            startWaiting()
        }
        waits.giveUpCancelled()
        guard let overdueLimit, inFlight > 0 else { return }
        for slot in 0..<memory.slotCount where memory[slot].state == .inFlight || memory[slot].state == .aborting {
            let count = memory[slot].overdueCount
            if epoch &- memory[slot].epoch <= overdueLimit &* (UInt32(count) &+ 1) { continue }
            memory[slot].overdueCount &+= 1
            overdue?(memory[slot].command, count)
        }
    }

    // MARK: Aborting

    /// Gives up the commands that `client` gave with `token`. Those that wait end as aborted; of those that are with
    /// the controller the identifiers are returned, to be named in an Abort command, and then to be given to
    /// ``abortEnded(_:)``.
    func beginAbort(token: UInt64, of client: NVMeClient) -> [UInt16] {
        var inFlight: [UInt16] = []
        var waiting: [Int] = []
        for slot in 0..<memory.slotCount where memory[slot].token == token && memory[slot].belongs(to: client) {
            switch memory[slot].state {
            case .inFlight:
                memory[slot].state = .aborting
                inFlight.append(UInt16(slot))
            case .waiting: waiting.append(slot)
            case .free, .aborting, .lingering, .failed: continue
            }
        }
        for slot in waiting {
            removeWaiting(slot)
            fail(slot, .abortRequested)
        }
        return inFlight
    }

    /// The same for one command, by its identifier. Whether it is with the controller.
    func beginAbort(_ identifier: UInt16) -> Bool {
        let slot = Int(identifier)
        guard slot < memory.slotCount, memory[slot].state == .inFlight else { return false }
        memory[slot].state = .aborting
        return true
    }

    /// The Abort command has ended, whatever it did: the identifier may be used again, when its command has ended too.
    func abortEnded(_ identifier: UInt16) {
        let slot = Int(identifier)
        switch memory[slot].state {
        case .aborting: memory[slot].state = .inFlight
        case .lingering: free(slot)
        case .free, .waiting, .inFlight, .failed: return
        }
    }

    private func free(_ slot: Int) {
        memory[slot].state = .free
        memory[slot].next = firstFree
        firstFree = Int32(slot)
        outstanding -= 1
    }

    func removeWaiting(_ slot: Int) {
        delayed.removeAll { $0.slot == slot }
        var before: Int32 = -1, at = waitingFirst
        while at >= 0, Int(at) != slot {
            before = at
            at = memory[Int(at)].next
        }
        if at < 0 { return }
        let next = memory[slot].next
        if before < 0 { waitingFirst = next } else { memory[Int(before)].next = next }
        if waitingLast == at { waitingLast = before }
    }

    // MARK: Injected errors

    /// From now on, commands end with a made-up error and are not given to the controller.
    public func inject(_ injection: ErrorInjection) {
        removeInjections(opcode: injection.opcode)
        if injection.count > 0 { injections.append(injection) }
        hasInjections = !injections.isEmpty
    }

    public func removeInjections(opcode: UInt8) {
        injections.removeAll { $0.opcode == opcode }
        hasInjections = !injections.isEmpty
    }

    func inject(_ slot: Int) -> Bool {
        let opcode = memory[slot].command.opcode
        guard let index = injections.firstIndex(where: { $0.opcode == opcode }) else { return false }
        fail(slot, injections[index].status)
        injections[index].count -= 1
        if injections[index].count == 0 { injections.remove(at: index) }
        hasInjections = !injections.isEmpty
        return true
    }
}

extension NVMeQueuePair {
    /// Visits the pair on every turn from now on, and after it its other side, where that is in this process.
    func startPolling(named name: String, device: Poller?, on local: isolated LocalReactor) {
        let poller = QueuePoller(self, name: "nvme \(name) queue \(id)")
        pollers = [
            poller,
            local.addPoller(named: "nvme scan \(name) queue \(id)", every: Self.scanPeriod) { [unowned self] in
                scan()
                return .idle
            },
        ]
        local.add(poller)
        guard let device else { return }
        local.add(device)
        pollers.append(device)
    }

    func stopPolling(on local: isolated LocalReactor) {
        for poller in pollers { local.remove(poller) }
        pollers = []
        interrupts?.close()
        interrupts = nil
    }
}

/// Visits one queue pair. Keeps it until it is stopped: a reference that does not would be counted at each visit.
private final class QueuePoller: Poller {
    private let pair: NVMeQueuePair

    init(_ pair: NVMeQueuePair, name: String) {
        self.pair = pair
        super.init(name: name)
    }

    override func poll() -> PollResult { pair.poll() }
}
