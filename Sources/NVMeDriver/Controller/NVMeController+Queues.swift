import Logging
public import Reactors
import SystemPackage

extension LocalReactor {
    /// Makes a queue pair of `controller` for this reactor, and polls it from now on.
    ///
    /// The pair is used on this reactor only. ``close(_:of:)`` gives it back.
    /// - Throws: `outOfMemory`; `notSupported` when the controller has no more queues; what its admin commands throw.
    public func makeQueuePair(of controller: NVMeController) async throws(NVMeError) -> NVMeQueuePair {
        let terms = try await controller.reserveQueue()
        let memory: QueueMemory
        do throws(NVMeError) {
            memory = try QueueMemory(
                entryCount: terms.entryCount, slotCount: controller.options.requestCount,
                pageByteCount: terms.pageByteCount, node: reactor.node, domain: controller.transport.domain,
                place: terms.place)
        } catch {
            await controller.releaseQueue(terms.id)
            throw error.of(controller.name)
        }
        let pointers = DataPointers(
            pageByteCount: terms.pageByteCount, hasSGL: terms.hasSGL, needsAlignedSGL: terms.needsAlignedSGL,
            table: TranslationTable(domain: controller.transport.domain),
            namesLengths: controller.transport.transferByteLimit != nil)
        let pair = NVMeQueuePair(id: terms.id, memory: memory, pointers: pointers, reactor: reactor)
        pair.retryDelays = terms.retryDelays
        pair.violation = { [weak controller] what in controller?.report(what) }
        pair.overdueLimit = controller.options.commandTimeout.map { UInt32(clamping: $0.periods) }
        pair.overdue = { [weak controller, id = terms.id] command, count in
            controller?.isOverdue(command, queue: id, count: count)
        }
        pair.requestAbort = { [weak controller, reactor] pair, identifiers in
            controller?.abort(identifiers, of: pair, on: reactor)
        }
        let device = controller.transport.deviceSide(ofQueue: terms.id, on: self)
        for injection in terms.injections { pair.inject(injection) }
        let layout = QueueLayout(
            id: terms.id, entryCount: terms.entryCount, submission: memory.submissionAddress,
            completion: memory.completionAddress, vector: terms.interrupt?.vector)
        let doorbells = try await controller.connect(layout, reactor, ReactorConfined(pair))
        pair.connect(doorbells)
        if let event = terms.interrupt?.event, let count = allocateBuffer(byteCount: 8) {
            pair.interrupts = InterruptWait(on: loop.ringOrThreads().0, event: event, count: count)
        }
        pair.startPolling(named: controller.name, device: device, on: self)
        return pair
    }

    /// Deletes the pair's queues. What has not ended by then ends as aborted.
    public func close(_ pair: NVMeQueuePair, of controller: NVMeController) async {
        if pair.state == .closed { return }
        await controller.disconnect(pair.id)
        pair.stopPolling(on: self)
        pair.close()
    }
}

extension NVMeController {
    /// What a queue pair can count on.
    struct QueueTerms: Sendable {
        let id: UInt16
        let entryCount: Int
        let pageByteCount: Int
        /// In the controller's memory, of the submission queue; nil: it lies in the host's.
        let place: (memory: MMIO, address: IOVA)?
        let hasSGL: Bool
        let needsAlignedSGL: Bool
        let retryDelays: [Int]
        /// The vector of the pair's own, and the event that it signals; nil: completions are polled for.
        let interrupt: (vector: Int, event: FileDescriptor)?
        let injections: [ErrorInjection]
    }

    func reserveQueue() throws(NVMeError) -> QueueTerms {
        if state != .ready {
            throw NVMeError(.closed, device: name, "the controller is \(state): it has no queues to give")
        }
        let used = Set(pairs.map(\.layout.id)).union(reserved)
        guard pairLimit > 0, let id = (1...UInt16(pairLimit)).first(where: { !used.contains($0) }) else {
            throw NVMeError(
                .notSupported, device: name, "the controller gives no more than \(pairLimit) I/O queue pairs",
                advice: "use fewer reactors for it")
        }
        reserved.insert(id)
        return QueueTerms(
            id: id, entryCount: queueEntryCount, pageByteCount: capabilities.pageByteCounts.lowerBound,
            place: controllerMemory?.place(ofQueue: id), hasSGL: identity.hasSGL,
            needsAlignedSGL: identity.needsAlignedSGL, retryDelays: retryDelays,
            interrupt: Int(id) < interruptEvents.count ? (Int(id), interruptEvents[Int(id)]) : nil,
            injections: injections)
    }

