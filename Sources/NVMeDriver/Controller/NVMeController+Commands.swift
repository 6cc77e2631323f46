import Logging
public import Reactors

// Admin commands.
extension NVMeController {
    /// Gives a command to the admin queue, and waits until it has ended.
    ///
    /// - Parameters:
    ///   - command: all but where the data is. Commands that make or delete queues are the driver's own.
    ///   - data: what the command moves, at most ``transferByteLimit`` bytes; the caller's again on return.
    /// - Returns: words 0 and 1 of the completion.
    /// - Throws: `commandFailed` with the controller's status, `aborted` when a reset came first, `closed`, `removed`.
    ///
    /// Cost: one suspension on the home reactor. Cancelling the task does not end the wait: an admin command has a time
    /// limit (``Options/adminTimeout``).
    @discardableResult
    public func execute(
        _ command: SubmissionQueueEntry, data: inout IOBuffer
    ) async throws(NVMeError) -> UInt64 {
        try await perform(command, data.memory)
    }

    /// The same, of a command without data.
    @discardableResult
    public func execute(_ command: SubmissionQueueEntry) async throws(NVMeError) -> UInt64 {
        try await perform(command, nil)
    }

    /// The same; `data` stays alive, and untouched by others, until it returns.
    package func perform(_ command: SubmissionQueueEntry, _ data: IOMemory?) async throws(NVMeError) -> UInt64 {
        switch state {
        case .starting, .ready, .resetting, .shuttingDown: break
        case .failed:
            throw NVMeError(
                .controllerFailed, device: name, "the controller has failed: no command can be given to it",
                advice: "detach it, and attach it again")
        case .removed:
            throw NVMeError(.removed, device: name, "the controller is gone: no command can be given to it")
        case .detached:
            throw NVMeError(.closed, device: name, "the controller is detached: no command can be given to it")
        }
        // Nobody connects the admin queue again.
        if isComingUp, isStartLost { throw failure(of: command, .abortedBySubmissionQueueDeletion) }
        let completion = await admin.pair.waits.run(command, data: data, metadata: nil)
        if completion.status.isSuccess { return completion.result }
        throw failure(of: command, completion.status)
    }

    private func failure(of command: SubmissionQueueEntry, _ status: NVMeStatus) -> NVMeError {
        if status.matches(.abortedBySubmissionQueueDeletion), isStartLost {
            let isGone = transport.isRemoved || self.status.isGone
            return NVMeError(
                isGone ? .removed : .controllerFailed, device: name,
                "the controller was removed, has failed or did not answer as it was started", status: status)
        }
        if status.matches(.abortedBySubmissionQueueDeletion) {
            return NVMeError(
                .aborted, device: name, "a reset ended admin command 0x\(String(command.opcode, radix: 16))",
                status: status)
        }
        return NVMeError(
            .commandFailed, device: name, "admin command 0x\(String(command.opcode, radix: 16)) failed",
            status: status)
    }

    /// Runs `body` with a buffer of the home reactor, and returns its bytes after it.
    func read(
        _ byteCount: Int, _ command: SubmissionQueueEntry
    ) async throws(NVMeError) -> [UInt8] {
        var buffer = await reactor.local.buffer(byteCount: byteCount)
        buffer.fill(with: 0)
        try await execute(command, data: &buffer)
        return buffer.copied()
    }

    // MARK: Features

    /// Sets a feature (section 5.27) that takes no data. What the completion says.
    @discardableResult
    public func setFeature(
        _ id: UInt8, to value: UInt32, namespaceID: UInt32 = 0, isSaved: Bool = false
    ) async throws(NVMeError) -> UInt32 {
        var command = SubmissionQueueEntry(opcode: AdminOpcode.setFeatures, namespaceID: namespaceID)
        command.cdw10 = UInt32(id) | (isSaved ? 1 << 31 : 0)
        command.cdw11 = value
        return UInt32(truncatingIfNeeded: try await execute(command))
    }

    /// A feature's value. `selection`: 0 current, 1 default, 2 saved, 3 what is supported.
    public func feature(
        _ id: UInt8, namespaceID: UInt32 = 0, selection: UInt8 = 0
    ) async throws(NVMeError) -> UInt32 {
        var command = SubmissionQueueEntry(opcode: AdminOpcode.getFeatures, namespaceID: namespaceID)
        command.cdw10 = UInt32(id) | UInt32(selection & 7) << 8
        return UInt32(truncatingIfNeeded: try await execute(command))
    }

