import NVMeDriver
import Reactors

/// The controller itself, on its reactor.
final class SoftEngine {
    struct Queue {
        var address: UInt64
        var entryCount: Int
        /// Of a submission queue: the next to fetch. Of a completion queue: the next to fill.
        var index = 0
        /// Of a completion queue: the phase of what is filled now.
        var phase: UInt16 = 1
        /// Of a submission queue: where its completions go.
        var target = 0
        /// Of a submission queue with a shadow doorbell: the register has been stored to, the shadow is looked at.
        var isAwake = false
        /// Of a submission queue: the first half of a fused operation, whose second has not been fetched.
        var fused: SoftCommand?
    }

    let options: SoftController.Options
    let registers: MMIO
    let mapper = SoftMapper()
    var poller: Poller?
    var namespaces: [UInt32: SoftNamespace] = [:]
    /// Made, and attached to no controller.
    var unattached: [UInt32: SoftNamespace] = [:]
    private let memory: MemoryRegion
    let clock: ReactorClock
    private var capabilityBits: UInt64
    /// There are other command sets than that of the first namespaces.
    private(set) var hasCommandSets = false
    private(set) var isEnabled = false
    var readyChange: (at: UInt64, to: Bool)?
    var submissions: [Int: Queue] = [:]
    var completions: [Int: Queue] = [:]
    /// Command identifiers of asynchronous event requests.
    var eventRequests: [UInt16] = []
    /// Events that nobody waits for yet: word 0 of their completions.
    var events: [UInt32] = []
    /// For the log page of changed namespaces.
    var changedNamespaces: Set<UInt32> = []
    var faults: SoftFaults
    /// By group, as far as it is not optimized.
    var accesses: [UInt32: SoftController.Access] = [:]
    private var delayed: [Delayed] = []
    private var alarm: SoftAlarm
    /// Where the host keeps shadow doorbells and their events.
    var shadows: (values: UInt64, events: UInt64)?
    /// Its own memory.
    let buffer: MemoryRegion?
    /// Its persistent memory.
    let persistent: MemoryRegion?
    var firmware = SoftFirmware()
    /// What the log page of self-tests says: which is under way.
    var selfTest: UInt8 = 0
    /// What the host has said that it knows.
    var hostKnows = (retryDelays: false, extendedFormats: false)
    /// When the host was last known to be there, and how long it may be silent.
    var keepAlive: (last: UInt64, ticks: UInt64)?
    var isBroken = false
    var isGone = false
    /// Of the same subsystem: a reset of that is one of theirs, too.
    var peers: [WeakEngine] = []

    private struct Delayed {
        let due: UInt64
        let identifier: UInt16
        let completion: NVMeCompletion
        let queue: Int
    }

    private static let capabilities = 0, version = 8, configuration = 0x14
    static let status = 0x1C, subsystemReset = 0x20
    private static let adminAttributes = 0x24, adminSubmission = 0x28, adminCompletion = 0x30
    static let doorbells = 0x1000

    init(_ options: SoftController.Options, loop: ReactorLoop) throws(ReactorError) {
        self.options = options
        clock = loop.clock
        alarm = SoftAlarm(loop)
        faults = SoftFaults(seed: options.seed)
        let stride = 4 << options.doorbellStrideShift
        memory = try MemoryRegion(byteCount: Self.doorbells + 2 * stride * (options.queuePairLimit + 1))
        registers = MMIO(memory)
        let count = options.memoryBufferByteCount
        precondition(count % 4096 == 0, "a controller's memory has whole pages")
        buffer = count > 0 ? try MemoryRegion(byteCount: count) : nil
        persistent = try Self.makePersistentMemory(options.persistentMemory)
        for (index, each) in options.namespaces.enumerated() {
            let id = UInt32(index + 1)
            namespaces[id] = try SoftNamespace(id: id, each)
        }
        var capabilities = UInt64(options.queueEntryLimit - 1) | 1 << 16 | UInt64(options.readyTimeout) << 24
        capabilities |= UInt64(options.doorbellStrideShift) << 32 | 1 << 37
        if options.resetsSubsystem { capabilities |= 1 << 36 }
        if count > 0 { capabilities |= 1 << 57 }
        if persistent != nil { capabilities |= 1 << 56 }
        capabilityBits = capabilities
        noticeCommandSets()
    }

