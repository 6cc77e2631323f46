package import Reactors

/// Blocks that a Dataset Management or Copy command names.
public struct BlockRange: Hashable, Sendable {
    public var start: UInt64
    /// At least 1.
    public var count: UInt32

    public init(start: UInt64, count: UInt32) {
        self.start = start
        self.count = count
    }

    /// Puts it at `index` of a list that Dataset Management takes (NVM Command Set Specification 1.0, figure 39), with
    /// no attributes.
    package func store(inDatasetManagement list: IOMemory, at index: Int) {
        list.store(UInt32(0), at: 16 * index)
        list.store(count, at: 16 * index + 4)
        list.store(start, at: 16 * index + 8)
    }

    /// Puts it at `index` of a list that Copy takes: descriptor format 0 (figure 33). At most 65,536 blocks.
    package func store(inCopy list: IOMemory, at index: Int) {
        list.slice(from: 32 * index, count: 32).zero()
        list.store(start, at: 32 * index + 8)
        list.store(UInt16(truncatingIfNeeded: count &- 1), at: 32 * index + 16)
    }
}

// Commands that name several ranges of blocks. Called on the pair's reactor; errors and cost as those for blocks, and a
// buffer of the reactor's for the ranges.
extension NVMeQueuePair {
    /// Deallocates the blocks (Dataset Management, attribute AD): what they read as then, the namespace's
    /// `deallocatedValue` says. 1 to 256 ranges.
    public nonisolated(nonsending) func deallocate(
        _ namespace: NVMeNamespace, _ ranges: [BlockRange]
    ) async throws(NVMeError) {
        try check(ranges, of: namespace, limit: 256)
        var command = SubmissionQueueEntry(opcode: IOOpcode.datasetManagement, namespaceID: namespace.id)
        command.cdw10 = UInt32(ranges.count - 1)
        command.cdw11 = 1 << 2
        let buffer = await rangeBuffer(), list = buffer.memory
        for (index, range) in ranges.enumerated() { range.store(inDatasetManagement: list, at: index) }
        try check(await waits.run(command, data: list.slice(from: 0, count: 16 * ranges.count)), command)
    }

    /// Copies the blocks, one range after another, to `target` (Copy, descriptor format 0). Ranges of at most 65,536
    /// blocks, and as many as the namespace's `copyRangeLimit`.
    public nonisolated(nonsending) func copy(
        _ namespace: NVMeNamespace, _ ranges: [BlockRange], to target: UInt64
    ) async throws(NVMeError) {
        try check(ranges, of: namespace, limit: min(128, namespace.identity.copyRangeLimit))
        for range in ranges where range.count > 65_536 {
            throw NVMeError(.invalidArgument, "a range of \(range.count) blocks is too long to copy: 65,536 at most")
        }
        let total = ranges.reduce(0) { $0 + UInt64($1.count) }
        try check([BlockRange(start: target, count: UInt32(clamping: total))], of: namespace, limit: 1)
        var command = SubmissionQueueEntry(opcode: IOOpcode.copy, namespaceID: namespace.id)
        command.startBlock = target
        command.cdw12 = UInt32(ranges.count - 1)
        let buffer = await rangeBuffer(), list = buffer.memory
        for (index, range) in ranges.enumerated() { range.store(inCopy: list, at: index) }
        try check(await waits.run(command, data: list.slice(from: 0, count: 32 * ranges.count)), command)
    }

    private func check(_ ranges: [BlockRange], of namespace: NVMeNamespace, limit: Int) throws(NVMeError) {
        if ranges.isEmpty || ranges.count > limit {
            throw NVMeError(.invalidArgument, "\(ranges.count) ranges cannot be named at once: 1 to \(limit) can")
        }
        for range in ranges
        where range.count == 0 || range.start >= namespace.blockCount
            || UInt64(range.count) > namespace.blockCount - range.start
        {
            throw NVMeError(
                .outOfRange,
                "\(range.count) blocks from \(range.start) on are not all within the \(namespace.blockCount) there are")
        }
    }

    private nonisolated(nonsending) func rangeBuffer() async -> IOBuffer {
        await waits.reactor.local.buffer(byteCount: 4096)
    }
}