    /// Feature 7: as many queues of both kinds as are wanted, or as the controller gives.
    func agreeOnQueues() async throws(NVMeError) {
        let wanted = UInt32(min(max(1, options.queuePairCount), 65_535) - 1)
        let given = try await setFeature(7, to: wanted << 16 | wanted)
        pairLimit = min(Int(given & 0xFFFF) + 1, Int(given >> 16) + 1, Int(wanted) + 1)
    }

    /// Feature 16h: what the host can deal with. Without it the controller names no retry delays, and no formats beyond
    /// the sixteenth.
    func agreeOnBehavior() async throws(NVMeError) {
        let namesDelays = identity.retryDelays.contains { $0 != 0 }
        if !namesDelays && !identity.hasExtendedFormats { return }
        var buffer = await reactor.local.buffer(byteCount: 512)
        buffer.fill(with: 0)
        buffer.store(UInt8(namesDelays ? 1 : 0), at: 0)
        buffer.store(UInt8(identity.hasExtendedFormats ? 1 : 0), at: 2)
        var command = SubmissionQueueEntry(opcode: AdminOpcode.setFeatures)
        command.cdw10 = 0x16
        try await allowingRefusal("host behavior") { () async throws(NVMeError) in
            try await execute(command, data: &buffer)
        }
    }

    /// Feature 0Fh, where there is a timer.
    func agreeOnKeepAlive() async throws(NVMeError) {
        keepAlivePeriods = nil
        let granularity = Int64(identity.keepAliveGranularity), timeout = options.keepAliveTimeout
        if granularity == 0 || timeout <= .zero { return }
        let milliseconds = timeout.periods * 100, steps = (milliseconds + granularity - 1) / granularity
        try await allowingRefusal("keep-alive timer") { () async throws(NVMeError) in
            try await setFeature(0x0F, to: UInt32(clamping: steps * granularity))
            keepAlivePeriods = (max(1, timeout.periods / 2), max(1, timeout.periods / 2))
        }
    }

    /// Called once in a period of the scan: a Keep Alive command (section 5.18) when it is time.
    func keepAlive() {
        guard let (all, left) = keepAlivePeriods else { return }
        keepAlivePeriods = (all, left > 1 ? left - 1 : all)
        if left > 1 { return }
        Task(executorPreference: reactor.taskExecutor) {
            _ = try? await self.execute(SubmissionQueueEntry(opcode: AdminOpcode.keepAlive))
        }
    }

    /// What the driver can do without: a refusal by the controller is logged.
    private func allowingRefusal(_ what: String, _ body: () async throws(NVMeError) -> Void) async throws(NVMeError) {
        do throws(NVMeError) {
            try await body()
        } catch {
            if error.code != .commandFailed { throw error }
            logger.notice("\(name): no \(what): \(error)")
        }
    }

    // MARK: Log pages

    /// `byteCount` bytes of a log page (section 5.16) from `offset` on; both multiples of 4.
    public func logPage(
        _ id: UInt8, byteCount: Int, offset: UInt64 = 0, namespaceID: UInt32 = .max, specific: UInt8 = 0
    ) async throws(NVMeError) -> [UInt8] {
        precondition(
            byteCount > 0 && byteCount % 4 == 0 && offset % 4 == 0, "a log page is read in whole words of 4 bytes")
        var result: [UInt8] = []
        while result.count < byteCount {
            let count = min(byteCount - result.count, transferByteLimit), place = offset + UInt64(result.count)
            var command = SubmissionQueueEntry(opcode: AdminOpcode.getLogPage, namespaceID: namespaceID)
            let words = UInt32(count / 4 - 1)
            command.cdw10 = UInt32(id) | UInt32(specific & 0x7F) << 8 | (words & 0xFFFF) << 16
            command.cdw11 = words >> 16
            command.cdw12 = UInt32(truncatingIfNeeded: place)
            command.cdw13 = UInt32(truncatingIfNeeded: place >> 32)
            result += try await read(count, command)
        }
        return result
    }
}
