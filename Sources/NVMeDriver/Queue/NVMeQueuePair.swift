public import Reactors

/// A submission queue and a completion queue of a controller, and the requests in them. One reactor's, and only used
/// there: it is not `Sendable`.
///
/// Commands given in one turn of the reactor are told to the controller together, with one doorbell write at the turn's
/// end. A full queue keeps commands in order; when no request is free either, the client is refused and told when to go
/// on.
///
/// Cost of a command: no allocation, no lock, no system call.
public final class NVMeQueuePair {
    /// Whether commands reach the controller.
    public enum State: Sendable, Hashable {
        case connected
        /// The controller is being reset: commands wait.
        case disconnected
        /// For good.
        case closed
    }

    /// 0 for the admin queue.
    public let id: UInt16

    // What other modules see is checked for exclusive access at run time, which costs more than the rest of a command.
    var counters = Statistics()
    var connection = State.disconnected
    var commandCount = 0

    let memory: QueueMemory
    let pointers: DataPointers
    var doorbells: (submission: Doorbell, completion: Doorbell)?
    /// Told of a completion that names no command: the controller must be reset.
    var violation: ((String) -> Void)?

    var tail = 0
    var head = 0
    var phase: UInt32 = 1
    var inFlight = 0
    var needsDoorbell = false
    /// Completions taken that the controller has not been told of.
    var unacknowledged = 0
    let inFlightLimit: Int

    var firstFree: Int32 = 0
    var waitingFirst: Int32 = -1, waitingLast: Int32 = -1
    /// Failed by the driver, to be told at the next poll.
    var failed: [(slot: Int, status: NVMeStatus)] = []
    var hasFailed = false
    /// Wait for the controller to be ready for them, until a period of the scan.
    var delayed: [(slot: Int, epoch: UInt32)] = []
    private var clients: [NVMeClient] = []
    private var refused: [NVMeClient] = []
    /// It is not empty, as for `failed`: a look at an array that calls change is checked for exclusive access.
    private(set) var hasRefused = false
    /// The first of them, while it is being told that there is room.
    private(set) var serving: NVMeClient?
    /// Periods of the time-out scan so far.
    var epoch: UInt32 = 0
    var injections: [ErrorInjection] = []
    var hasInjections = false
    var pollers: [Poller] = []
    /// What wakes the reactor; nil: nothing does, it polls while commands are under way.
    var interrupts: InterruptWait?
    /// After how many periods of the scan a command is overdue; nil: never.
    var overdueLimit: UInt32?
    /// Told of a command that is, and how often it has been before.
    var overdue: ((SubmissionQueueEntry, _ count: UInt8) -> Void)?
    /// CRDT1 to 3 of the controller, in periods of the scan.
    var retryDelays = [1, 1, 1]
    /// Has the controller asked to abort commands of the pair, by their identifiers; nil: it cannot be. It is given the
    /// pair: after one weak reference to that, each reference a command takes costs four times as much.
    var requestAbort: ((NVMeQueuePair, [UInt16]) -> Void)?
    /// Of the async calls.
    private(set) var waits: CommandWaits!

    init(id: UInt16, memory: QueueMemory, pointers: DataPointers, reactor: Reactor) {
        self.id = id
        self.memory = memory
        self.pointers = pointers
        // One entry stays empty: a full queue could not be told from an empty one.
        inFlightLimit = min(memory.entryCount - 1, memory.slotCount)
        for slot in 0..<memory.slotCount {
            memory[slot].next = slot + 1 < memory.slotCount ? Int32(slot + 1) : -1
        }
        waits = CommandWaits(of: self, reactor: reactor)
        add(waits)
    }

    // MARK: Clients

    /// Keeps `client` until it is removed or the pair is closed.
    public func add(_ client: NVMeClient) { clients.append(client) }

    /// Lets go of a client that has no commands outstanding here.
    public func remove(_ client: NVMeClient) {
        clients.removeAll { $0 === client }
        refused.removeAll { $0 === client }
        hasRefused = !refused.isEmpty
    }

    // MARK: Giving commands

    /// Gives a command whose data, if it has any, lies in one stretch, such as a bdev's request hands out. Who has
    /// buffers gives those: ``submit(_:buffer:client:token:)``.
    ///
    /// False: no request is free. Nothing has happened then, and `client` will be told when there is room. A command
    /// that cannot be carried out (memory out of the device's reach, a closed pair) is accepted and ends with an error,
    /// as every other.
    /// - Parameters:
    ///   - command: all but where the data is.
    ///   - data: stays untouched by others, and alive, until the command has ended.
    ///   - metadata: as `data`; one stretch, at a multiple of 4 bytes.
    ///   - client: one that was added here.
    ///   - token: comes back with the completion.
    @discardableResult
    public func submit(
        _ command: SubmissionQueueEntry, data: IOMemory? = nil, metadata: IOMemory? = nil, client: NVMeClient,
        token: UInt64
    ) -> Bool {
        let slot = takeSlot(command, client, token)
        if slot < 0 { return false }
        if let data, let error = pointers.set(data, for: slot, in: memory) { return fail(slot, error) }
        if let metadata, let error = pointers.setMetadata(metadata, for: slot, in: memory) {
            return fail(slot, error)
        }
        start(slot)
        return true
    }

