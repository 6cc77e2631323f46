public import Reactors

// Commands of the Zoned Namespace command set. Called on the pair's reactor.
extension NVMeQueuePair {
    /// Writes `buffer` at the write pointer of the zone that begins at `zone`.
    ///
    /// - Returns: the first block that was written.
    /// - Throws: `misaligned`, `outOfRange`, `invalidArgument` when it is longer than one command may be (an append is
    ///   never cut: its parts would lie anywhere); `commandFailed`.
    ///
    /// `options`, `tags`: as of the other transfers. Reference tags of types 1 and 2 count from the zone's start, and
    /// the controller makes them those of where the blocks go.
    public nonisolated(nonsending) func append(
        _ namespace: NVMeNamespace, zone: UInt64, from buffer: borrowing IOBuffer, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) -> UInt64 {
        try await append(namespace, zone, buffer.memory, nil, options, tags)
    }

    /// The same with metadata that lies apart from the data.
    public nonisolated(nonsending) func append(
        _ namespace: NVMeNamespace, zone: UInt64, from buffer: borrowing IOBuffer, metadata: borrowing IOBuffer,
        options: BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) -> UInt64 {
        try await append(namespace, zone, buffer.memory, metadata.memory, options, tags)
    }

    private nonisolated(nonsending) func append(
        _ namespace: NVMeNamespace, _ zone: UInt64, _ data: IOMemory, _ metadata: IOMemory?, _ options: BlockOptions,
        _ tags: NVMeProtectionTags?
    ) async throws(NVMeError) -> UInt64 {
        let size = options.hostBlockByteCount(of: namespace)
        let (count, rest) = data.byteCount.quotientAndRemainder(dividingBy: size)
        if rest != 0 || count == 0 {
            throw NVMeError(.misaligned, "\(data.byteCount) bytes are not whole blocks of \(size) bytes")
        }
        try checkZone(zone, namespace)
        if let limit = namespace.zones?.appendBlockCountLimit, count > limit {
            throw NVMeError(.invalidArgument, "an append of \(count) blocks is too long: \(limit) at most")
        }
        try check(metadata, of: count, namespace, options)
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneAppend, namespaceID: namespace.id)
        command.startBlock = zone
        command.cdw12 = UInt32(count - 1) | options.rawValue
        try command.set(tags, of: namespace.protection, at: zone)
        // PIREMAP: tags that count from the zone's start become those of where the blocks go.
        if let type = namespace.protection?.type, type != 3 { command.cdw12 |= 1 << 25 }
        let completion = await waits.run(command, data: data, metadata: metadata)
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
        guard let zones = namespace.zones else { return [] }
        var result: [NVMeZone] = [], next = block / zones.zoneBlockCount * zones.zoneBlockCount
        var buffer = await waits.reactor.local.buffer(byteCount: 4096)
        while result.count < count, next < namespace.blockCount / zones.zoneBlockCount * zones.zoneBlockCount {
            let command = NVMeZoneReport.command(
                from: next, byteCount: buffer.byteCount, namespaceID: namespace.id)
            try await execute(command, data: &buffer)
            let report = NVMeZoneReport(buffer.memory, from: next, of: zones, blockCount: namespace.blockCount)
            for index in 0..<max(1, min(report.count, count - result.count)) {
                guard let zone = report[index] else {
                    throw NVMeError(
                        .protocolViolation, "the controller's report from block \(next) on describes what is no zone")
                }
                result.append(zone)
            }
            next = result[result.count - 1].start + zones.zoneBlockCount
        }
        return result
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