    /// CSS bit 6: I/O command sets are told apart by Identify, as soon as there is a namespace of another.
    func noticeCommandSets() {
        hasCommandSets = hasCommandSets || namespaces.values.contains { $0.commandSet != 0 }
        if hasCommandSets { capabilityBits |= 1 << 43 }
        showCapabilities()
    }

    func showCapabilities() {
        registers.store64(capabilityBits, Self.capabilities)
        registers.store32(options.version.rawValue, Self.version)
        showMemorySize()
    }

    // MARK: A turn

    func poll() -> PollResult {
        if isGone { return .idle }
        var result = PollResult.idle
        if options.resetsSubsystem, registers.load32(Self.subsystemReset) == Self.resetKey { resetSubsystem() }
        followConfiguration()
        followPersistentMemory()
        if let change = readyChange {
            result = .pending
            if clock.now() >= change.at { becomeReady(change.to) }
        }
        if isEnabled, !isBroken {
            result = .pending
            if let keepAlive, clock.now() &- keepAlive.last > keepAlive.ticks { breakDown() }
            if endDelayed() { result = .busy }
            for id in submissions.keys.sorted() where work(id) { result = .busy }
        }
        if let readyChange { alarm.set(at: readyChange.at) }
        if let first = delayed.first { alarm.set(at: first.due) }
        return result
    }

    private func followConfiguration() {
        let wanted = registers.load32(Self.configuration)
        let enable = wanted & 1 != 0
        if enable != isEnabled, readyChange == nil || readyChange!.to != enable {
            readyChange = (clock.now() &+ clock.ticks(options.readyLatency), enable)
            // Off is off at once; only CSTS says so later.
            if !enable { stop() }
        }
        if wanted >> 14 & 3 != 0, !faults.ignoresShutdown, registers.load32(Self.status) >> 2 & 3 == 0 {
            registers.store32(registers.load32(Self.status) | 2 << 2, Self.status)
        }
    }

    func stop() {
        isEnabled = false
        isBroken = false
        delayed = []
        submissions = [:]
        completions = [:]
        shadows = nil
        keepAlive = nil
        hostKnows = (false, false)
        firmware.activate()
        eventRequests = []
    }

    private func becomeReady(_ isReady: Bool) {
        readyChange = nil
        if isReady {
            placeMemory()
            for offset in stride(from: Self.doorbells, to: registers.byteCount, by: 4) { registers.store32(0, offset) }
            let attributes = registers.load32(Self.adminAttributes)
            submissions[0] = Queue(
                address: registers.load64(Self.adminSubmission), entryCount: Int(attributes & 0xFFF) + 1)
            completions[0] = Queue(
                address: registers.load64(Self.adminCompletion), entryCount: Int(attributes >> 16 & 0xFFF) + 1)
            isEnabled = true
            registers.store32(registers.load32(Self.status) & Self.wasReset | 1, Self.status)
        } else {
            registers.store32(registers.load32(Self.status) & Self.wasReset, Self.status)
        }
    }

    // MARK: Queues

    /// Fetches and does what has been submitted. Whether there was anything.
    private func work(_ id: Int) -> Bool {
        var didWork = false
        while let queue = submissions[id], queue.index != submissionTail(id, mayRest: !didWork) {
            guard hasRoom(queue.target), queue.index < queue.entryCount,
                let entry = mapper.memory(at: queue.address + UInt64(queue.index * 64), byteCount: 64)
            else { return didWork }
            submissions[id]!.index = (queue.index + 1) % queue.entryCount
            didWork = true
            let command = SoftCommand(entry)
            if id == 0 {
                if let completion = administrate(command) { complete(command.identifier, completion, on: id) }
            } else {
                execute(command, on: id)
            }
        }
        return didWork
    }

