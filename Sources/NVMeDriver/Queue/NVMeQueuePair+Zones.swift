public import Reactors

// Commands of the Zoned Namespace command set. Called on the pair's reactor.
extension NVMeQueuePair {
    /// Writes `buffer` at the write pointer of the zone that begins at `zone`.
    ///
    /// - Returns: the first block that was written.
    /// - Throws: `misaligned`, `outOfRange`, `invalidArgument` when it is longer than one command may be (an append is
    ///   never cut: its parts would lie anywhere); `commandFailed`.
    public nonisolated(nonsending) func append(
        _ namespace: NVMeNamespace, zone: UInt64, from buffer: borrowing IOBuffer
    ) async throws(NVMeError) -> UInt64 {
        let (count, rest) = buffer.byteCount.quotientAndRemainder(dividingBy: namespace.blockByteCount)
        if rest != 0 || count == 0 {
            throw NVMeError(
                .misaligned, "\(buffer.byteCount) bytes are not whole blocks of \(namespace.blockByteCount) bytes")
        }
        if count > namespace.transferBlockCountLimit {
            throw NVMeError(
                .invalidArgument,
                "an append of \(count) blocks is too long: \(namespace.transferBlockCountLimit) at most")
        }
        try checkZone(zone, namespace)
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneAppend, namespaceID: namespace.id)
        command.startBlock = zone
        command.cdw12 = UInt32(count - 1)
        let completion = await waits.run(command, data: buffer.memory)
        try check(completion, command)
        return completion.result
    }

    /// Changes the state of one zone.
    public nonisolated(nonsending) func manage(
        _ namespace: NVMeNamespace, zone: UInt64, _ action: NVMeZoneAction
    ) async throws(NVMeError) {
        try checkZone(zone, namespace)
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementSend, namespaceID: namespace.id)
        command.startBlock = zone
        command.cdw13 = UInt32(action.rawValue)
        try await execute(command)
    }

    /// Changes the state of every zone that it can be done to.
    public nonisolated(nonsending) func manageAllZones(
        _ namespace: NVMeNamespace, _ action: NVMeZoneAction
    ) async throws(NVMeError) {
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementSend, namespaceID: namespace.id)
        command.cdw13 = UInt32(action.rawValue) | 1 << 8
        try await execute(command)
    }

    /// Up to `count` zones, from the one that `block` lies in on.
    ///
    /// - Throws: also `protocolViolation` when the controller describes what can be no zone.
    public nonisolated(nonsending) func zones(
        _ namespace: NVMeNamespace, from block: UInt64 = 0, count: Int
    ) async throws(NVMeError) -> [NVMeZone] {
        try checkZone(block, namespace)
        var result: [NVMeZone] = [], next = block
        var buffer = await waits.reactor.local.buffer(byteCount: 4096)
        while result.count < count, next < namespace.blockCount {
            var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementReceive, namespaceID: namespace.id)
            command.startBlock = next
            command.cdw12 = UInt32(buffer.byteCount / 4 - 1)
            // A partial report: the number that it begins with is of those that are in it.
            command.cdw13 = 1 << 16
            try await execute(command, data: &buffer)
            let reader = DataReader(bytes: buffer.copied())
            let found = Int(min(reader.quad(0), UInt64((buffer.byteCount - 64) / 64)))
            if found == 0 { return result }
            for index in 0..<min(found, count - result.count) {
                guard let zone = NVMeZone(reader, at: 64 + 64 * index), zone.start >= next || result.isEmpty,
                    zone.start < namespace.blockCount, zone.capacity > 0
                else {
                    throw NVMeError(
                        .protocolViolation, "the controller's report from block \(next) on describes what is no zone")
                }
                result.append(zone)
                next = zone.start + 1
            }
            next = result[result.count - 1].start + zoneStep(result, namespace)
        }
        return result
    }

    /// From the last zone's start to the next.
    private func zoneStep(_ zones: [NVMeZone], _ namespace: NVMeNamespace) -> UInt64 {
        namespace.zones?.zoneBlockCount ?? max(1, zones[zones.count - 1].capacity)
    }

    private func checkZone(_ block: UInt64, _ namespace: NVMeNamespace) throws(NVMeError) {
        if namespace.zones == nil {
            throw NVMeError(.notSupported, "namespace \(namespace.id) has no zones")
        }
        if block >= namespace.blockCount {
            throw NVMeError(.outOfRange, "no zone begins at block \(block) of \(namespace.blockCount)")
        }
    }
}
