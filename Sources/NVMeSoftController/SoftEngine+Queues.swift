import NVMeDriver
import Reactors

// Queues, and how the host tells of what it has put in them.
extension SoftEngine {
    // MARK: Doorbells

    /// Up to where the host has taken completions.
    func completionHead(_ id: Int) -> Int {
        let offset = doorbellOffset(id, completion: true)
        if id == 0 || shadows == nil { return Int(registers.load32(offset)) }
        let (value, _, word) = shadow(offset)
        return Int(value.load32(word))
    }

    /// Up to where the host has given commands. `mayRest`: where there are no more, the controller sleeps until the
    /// register is stored to.
    func submissionTail(_ id: Int, mayRest: Bool) -> Int {
        let offset = doorbellOffset(id, completion: false)
        if id == 0 || shadows == nil { return Int(registers.load32(offset)) }
        return shadowedTail(id, offset, mayRest: mayRest)
    }

    private func doorbellOffset(_ id: Int, completion: Bool) -> Int {
        Self.doorbells + (2 * id + (completion ? 1 : 0)) * (4 << options.doorbellStrideShift)
    }

    private func shadow(_ offset: Int) -> (value: MMIO, event: MMIO, word: Int) {
        let place = UInt64(offset - Self.doorbells)
        guard let shadows, let value = mapper.memory(at: shadows.values + place & ~7, byteCount: 8),
            let event = mapper.memory(at: shadows.events + place & ~7, byteCount: 8)
        else { preconditionFailure("the host's shadow doorbells are not within its memory") }
        return (MMIO(value), MMIO(event), Int(place & 7))
    }

    /// No register holds this: the host has not stored to it since it was last looked at.
    private static let untold = UInt32.max

    /// What the host has told. Asleep, only the register is looked at; awake, only the shadow.
    private func shadowedTail(_ id: Int, _ offset: Int, mayRest: Bool) -> Int {
        if !submissions[id]!.isAwake {
            if registers.exchange32(Self.untold, offset) == Self.untold { return submissions[id]!.index }
            submissions[id]!.isAwake = true
        }
        let (value, event, word) = shadow(offset), tail = value.load32(word)
        if Int(tail) != submissions[id]!.index || !mayRest { return Int(tail) }
        // From here on it wants to be told; what came before that is not missed.
        _ = event.exchange32(tail, word)
        let again = value.load32(word)
        if again == tail { submissions[id]!.isAwake = false }
        return Int(again)
    }

    func useShadows(_ command: SoftCommand) -> NVMeStatus {
        let (values, events) = (command.dataPointer1, command.dataPointer2)
        if !options.hasDoorbellBuffers { return .invalidOpcode }
        if values & 4095 != 0 || events & 4095 != 0 || mapper.memory(at: values, byteCount: 4096) == nil
            || mapper.memory(at: events, byteCount: 4096) == nil
        {
            return .invalidField
        }
        shadows = (values, events)
        return .success
    }

    // MARK: Making queues

    func createCompletionQueue(_ command: SoftCommand) -> NVMeStatus {
        let id = Int(command[10] & 0xFFFF), count = Int(command[10] >> 16) + 1
        if id == 0 || id > options.queuePairLimit || completions[id] != nil { return NVMeStatus(type: 1, code: 0x01) }
        if count < 2 || count > options.queueEntryLimit { return NVMeStatus(type: 1, code: 0x02) }
        completions[id] = Queue(address: command.dataPointer1, entryCount: count)
        registers.store32(0, doorbellOffset(id, completion: true))
        return .success
    }

    func createSubmissionQueue(_ command: SoftCommand) -> NVMeStatus {
        let id = Int(command[10] & 0xFFFF), count = Int(command[10] >> 16) + 1, target = Int(command[11] >> 16)
        if id == 0 || id > options.queuePairLimit || submissions[id] != nil { return NVMeStatus(type: 1, code: 0x01) }
        if count < 2 || count > options.queueEntryLimit { return NVMeStatus(type: 1, code: 0x02) }
        if completions[target] == nil || target == 0 { return NVMeStatus(type: 1, code: 0x00) }
        placeMemory()
        var queue = Queue(address: command.dataPointer1, entryCount: count)
        queue.target = target
        submissions[id] = queue
        registers.store32(shadows == nil ? 0 : Self.untold, doorbellOffset(id, completion: false))
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
