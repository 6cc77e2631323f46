import Logging
public import Reactors

extension LocalReactor {
    /// Asks the controller to give up what `client` gave to `pair` with `token`. Returns at once; the commands end with
    /// a status as all others do: aborted, or done if the controller was quicker.
    public func abort(token: UInt64, of client: NVMeClient, on pair: NVMeQueuePair, of controller: NVMeController) {
        let identifiers = pair.beginAbort(token: token, of: client)
        if !identifiers.isEmpty { controller.abort(identifiers, of: pair, on: reactor) }
    }
}

extension NVMeController {
    /// From the pair's reactor: names commands in Aborts, one after the other.
    nonisolated func abort(_ identifiers: [UInt16], of pair: NVMeQueuePair, on reactor: Reactor) {
        let confined = ReactorConfined(pair), id = pair.id
        Task(executorPreference: reactor.taskExecutor) {
            for identifier in identifiers {
                await self.abort(identifier, queue: id)
                await reactor.run { _ in confined.value.abortEnded(identifier) }
            }
        }
    }

    /// Abort (section 5.1), as soon as the controller takes another one. Whether it says that it aborted the command.
    @discardableResult
    func abort(_ identifier: UInt16, queue: UInt16) async -> Bool {
        while abortCount >= identity.abortLimit { await sleep(.milliseconds(1)) }
        if state != .ready { return false }
        abortCount += 1
        defer { abortCount -= 1 }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.abort)
        command.cdw10 = UInt32(queue) | UInt32(identifier) << 16
        guard let result = try? await execute(command) else { return false }
        return result & 1 == 0
    }

    /// From the queue's reactor: a command takes too long, for the `count` + first time.
    nonisolated func isOverdue(_ command: SubmissionQueueEntry, queue: UInt16, count: UInt8) {
        let what = "command 0x\(String(command.opcode, radix: 16)) of queue \(queue)"
        let limit = options.commandTimeout ?? .zero
        switch options.timeoutAction {
        case .none:
            if count == 0 { logger.warning("\(name): \(what) takes longer than \(limit)") }
        case .abort where count == 0:
            logger.warning("\(name): \(what) takes longer than \(limit): it is aborted")
            Task(executorPreference: reactor.taskExecutor) {
                await self.abortOverdue(command.commandIdentifier, queue: queue)
            }
        case .abort, .reset:
            if count < 2 { report("\(what) takes longer than \(limit)") }
        }
    }

    private func abortOverdue(_ identifier: UInt16, queue: UInt16) async {
        guard let entry = pairs.first(where: { $0.layout.id == queue }) else { return }
        let pair = entry.pair
        if await entry.reactor.run({ _ in pair.value.beginAbort(identifier) }) {
            await abort(identifier, queue: queue)
            await entry.reactor.run { _ in pair.value.abortEnded(identifier) }
        }
    }
}
