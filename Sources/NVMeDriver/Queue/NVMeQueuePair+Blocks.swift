public import Reactors

// Commands for blocks, as async calls. Called on the pair's reactor.
//
// All of them check the range, and that metadata which lies apart has a buffer, before anything is given to the
// controller, and throw `outOfRange` or `misaligned` then; after that `commandFailed` with the controller's status, or
// `aborted` when a reset came first. When the task is cancelled, which is noticed within 100 ms, the controller is
// asked to abort the command; the call returns when it has ended, as `aborted` unless it was done before. Cost: one
// suspension, no allocation; a share of one doorbell write for each turn.
extension NVMeQueuePair {
    /// What is asked of a command besides its blocks.
    public struct BlockOptions: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// FUA: what is read comes from the medium, and what is written is there when the command ends.
        public static let forceUnitAccess = BlockOptions(rawValue: 1 << 30)
        /// LR: fail rather than try for long.
        public static let limitedRetry = BlockOptions(rawValue: 1 << 31)
        /// PRACT: the controller makes or strips the protection information.
        public static let protectionAction = BlockOptions(rawValue: 1 << 29)
        /// PRCHK: what of the protection information the controller checks.
        public static let checksGuard = BlockOptions(rawValue: 1 << 28)
        public static let checksApplicationTag = BlockOptions(rawValue: 1 << 27)
        public static let checksReferenceTag = BlockOptions(rawValue: 1 << 26)
        /// STC: the controller checks the storage tag, of which the namespace says which bits count (LBSTM).
        public static let checksStorageTag = BlockOptions(rawValue: 1 << 24)
        /// DEAC, of ``NVMeQueuePair/writeZeroes(_:at:count:options:tags:)``: the blocks may be deallocated.
        public static let deallocates = BlockOptions(rawValue: 1 << 25)
    }

    /// Reads as many blocks as fill `buffer`: a whole number of them, cut into several commands where the controller
    /// wants it. The namespace is one of the pair's controller, here as everywhere.
    ///
    /// `tags`, here and below: what protection information is made with and checked against, where `options` ask for
    /// that; nil: the standard ones. Those that have more bits than the namespace's format has for them are refused as
    /// `invalidArgument`.
    public nonisolated(nonsending) func read(
        _ namespace: NVMeNamespace, at block: UInt64, into buffer: inout IOBuffer, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.read, namespace, block, buffer.memory, nil, options, tags)
    }

    /// Reads data and the metadata that lies apart from it.
    public nonisolated(nonsending) func read(
        _ namespace: NVMeNamespace, at block: UInt64, into buffer: inout IOBuffer, metadata: inout IOBuffer,
        options: BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.read, namespace, block, buffer.memory, metadata.memory, options, tags)
    }

    /// Writes all of `buffer`.
    public nonisolated(nonsending) func write(
        _ namespace: NVMeNamespace, at block: UInt64, from buffer: borrowing IOBuffer, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.write, namespace, block, buffer.memory, nil, options, tags)
    }

    /// Writes data and the metadata that lies apart from it.
    public nonisolated(nonsending) func write(
        _ namespace: NVMeNamespace, at block: UInt64, from buffer: borrowing IOBuffer,
        metadata: borrowing IOBuffer, options: BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.write, namespace, block, buffer.memory, metadata.memory, options, tags)
    }

    /// Compares `buffer` with the blocks. Data that differs is `commandFailed` with `NVMeStatus.compareFailure`.
    public nonisolated(nonsending) func compare(
        _ namespace: NVMeNamespace, at block: UInt64, with buffer: borrowing IOBuffer, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.compare, namespace, block, buffer.memory, nil, options, tags)
    }

    /// Compares data and the metadata that lies apart from it.
    public nonisolated(nonsending) func compare(
        _ namespace: NVMeNamespace, at block: UInt64, with buffer: borrowing IOBuffer, metadata: borrowing IOBuffer,
        options: BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await transfer(IOOpcode.compare, namespace, block, buffer.memory, metadata.memory, options, tags)
    }

    /// Has the blocks read as zeros.
    public nonisolated(nonsending) func writeZeroes(
        _ namespace: NVMeNamespace, at block: UInt64, count: Int, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await range(IOOpcode.writeZeroes, namespace, block, count, options, tags)
    }

    /// Has the controller read the blocks and check them, without moving data.
    public nonisolated(nonsending) func verify(
        _ namespace: NVMeNamespace, at block: UInt64, count: Int, options: BlockOptions = [],
        tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await range(IOOpcode.verify, namespace, block, count, options, tags)
    }

    /// Marks the blocks as unreadable until they are written again.
    public nonisolated(nonsending) func writeUncorrectable(
        _ namespace: NVMeNamespace, at block: UInt64, count: Int
    ) async throws(NVMeError) {
        try await range(IOOpcode.writeUncorrectable, namespace, block, count, [], nil)
    }

    /// Has everything durable that was written, and had ended, before.
    public nonisolated(nonsending) func flush(_ namespace: NVMeNamespace) async throws(NVMeError) {
        let command = SubmissionQueueEntry(opcode: IOOpcode.flush, namespaceID: namespace.id)
        try check(await waits.run(command), command)
    }

    /// Any command of the pair's command sets, as it is; `data`: what it moves. What the completion says in words 0 and
    /// 1.
    @discardableResult
    public nonisolated(nonsending) func execute(
        _ command: SubmissionQueueEntry, data: inout IOBuffer
    ) async throws(NVMeError) -> UInt64 {
        let completion = await waits.run(command, data: data.memory)
        try check(completion, command)
        return completion.result
    }

    /// The same, of a command without data.
    @discardableResult
    public nonisolated(nonsending) func execute(_ command: SubmissionQueueEntry) async throws(NVMeError) -> UInt64 {
        let completion = await waits.run(command)
        try check(completion, command)
        return completion.result
    }

    // MARK: Parts

    private nonisolated(nonsending) func transfer(
        _ opcode: UInt8, _ namespace: NVMeNamespace, _ block: UInt64, _ data: IOMemory, _ metadata: IOMemory?,
        _ options: BlockOptions, _ tags: NVMeProtectionTags?
    ) async throws(NVMeError) {
        let size = options.hostBlockByteCount(of: namespace)
        let (count, rest) = data.byteCount.quotientAndRemainder(dividingBy: size)
        if rest != 0 {
            throw NVMeError(.misaligned, "\(data.byteCount) bytes are not whole blocks of \(size) bytes")
        }
        try check(metadata, of: count, namespace, options)
        var command = try self.command(opcode, namespace, block, count, options)
        try command.set(tags, of: namespace.protection, at: block)
        let parts = BlockParts(namespace, from: block, count: count, movesData: true, blockByteCount: size)
        if opcode == IOOpcode.write, namespace.zones != nil {
            return try await write(inTurn: command, parts, data, metadata)
        }
        try check(await waits.run(command, parts: parts, data: data, metadata: metadata), command)
    }

    /// In a zone a block is written only when those before it have been: one part at a time.
    private nonisolated(nonsending) func write(
        inTurn command: SubmissionQueueEntry, _ parts: BlockParts, _ data: IOMemory, _ metadata: IOMemory?
    ) async throws(NVMeError) {
        var part = command, parts = parts, done = 0
        while let (start, count) = parts.next() {
            part.startBlock = start
            part.cdw12 = command.cdw12 | UInt32(count - 1)
            part.countTag(of: command, by: UInt64(done), mask: parts.tagMask)
            let size = parts.blockByteCount, step = parts.metadataByteCount
            let completion = await waits.run(
                part, data: data.slice(from: done * size, count: count * size),
                metadata: metadata?.slice(from: done * step, count: count * step))
            try check(completion, part)
            done += count
        }
    }

    private nonisolated(nonsending) func range(
        _ opcode: UInt8, _ namespace: NVMeNamespace, _ block: UInt64, _ count: Int, _ options: BlockOptions,
        _ tags: NVMeProtectionTags?
    ) async throws(NVMeError) {
        var command = try self.command(opcode, namespace, block, count, options)
        try command.set(tags, of: namespace.protection, at: block)
        let parts = BlockParts(namespace, from: block, count: count, movesData: false)
        try check(await waits.run(command, parts: parts, data: nil, metadata: nil), command)
    }

    func command(
        _ opcode: UInt8, _ namespace: NVMeNamespace, _ block: UInt64, _ count: Int, _ options: BlockOptions
    ) throws(NVMeError) -> SubmissionQueueEntry {
        if count < 1 { throw NVMeError(.invalidArgument, "a command for \(count) blocks has nothing to do") }
        if block >= namespace.blockCount || UInt64(count) > namespace.blockCount - block {
            throw NVMeError(
                .outOfRange,
                "\(count) blocks from \(block) on are not all within the \(namespace.blockCount) that there are")
        }
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: namespace.id)
        command.startBlock = block
        command.cdw12 = options.rawValue
        return command
    }

    /// What lies apart needs memory of its own: a controller that is given no address moves it to or from address 0.
    func check(
        _ metadata: IOMemory?, of blockCount: Int, _ namespace: NVMeNamespace, _ options: BlockOptions
    ) throws(NVMeError) {
        let size = options.separateMetadataByteCount(of: namespace), given = metadata?.byteCount ?? 0
        if given < blockCount * size {
            throw NVMeError(
                .misaligned,
                "\(given) bytes of metadata are too few for \(blockCount) blocks, whose metadata lies apart",
                advice: "give a buffer of \(size) bytes for each block")
        }
    }

    func check(_ completion: NVMeCompletion, _ command: SubmissionQueueEntry) throws(NVMeError) {
        if completion.status.isSuccess { return }
        let isAborted =
            completion.status.matches(.abortedBySubmissionQueueDeletion) || completion.status.matches(.abortRequested)
        throw NVMeError(
            isAborted ? .aborted : .commandFailed,
            "command 0x\(String(command.opcode, radix: 16)) of namespace \(command.namespaceID) failed",
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