    /// Gives a command whose data lies in several stretches. As ``submit(_:data:metadata:client:token:)``.
    @discardableResult
    public func submit(
        _ command: SubmissionQueueEntry, segments: [IOMemory], metadata: IOMemory? = nil, client: NVMeClient,
        token: UInt64
    ) -> Bool {
        let slot = takeSlot(command, client, token)
        if slot < 0 { return false }
        if let error = pointers.set(segments, for: slot, in: memory) { return fail(slot, error) }
        if let metadata, let error = pointers.setMetadata(metadata, for: slot, in: memory) {
            return fail(slot, error)
        }
        start(slot)
        return true
    }

    @inline(__always)
    func takeSlot(_ command: SubmissionQueueEntry, _ client: NVMeClient, _ token: UInt64) -> Int {
        let slot = Int(firstFree)
        if slot < 0 || hasRefused, slot < 0 || serving !== client { return refuse(client) }
        firstFree = memory[slot].next
        outstanding &+= 1
        memory[slot].take(command, number: slot, client: client, token: token)
        return slot
    }

    @inline(never)
    func refuse(_ client: NVMeClient) -> Int {
        if !client.wantsRoom {
            client.wantsRoom = true
            // The one that is being served keeps its place.
            if serving !== client { refused.append(client) }
            hasRefused = true
        }
        return -1
    }

    @inline(__always)
    func start(_ slot: Int) {
        if hasInjections, inject(slot) { return }
        if inFlight < inFlightLimit, waitingFirst < 0, state == .connected { enqueue(slot) } else { wait(slot) }
    }

    @inline(__always)
    func enqueue(_ slot: Int) {
        memory[slot].state = .inFlight
        memory[slot].epoch = epoch
        memory.enqueue(slot, at: tail)
        tail = tail &+ 1 == memory.entryCount ? 0 : tail &+ 1
        inFlight &+= 1
        counters.submitted &+= 1
        needsDoorbell = true
    }

    func wait(_ slot: Int) {
        if state == .closed {
            fail(slot, .abortedBySubmissionQueueDeletion)
            return
        }
        memory[slot].state = .waiting
        memory[slot].next = -1
        if waitingLast < 0 { waitingFirst = Int32(slot) } else { memory[Int(waitingLast)].next = Int32(slot) }
        waitingLast = Int32(slot)
        counters.queued &+= 1
    }

    func startWaiting() {
        while waitingFirst >= 0, state == .connected {
            let slot = Int(waitingFirst)
            // Nothing comes between two that are one operation.
            let needed = memory[slot].command.fusion == .first ? 2 : 1
            if inFlight + needed > inFlightLimit { return }
            waitingFirst = memory[slot].next
            if waitingFirst < 0 { waitingLast = -1 }
            enqueue(slot)
        }
    }

    // MARK: Polling

    /// Delivers what has ended, and tells the controller of what was given. Called once in a turn.
    func poll() -> PollResult {
        counters.polls &+= 1
        let count = state == .connected ? processCompletions() : 0
        if hasFailed { tellFailed() }
        if hasRefused { serveRefused() }
        if needsDoorbell || unacknowledged > 0 { ringDoorbells() }
        if count > 0 || hasFailed { return .busy }
        counters.idlePolls &+= 1
        return inFlight > 0 && interrupts == nil ? .pending : .idle
    }

    /// Each doorbell write costs what many commands cost: the controller is told of entries that it may fill again only
    /// before it could want them, and of commands once a turn.
    private func ringDoorbells() {
        if unacknowledged > 0, interrupts != nil || unacknowledged &+ inFlight >= memory.entryCount {
            unacknowledged = 0
            let end = UInt32(truncatingIfNeeded: head)
            if doorbells?.completion.ring(end) == true { counters.completionDoorbells &+= 1 }
        }
        if !needsDoorbell { return }
        needsDoorbell = false
        if doorbells?.submission.ring(UInt32(truncatingIfNeeded: tail)) == true { counters.submissionDoorbells &+= 1 }
    }

    @inline(__always)
    private func processCompletions() -> Int {
        var count = 0
        // A queue that never runs dry does not keep the reactor from its other work.
        while count < memory.entryCount {
            let word = memory.completionHead(at: head)
            if word >> 16 & 1 != phase { break }
            let slot = Int(word & 0xFFFF)
            let completion = NVMeCompletion(
                result: memory.completionResult(at: head),
                status: NVMeStatus(rawValue: UInt16(truncatingIfNeeded: word >> 17)))
            head &+= 1
            if head == memory.entryCount {
                head = 0
                phase ^= 1
            }
            count &+= 1
            if slot < memory.slotCount, memory[slot].state == .inFlight {
                inFlight &-= 1
                end(slot, completion)
            } else if !endAborted(slot, completion) {
                break
            }
            if state != .connected { return count }
        }
        if count > 0 {
            unacknowledged &+= count
            if waitingFirst >= 0 { startWaiting() }
        }
        return count
    }

    @inline(__always)
    func end(_ slot: Int, _ completion: NVMeCompletion) {
        if !completion.status.isSuccess, keepsForRetry(slot, completion.status) { return }
        let next = firstFree
        firstFree = Int32(truncatingIfNeeded: slot)
        outstanding &-= 1
        counters.completed &+= 1
        memory.end(slot, next: next, completion)
    }

    private func serveRefused() {
        while firstFree >= 0, let client = refused.first {
            client.wantsRoom = false
            serving = client
            client.queueHasRoom()
            serving = nil
            if client.wantsRoom { return }
            refused.removeFirst()
            hasRefused = !refused.isEmpty
        }
    }
}
