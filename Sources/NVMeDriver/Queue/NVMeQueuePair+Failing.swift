// Commands that the driver itself ends.
extension NVMeQueuePair {
    /// Always true: the command has been accepted.
    func fail(_ slot: Int, _ error: DataPointerError) -> Bool {
        switch error {
        case .unreachable: fail(slot, .dataTransferError)
        case .misaligned: fail(slot, NVMeStatus(type: 0, code: 0x13, doNotRetry: true))
        case .tooLong: fail(slot, NVMeStatus(type: 0, code: 0x02, doNotRetry: true))
        }
        return true
    }

    func fail(_ slot: Int, _ status: NVMeStatus) {
        memory[slot].state = .failed
        failed.append((slot, status))
        hasFailed = true
    }

    func tellFailed() {
        while !failed.isEmpty {
            let all = failed
            failed = []
            hasFailed = false
            for each in all { end(each.slot, NVMeCompletion(status: each.status)) }
        }
    }

    /// Of a command that an Abort names, or none at all. Whether it was in flight.
    @inline(never)
    func endAborted(_ slot: Int, _ completion: NVMeCompletion) -> Bool {
        guard slot < memory.slotCount, memory[slot].state == .aborting else {
            violation?("a completion of queue \(id) names command \(slot), which is not in flight")
            return false
        }
        inFlight -= 1
        counters.completed &+= 1
        memory[slot].state = .lingering
        memory.tell(slot, completion)
        return true
    }
}
