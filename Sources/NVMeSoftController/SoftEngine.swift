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
    }

    let options: SoftController.Options
    let registers: MMIO
    let mapper = SoftMapper()
    var poller: Poller?
    var namespaces: [UInt32: SoftNamespace] = [:]
    private let memory: MemoryRegion
    private let clock: ReactorClock
    private let capabilityBits: UInt64
    private var isEnabled = false
    private var readyChange: (at: UInt64, to: Bool)?
    private(set) var submissions: [Int: Queue] = [:]
    private(set) var completions: [Int: Queue] = [:]
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
    private var isBroken = false
    private var isGone = false

    private struct Delayed {
        let due: UInt64
        let identifier: UInt16
        let completion: NVMeCompletion
        let queue: Int
    }

    private static let capabilities = 0, version = 8, configuration = 0x14, status = 0x1C
    private static let adminAttributes = 0x24, adminSubmission = 0x28, adminCompletion = 0x30, doorbells = 0x1000

    init(_ options: SoftController.Options, clock: ReactorClock) throws(ReactorError) {
        self.options = options
        self.clock = clock
        faults = SoftFaults(seed: options.seed)
        let stride = 4 << options.doorbellStrideShift
        memory = try MemoryRegion(byteCount: Self.doorbells + 2 * stride * (options.queuePairLimit + 1))
        registers = MMIO(memory)
        for (index, each) in options.namespaces.enumerated() {
            let id = UInt32(index + 1)
            namespaces[id] = try SoftNamespace(id: id, each)
        }
        var capabilities = UInt64(options.queueEntryLimit - 1) | 1 << 16 | UInt64(options.readyTimeout) << 24
        capabilities |= UInt64(options.doorbellStrideShift) << 32 | 1 << 37
        capabilityBits = capabilities
        showCapabilities()
    }

    private func showCapabilities() {
        registers.store64(capabilityBits, Self.capabilities)
        registers.store32(0x0001_0400, Self.version)
    }

    // MARK: A turn

    func poll() -> PollResult {
        if isGone { return .idle }
        var result = PollResult.idle
        followConfiguration()
        if let change = readyChange {
            result = .pending
            if clock.now() >= change.at { becomeReady(change.to) }
        }
        if isEnabled, !isBroken {
            result = .pending
            if endDelayed() { result = .busy }
            for id in submissions.keys.sorted() where work(id) { result = .busy }
        }
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
        if wanted >> 14 & 3 != 0, registers.load32(Self.status) >> 2 & 3 == 0 {
            registers.store32(registers.load32(Self.status) | 2 << 2, Self.status)
        }
    }

    private func stop() {
        isEnabled = false
        isBroken = false
        delayed = []
        submissions = [:]
        completions = [:]
        eventRequests = []
    }

    private func becomeReady(_ isReady: Bool) {
        readyChange = nil
        if isReady {
            for offset in stride(from: Self.doorbells, to: registers.byteCount, by: 4) { registers.store32(0, offset) }
            let attributes = registers.load32(Self.adminAttributes)
            submissions[0] = Queue(
                address: registers.load64(Self.adminSubmission), entryCount: Int(attributes & 0xFFF) + 1)
            completions[0] = Queue(
                address: registers.load64(Self.adminCompletion), entryCount: Int(attributes >> 16 & 0xFFF) + 1)
            isEnabled = true
            registers.store32(1, Self.status)
        } else {
            registers.store32(0, Self.status)
        }
    }

    // MARK: Queues

    private func doorbell(_ id: Int, completion: Bool) -> Int {
        let value = registers.load32(
            Self.doorbells + (2 * id + (completion ? 1 : 0)) * (4 << options.doorbellStrideShift))
        return Int(value)
    }

    /// Fetches and does what has been submitted. Whether there was anything.
    private func work(_ id: Int) -> Bool {
        var didWork = false
        while let queue = submissions[id], queue.index != doorbell(id, completion: false) {
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
        if faults.loses(command.opcode) { return }
        let completion = faults.failure(of: command.opcode).map { NVMeCompletion(status: $0) } ?? perform(command)
        guard let completion else { return }
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

    // MARK: Going wrong

    func breakDown() {
        isBroken = true
        registers.store32(registers.load32(Self.status) | 2, Self.status)
    }

    func pullOut() {
        isGone = true
        for offset in stride(from: 0, to: registers.byteCount, by: 4) { registers.store32(.max, offset) }
    }

    func plugIn() {
        stop()
        isGone = false
        readyChange = nil
        for offset in stride(from: 0, to: registers.byteCount, by: 4) { registers.store32(0, offset) }
        showCapabilities()
    }

    /// A notice: the attributes of a namespace have changed (log page 4).
    func namespaceChanged(_ id: UInt32) {
        changedNamespaces.insert(id)
        report(2 | 4 << 16)
    }

    func report(_ event: UInt32) {
        guard isEnabled, !eventRequests.isEmpty else { return events.append(event) }
        complete(eventRequests.removeFirst(), NVMeCompletion(result: UInt64(event)), on: 0)
    }

    private func hasRoom(_ id: Int) -> Bool {
        guard let queue = completions[id] else { return false }
        return (queue.index + 1) % queue.entryCount != doorbell(id, completion: true)
    }

    func complete(_ identifier: UInt16, _ completion: NVMeCompletion, on id: Int) {
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

    // MARK: Making queues

    func createCompletionQueue(_ command: SoftCommand) -> NVMeStatus {
        let id = Int(command[10] & 0xFFFF), count = Int(command[10] >> 16) + 1
        if id == 0 || id > options.queuePairLimit || completions[id] != nil { return NVMeStatus(type: 1, code: 0x01) }
        if count < 2 || count > options.queueEntryLimit { return NVMeStatus(type: 1, code: 0x02) }
        completions[id] = Queue(address: command.dataPointer1, entryCount: count)
        registers.store32(0, Self.doorbells + (2 * id + 1) * (4 << options.doorbellStrideShift))
        return .success
    }

    func createSubmissionQueue(_ command: SoftCommand) -> NVMeStatus {
        let id = Int(command[10] & 0xFFFF), count = Int(command[10] >> 16) + 1, target = Int(command[11] >> 16)
        if id == 0 || id > options.queuePairLimit || submissions[id] != nil { return NVMeStatus(type: 1, code: 0x01) }
        if count < 2 || count > options.queueEntryLimit { return NVMeStatus(type: 1, code: 0x02) }
        if completions[target] == nil || target == 0 { return NVMeStatus(type: 1, code: 0x00) }
        var queue = Queue(address: command.dataPointer1, entryCount: count)
        queue.target = target
        submissions[id] = queue
        registers.store32(0, Self.doorbells + 2 * id * (4 << options.doorbellStrideShift))
        return .success
    }

    func deleteQueue(_ command: SoftCommand, isSubmission: Bool) -> NVMeStatus {
        let id = Int(command[10] & 0xFFFF)
        if isSubmission {
            if id == 0 || submissions.removeValue(forKey: id) == nil { return NVMeStatus(type: 1, code: 0x01) }
        } else {
            if submissions.values.contains(where: { $0.target == id }) { return NVMeStatus(type: 1, code: 0x0C) }
            if id == 0 || completions.removeValue(forKey: id) == nil { return NVMeStatus(type: 1, code: 0x01) }
        }
        return .success
    }
}

/// A command as the controller has fetched it.
struct SoftCommand {
    private let words: [UInt32]

    init(_ entry: IOMemory) { words = (0..<16).map { entry.load(at: 4 * $0) } }

    subscript(word: Int) -> UInt32 { words[word] }
    var opcode: UInt8 { UInt8(truncatingIfNeeded: words[0]) }
    var usesSGL: Bool { words[0] >> 14 & 3 != 0 }
    var identifier: UInt16 { UInt16(words[0] >> 16) }
    var namespaceID: UInt32 { words[1] }
    var metadataPointer: UInt64 { quad(4) }
    var dataPointer1: UInt64 { quad(6) }
    var dataPointer2: UInt64 { quad(8) }
    var startBlock: UInt64 { quad(10) }
    var blockCount: UInt64 { UInt64(words[12] & 0xFFFF) + 1 }
    private func quad(_ word: Int) -> UInt64 { UInt64(words[word]) | UInt64(words[word + 1]) << 32 }
}