    var queueEntryCount: Int { min(max(2, options.queueEntryCount), capabilities.queueEntryLimit) }

    /// One vector for the admin queue, and one for each queue pair as far as there are any: the others poll.
    func enableInterrupts() throws(NVMeError) {
        if !options.usesInterrupts || !interruptEvents.isEmpty { return }
        let count = min(transport.vectorCount, pairLimit + 1)
        if count < 2 {
            return logger.notice("\(name): the device has \(transport.vectorCount) interrupts: queues are polled")
        }
        interruptEvents = try transport.enableInterrupts(count: count)
    }

    func releaseQueue(_ id: UInt16) { reserved.remove(id) }

    /// Has the controller make the queues.
    func connect(
        _ layout: QueueLayout, _ reactor: Reactor, _ pair: ReactorConfined<NVMeQueuePair>
    ) async throws(NVMeError) -> (submission: Doorbell, completion: Doorbell) {
        defer { reserved.remove(layout.id) }
        let doorbells = doorbells(of: layout.id)
        try await create(layout)
        pairs.append(PairEntry(reactor: reactor, pair: pair, layout: layout))
        return doorbells
    }

    /// For a queue that is about to be made.
    func doorbells(of id: UInt16) -> (submission: Doorbell, completion: Doorbell) {
        let doorbells = AdminQueue.doorbells(of: id, in: transport.registers, stride: capabilities.doorbellStride)
        guard usesShadowDoorbells, let shadowDoorbells else { return doorbells }
        return shadowDoorbells.shadow(doorbells, of: id)
    }

    /// Create I/O Completion Queue and Create I/O Submission Queue (sections 5.5 and 5.6).
    func create(_ layout: QueueLayout) async throws(NVMeError) {
        let size = UInt32(layout.id) | UInt32(layout.entryCount - 1) << 16
        var completion = SubmissionQueueEntry(opcode: AdminOpcode.createCompletionQueue)
        completion.dataPointer1 = layout.completion.rawValue
        completion.cdw10 = size
        completion.cdw11 = 1 | (layout.vector.map { 2 | UInt32($0) << 16 } ?? 0)
        try await execute(completion)
        var submission = SubmissionQueueEntry(opcode: AdminOpcode.createSubmissionQueue)
        submission.dataPointer1 = layout.submission.rawValue
        submission.cdw10 = size
        submission.cdw11 = 1 | UInt32(layout.id) << 16
        do throws(NVMeError) {
            try await execute(submission)
        } catch {
            _ = try? await delete(AdminOpcode.deleteCompletionQueue, layout.id)
            throw error
        }
    }

    private func delete(_ opcode: UInt8, _ id: UInt16) async throws(NVMeError) {
        var command = SubmissionQueueEntry(opcode: opcode)
        command.cdw10 = UInt32(id)
        try await execute(command)
    }

    /// Has the controller forget the queues. When it does not, it is reset: memory that it may still write is not given
    /// back.
    func disconnect(_ id: UInt16) async {
        if !pairs.contains(where: { $0.layout.id == id }) { return }
        leaving.insert(id)
        defer { leaving.remove(id) }
        if state == .ready {
            do throws(NVMeError) {
                try await delete(AdminOpcode.deleteSubmissionQueue, id)
                try await delete(AdminOpcode.deleteCompletionQueue, id)
            } catch {
                logger.warning("\(name): queue \(id) cannot be deleted, the controller is reset: \(error)")
                try? await reset()
            }
        }
        pairs.removeAll { $0.layout.id == id }
    }

    /// From any thread: the controller does what it must not, and is reset.
    nonisolated func report(_ what: String) {
        logger.error("\(name): \(what); the controller is reset")
        Task(executorPreference: reactor.taskExecutor) { try? await self.reset() }
    }
}
