import Reactors

/// Who may do what while a namespace is reserved (NVM Express Base Specification 2.0, figure 110).
public enum ReservationKind: UInt8, Sendable, CaseIterable {
    case writeExclusive = 1
    case exclusiveAccess = 2
    case writeExclusiveRegistrantsOnly = 3
    case exclusiveAccessRegistrantsOnly = 4
    case writeExclusiveAllRegistrants = 5
    case exclusiveAccessAllRegistrants = 6
}

// Reservations (sections 7.2 to 7.5). Called on the pair's reactor; a conflict is `commandFailed` with
// `NVMeStatus.reservationConflict`.
extension NVMeQueuePair {
    /// What is done with this host's key.
    public enum ReservationRegistration: UInt8, Sendable { case register = 0, unregister = 1, replace = 2 }
    /// What is done to a reservation.
    public enum ReservationAcquisition: UInt8, Sendable { case acquire = 0, preempt = 1, preemptAndAbort = 2 }

    /// - Parameters:
    ///   - namespace: of the pair's controller.
    ///   - action: what is done.
    ///   - current: the key so far; ignored when a key is registered for the first time.
    ///   - new: the key from here on; ignored when the key is taken away.
    ///   - ignoresKey: IEKEY: `current` is not looked at.
    public nonisolated(nonsending) func register(
        _ namespace: NVMeNamespace, _ action: ReservationRegistration, current: UInt64 = 0, new: UInt64 = 0,
        ignoresKey: Bool = false
    ) async throws(NVMeError) {
        var command = SubmissionQueueEntry(opcode: IOOpcode.reservationRegister, namespaceID: namespace.id)
        command.cdw10 = UInt32(action.rawValue) | (ignoresKey ? 8 : 0)
        try await giveKeys(command, current, new)
    }

    /// Takes the reservation, or takes it from the host with the key `preempted`.
    public nonisolated(nonsending) func acquire(
        _ namespace: NVMeNamespace, _ action: ReservationAcquisition = .acquire, _ kind: ReservationKind,
        key: UInt64, preempted: UInt64 = 0
    ) async throws(NVMeError) {
        var command = SubmissionQueueEntry(opcode: IOOpcode.reservationAcquire, namespaceID: namespace.id)
        command.cdw10 = UInt32(action.rawValue) | UInt32(kind.rawValue) << 8
        try await giveKeys(command, key, preempted)
    }

    /// Gives the reservation back, or takes all of them and all keys away (`clears`).
    public nonisolated(nonsending) func release(
        _ namespace: NVMeNamespace, _ kind: ReservationKind, key: UInt64, clears: Bool = false
    ) async throws(NVMeError) {
        var command = SubmissionQueueEntry(opcode: IOOpcode.reservationRelease, namespaceID: namespace.id)
        command.cdw10 = (clears ? 1 : 0) | UInt32(kind.rawValue) << 8
        try await giveKeys(command, key, nil)
    }

    /// The report as the controller gives it, in 4,096 bytes, with extended data structures where it has them.
    public nonisolated(nonsending) func reservationReport(
        _ namespace: NVMeNamespace, extended: Bool = false
    ) async throws(NVMeError) -> [UInt8] {
        var command = SubmissionQueueEntry(opcode: IOOpcode.reservationReport, namespaceID: namespace.id)
        command.cdw10 = 4096 / 4 - 1
        command.cdw11 = extended ? 1 : 0
        var buffer = await waits.reactor.local.buffer(byteCount: 4096)
        buffer.fill(with: 0)
        try await execute(command, data: &buffer)
        return buffer.copied()
    }

    private nonisolated(nonsending) func giveKeys(
        _ command: SubmissionQueueEntry, _ first: UInt64, _ second: UInt64?
    ) async throws(NVMeError) {
        var buffer = await waits.reactor.local.buffer(byteCount: 4096)
        buffer.store(first, at: 0)
        if let second { buffer.store(second, at: 8) }
        let data = buffer.memory.slice(from: 0, count: second == nil ? 8 : 16)
        try check(await waits.run(command, data: data), command)
    }
}
