public import Reactors

// Commands for blocks, as async calls. Called on the pair's reactor.
extension NVMeQueuePair {
    /// Reads as many blocks as fill `buffer`.
    ///
    /// - Parameters:
    ///   - namespace: of the pair's controller.
    ///   - block: the first one.
    ///   - buffer: a whole number of blocks.
    /// - Throws: `outOfRange`, `misaligned` before anything is queued; `commandFailed` with the controller's status,
    ///   `aborted` when a reset came first.
    ///
    /// Cost: one suspension, no allocation; a share of one doorbell write for each turn.
    public nonisolated(nonsending) func read(
        _ namespace: NVMeNamespace, at block: UInt64, into buffer: inout IOBuffer
    ) async throws(NVMeError) {
        let command = try transfer(IOOpcode.read, namespace, block, buffer.byteCount)
        try check(await waits.run(command, data: buffer.memory, metadata: nil), namespace, command)
    }

    /// Writes all of `buffer`. As ``read(_:at:into:)``.
    public nonisolated(nonsending) func write(
        _ namespace: NVMeNamespace, at block: UInt64, from buffer: borrowing IOBuffer
    ) async throws(NVMeError) {
        let command = try transfer(IOOpcode.write, namespace, block, buffer.byteCount)
        try check(await waits.run(command, data: buffer.memory, metadata: nil), namespace, command)
    }

    /// Has everything durable that was written, and had ended, before.
    public nonisolated(nonsending) func flush(_ namespace: NVMeNamespace) async throws(NVMeError) {
        let command = SubmissionQueueEntry(opcode: IOOpcode.flush, namespaceID: namespace.id)
        try check(await waits.run(command, data: nil, metadata: nil), namespace, command)
    }

    private func transfer(
        _ opcode: UInt8, _ namespace: NVMeNamespace, _ block: UInt64, _ byteCount: Int
    ) throws(NVMeError) -> SubmissionQueueEntry {
        let (count, rest) = byteCount.quotientAndRemainder(dividingBy: namespace.blockByteCount)
        if rest != 0 || count == 0 || count > 65_536 {
            throw NVMeError(
                .misaligned, "\(byteCount) bytes are not 1 to 65,536 blocks of \(namespace.blockByteCount) bytes")
        }
        if block >= namespace.blockCount || UInt64(count) > namespace.blockCount - block {
            throw NVMeError(
                .outOfRange,
                "blocks \(block) to \(block &+ UInt64(count) &- 1) are not all within the \(namespace.blockCount) there are"
            )
        }
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: namespace.id)
        command.startBlock = block
        command.cdw12 = UInt32(count - 1)
        return command
    }

    private func check(
        _ completion: NVMeCompletion, _ namespace: NVMeNamespace, _ command: SubmissionQueueEntry
    ) throws(NVMeError) {
        if completion.status.isSuccess { return }
        let isAborted = completion.status.matches(.abortedBySubmissionQueueDeletion)
        throw NVMeError(
            isAborted ? .aborted : .commandFailed,
            "command 0x\(String(command.opcode, radix: 16)) of namespace \(namespace.id) failed",
            status: completion.status)
    }
}

extension SubmissionQueueEntry {
    /// SLBA: command words 10 and 11.
    public var startBlock: UInt64 {
        get { UInt64(cdw10) | UInt64(cdw11) << 32 }
        set {
            cdw10 = UInt32(truncatingIfNeeded: newValue)
            cdw11 = UInt32(truncatingIfNeeded: newValue >> 32)
        }
    }
}
