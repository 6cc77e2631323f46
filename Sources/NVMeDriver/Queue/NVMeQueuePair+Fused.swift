public import Reactors

// Compare-and-write: two commands that the controller does as one (NVM Express Base Specification 2.0, section 3.4.2).
extension NVMeQueuePair {
    /// Compares `expected` with the blocks and, if they are the same, writes `new` to them, with nothing in between.
    ///
    /// Called on the pair's reactor. Both buffers have the same length, that of whole blocks. Data that differs is
    /// `commandFailed` with `NVMeStatus.compareFailure`; nothing is written then. `options` and `tags` are both
    /// commands', as in ``read(_:at:into:options:tags:)``.
    /// - Throws: `misaligned`, also where metadata lies apart that the controller does not make itself
    ///   (`protectionAction`); `outOfRange`, `invalidArgument`; `notSupported` when the pair's queues hold fewer than
    ///   two commands; `commandFailed`, also from a controller that does not fuse or that takes fewer blocks at once
    ///   (`IdentifyController.atomicCompareAndWriteBlockCount`); `aborted` by a reset or a cancellation.
    public nonisolated(nonsending) func compareAndWrite(
        _ namespace: NVMeNamespace, at block: UInt64, expected: borrowing IOBuffer, new: borrowing IOBuffer,
        options: BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        let byteCount = expected.byteCount, size = options.hostBlockByteCount(of: namespace)
        if new.byteCount != byteCount || byteCount % size != 0 {
            throw NVMeError(
                .misaligned, "\(byteCount) and \(new.byteCount) bytes are not as many blocks of \(size) bytes")
        }
        if !canFuse {
            throw NVMeError(.notSupported, "a queue with room for one command cannot compare and write as one")
        }
        let count = byteCount / size
        if count > namespace.transferBlockCountLimit {
            throw NVMeError(
                .outOfRange, "\(count) blocks are more than the \(namespace.transferBlockCountLimit) of one command")
        }
        try check(nil, of: count, namespace, options)
        var compare = try command(IOOpcode.compare, namespace, block, count, options)
        try compare.set(tags, of: namespace.protection, at: block)
        compare.cdw12 |= UInt32(count - 1)
        var write = compare
        write.opcode = IOOpcode.write
        try check(await waits.run(compare, data: expected.memory, then: write, data: new.memory), compare)
    }

    /// Whether two commands have room side by side.
    public var canFuse: Bool { inFlightLimit >= 2 }

    /// Gives two commands that are one operation. As ``submit(_:data:metadata:client:token:)``, but for the client: it
    /// is told twice with the same token, of the first and of the second. Traps unless ``canFuse``.
    ///
    /// When the first fails the second ends with `NVMeStatus.abortedByFailedFused`. Neither is retried, and neither
    /// goes on after a reset.
    @discardableResult
    public func submitFused(
        _ first: SubmissionQueueEntry, data firstData: IOMemory, then second: SubmissionQueueEntry,
        data secondData: IOMemory, client: NVMeClient, token: UInt64
    ) -> Bool {
        guard let slots = takeFused(first, second, client, token) else { return false }
        let error = pointers.set(firstData, for: slots.0, in: memory)
        return startFused(slots, error, pointers.set(secondData, for: slots.1, in: memory))
    }

    /// The same, of data that lies in several stretches.
    @discardableResult
    public func submitFused(
        _ first: SubmissionQueueEntry, segments firstSegments: [IOMemory], then second: SubmissionQueueEntry,
        segments secondSegments: [IOMemory], client: NVMeClient, token: UInt64
    ) -> Bool {
        guard let slots = takeFused(first, second, client, token) else { return false }
        let error = pointers.set(firstSegments, for: slots.0, in: memory)
        return startFused(slots, error, pointers.set(secondSegments, for: slots.1, in: memory))
    }

    /// Nil: no two requests are free.
    private func takeFused(
        _ first: SubmissionQueueEntry, _ second: SubmissionQueueEntry, _ client: NVMeClient, _ token: UInt64
    ) -> (Int, Int)? {
        precondition(canFuse, "a queue with room for one command cannot hold two that are one operation")
        let isInTurn = !hasRefused || serving === client
        if !isInTurn || firstFree < 0 || memory[Int(firstFree)].next < 0 {
            _ = refuse(client)
            return nil
        }
        var (first, second) = (first, second)
        first.fusion = .first
        second.fusion = .second
        return (takeSlot(first, client, token), takeSlot(second, client, token))
    }

    /// Always true: they have been accepted.
    private func startFused(_ slots: (Int, Int), _ first: DataPointerError?, _ second: DataPointerError?) -> Bool {
        if let first {
            fail(slots.1, .abortedByMissingFused)
            return fail(slots.0, first)
        }
        if let second {
            fail(slots.0, .abortedByMissingFused)
            return fail(slots.1, second)
        }
        if hasInjections {
            if inject(slots.0) {
                fail(slots.1, .abortedByFailedFused)
                return true
            }
            if inject(slots.1) {
                fail(slots.0, .abortedByFailedFused)
                return true
            }
        }
        if inFlight + 2 <= inFlightLimit, waitingFirst < 0, state == .connected {
            enqueue(slots.0)
            enqueue(slots.1)
        } else {
            wait(slots.0)
            wait(slots.1)
        }
        return true
    }
}