    private func execute(_ command: SoftCommand, on id: Int) {
        let first = submissions[id]!.fused
        submissions[id]!.fused = nil
        if let first {
            if command.fusion == .second { return executeFused(first, command, on: id) }
            finish(first, NVMeCompletion(status: .abortedByMissingFused), on: id)
        }
        switch command.fusion {
        case .none: executeAlone(command, on: id)
        case .first: submissions[id]!.fused = command
        case .second: finish(command, NVMeCompletion(status: .abortedByMissingFused), on: id)
        }
    }

    private func executeFused(_ first: SoftCommand, _ second: SoftCommand, on id: Int) {
        let isLegal =
            first.opcode == IOOpcode.compare && second.opcode == IOOpcode.write
            && first.startBlock == second.startBlock && first.blockCount == second.blockCount
            && first.blockCount <= UInt64(options.fusedBlockCountLimit)
        let compared = isLegal ? perform(first) : NVMeCompletion(status: .invalidField)
        let failed = NVMeCompletion(status: .abortedByFailedFused)
        let written = compared?.status.isSuccess == true ? perform(second) : failed
        if let compared { finish(first, compared, on: id) }
        if let written { finish(second, written, on: id) }
    }

    private func executeAlone(_ command: SoftCommand, on id: Int) {
        if faults.loses(command.opcode) { return }
        let completion = faults.failure(of: command.opcode).map { NVMeCompletion(status: $0) } ?? perform(command)
        if let completion { finish(command, completion, on: id) }
    }

    /// At once, or when its time has come.
    private func finish(_ command: SoftCommand, _ completion: NVMeCompletion, on id: Int) {
        if faults.latency.upperBound == .zero { return end(command.identifier, completion, on: id) }
        let due = clock.now() &+ clock.ticks(faults.nextLatency())
        let place = delayed.firstIndex { $0.due > due } ?? delayed.count
        delayed.insert(
            Delayed(due: due, identifier: command.identifier, completion: completion, queue: id), at: place)
    }

    private func endDelayed() -> Bool {
        var didEnd = false
        while let first = delayed.first, first.due <= clock.now(), hasRoom(submissions[first.queue]?.target ?? -1) {
            delayed.removeFirst()
            end(first.identifier, first.completion, on: first.queue)
            didEnd = true
        }
        return didEnd
    }

    /// Ends a command before its time. Whether it was under way.
    func abort(_ identifier: UInt16, of id: Int) -> Bool {
        guard faults.abortsCommands, hasRoom(submissions[id]?.target ?? -1),
            let index = delayed.firstIndex(where: { $0.queue == id && $0.identifier == identifier })
        else { return false }
        delayed.remove(at: index)
        complete(identifier, NVMeCompletion(status: .abortRequested), on: id)
        return true
    }

    private func end(_ identifier: UInt16, _ completion: NVMeCompletion, on id: Int) {
        switch faults.misbehavior {
        case nil: complete(identifier, completion, on: id)
        case .completesUnknownCommand: complete(identifier ^ 1, completion, on: id)
        case .completesIdentifierOutOfRange: complete(0xFFFE, completion, on: id)
        case .completesTwice:
            complete(identifier, completion, on: id)
            complete(identifier, completion, on: id)
        }
        faults.misbehavior = nil
    }

    private func hasRoom(_ id: Int) -> Bool {
        guard let queue = completions[id] else { return false }
        return (queue.index + 1) % queue.entryCount != completionHead(id)
    }

    func complete(_ identifier: UInt16, _ completion: NVMeCompletion, on id: Int) {
        var (identifier, completion) = (identifier, completion)
        faults.tampering.alter(&identifier, &completion)
        guard let source = submissions[id], var target = completions[source.target],
            let entry = mapper.memory(at: target.address + UInt64(target.index * 16), byteCount: 16)
        else { return }
        entry.store(completion.result, at: 0)
        entry.store(UInt32(source.index) | UInt32(id) << 16, at: 8)
        // The word with the phase comes last.
        let word = UInt32(identifier) | UInt32(completion.status.rawValue << 1 | target.phase) << 16
        MMIO(entry).store32(word, 12)
        target.index += 1
        if target.index == target.entryCount {
            target.index = 0
            target.phase ^= 1
        }
        completions[source.target] = target
    }
}
