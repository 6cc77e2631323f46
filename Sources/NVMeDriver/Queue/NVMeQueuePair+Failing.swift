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

    /// Those that there are: what fails as they are told has its turn later, so that a client which gives the same
    /// again for ever does not keep the reactor from its other work.
    func tellFailed() {
        let all = failed
        failed = []
        hasFailed = false
        for each in all { end(each.slot, NVMeCompletion(status: each.status)) }
    }

    /// Ends the commands of `client` that wait for room, or for the controller to be ready for them again, with
    /// `NVMeStatus.commandAbortedByHost`: they have not been done, and can go another way. Those that the controller
    /// has been given stay. Told at the next visit.
    public func giveBackWaiting(of client: NVMeClient) {
        var slot = waitingFirst
        while slot >= 0 {
            let next = memory[Int(slot)].next
            giveBack(Int(slot), of: client)
            slot = next
        }
        for each in delayed { giveBack(each.slot, of: client) }
    }

    private func giveBack(_ slot: Int, of client: NVMeClient) {
        if !memory[slot].belongs(to: client) { return }
        removeWaiting(slot)
        fail(slot, .commandAbortedByHost)
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
