import Logging
import Reactors

extension NVMeController {
    /// Stops the controller and starts it again. Commands under way end as aborted, or are given again
    /// (``Options/resumesAfterReset``); queue pairs stay and go on.
    ///
    /// A reset that is asked for while one is under way ends with that one.
    /// - Throws: `removed`, `closed`, `timedOut`, `controllerFailed`. The controller is `failed` then, or `removed`,
    ///   and everything that was under way has ended as aborted.
    public func reset() async throws(NVMeError) { try await reset(subsystem: false) }

    /// Resets all controllers of the NVM subsystem (NSSR), as if power had been off. This one is started again as by
    /// ``reset()``; others are by whoever drives them. The driver notices within 100 ms that one of its has been reset.
    ///
    /// - Throws: `notSupported` when the controller cannot; as ``reset()``, `timedOut` also when nothing happens.
    public func resetSubsystem() async throws(NVMeError) {
        if !capabilities.canResetSubsystem {
            throw NVMeError(
                .notSupported, device: name, "the controller cannot reset its subsystem (CAP.NSSRS)",
                advice: "reset the controller")
        }
        while state == .resetting { await sleep(.milliseconds(1)) }
        try await reset(subsystem: true)
    }

    private func reset(subsystem: Bool) async throws(NVMeError) {
        switch state {
        case .ready: break
        case .resetting:
            while state == .resetting { await sleep(.milliseconds(1)) }
            if state == .ready { return }
            throw NVMeError(.controllerFailed, device: name, "the reset that was under way has failed")
        case .starting, .shuttingDown, .detached:
            throw NVMeError(.closed, device: name, "the controller is \(state): it cannot be reset")
        case .failed:
            throw NVMeError(
                .controllerFailed, device: name, "the controller has failed, and lost its memory: it cannot be reset",
                advice: "detach it, and attach it again")
        case .removed: throw NVMeError(.removed, device: name, "the controller is gone: it cannot be reset")
        }
        state = .resetting
        isStartLost = false
        tell(.resetBegan)
        do throws(NVMeError) {
            if subsystem { try await stopSubsystem() } else { try await stop() }
            // Registers that read as ones meanwhile were no removal.
            isStartLost = false
            await disconnectPairs(resumes: options.resumesAfterReset)
            try await enable()
            try await identify()
            for entry in pairs where !leaving.contains(entry.layout.id) {
                let doorbells = doorbells(of: entry.layout.id)
                try await create(entry.layout)
                await entry.reactor.run { _ in
                    if entry.pair.value.state == .disconnected { entry.pair.value.connect(doorbells) }
                }
            }
            state = .ready
            tell(.resetEnded)
        } catch {
            await giveUp(error)
            throw error
        }
    }

    /// Off, by the register or, when that does not help, from outside.
    private func stop() async throws(NVMeError) {
        do throws(NVMeError) {
            try await disable()
        } catch {
            if error.code == .removed { throw error }
            logger.warning("\(name): \(error); the PCI function is reset")
            try transport.resetFunction()
            try await disable()
        }
    }

    /// All of the subsystem's controllers are off. Registers may read as ones while the link comes up again.
    private func stopSubsystem() async throws(NVMeError) {
        let registers = transport.registers
        // "NVMe".
        registers.store32(0x4E56_4D65, RegisterOffset.subsystemReset)
        let isInTime = try await becomesTrue(within: capabilities.readyTimeout) { () throws(NVMeError) in
            let isGone = status.isGone
            if !isGone, !status.isReady, !configuration.isEnabled { return true }
            if transport.isRemoved {
                throw NVMeError(.removed, device: name, "the controller was removed as its subsystem was reset")
            }
            // It may have forgotten where its registers are.
            if isGone { try? transport.restoreFunction() }
            return false
        }
        if isInTime { return try transport.restoreFunction() }
        throw NVMeError(
            status.isGone ? .removed : .timedOut, device: name,
            "the controller \(status.isGone ? "does not come back from" : "has ignored") a reset of its subsystem")
    }

    private func disconnectPairs(resumes: Bool) async {
        for entry in pairs {
            await entry.reactor.run { _ in
                if entry.pair.value.state == .connected { entry.pair.value.disconnect(resumes: resumes) }
            }
        }
        admin.pair.disconnect(resumes: false)
    }

    /// The controller cannot be used any more. It loses its memory first, so that nothing is given back that it may
    /// still write.
    func giveUp(_ error: NVMeError) async {
        state = error.code == .removed ? .removed : .failed
        logger.error("\(name): the controller is given up: \(error)")
        transport.domain.close()
        for entry in pairs { await entry.reactor.run { _ in entry.pair.value.close() } }
        admin.pair.disconnect(resumes: false)
        admin.pair.failWaiting()
        tell(state == .removed ? .removed : .failed)
    }

    /// Stops the controller and gives the device back: a shutdown notification, so that it saves what it caches, then
    /// off. Its queue pairs are closed; what has not ended ends as aborted.
    public func detach() async {
        if state == .detached { return }
        while state == .resetting { await sleep(.milliseconds(1)) }
        let wasReady = state == .ready
        state = .shuttingDown
        if wasReady {
            do throws(NVMeError) { try await shutDown() } catch { logger.warning("\(name): \(error)") }
            // One that does not say that it has shut down must not go on either.
            do throws(NVMeError) { try await disable() } catch { logger.warning("\(name): \(error)") }
        }
        transport.domain.close()
        for entry in pairs {
            await entry.reactor.run { local in
                entry.pair.value.stopPolling(on: local)
                entry.pair.value.close()
            }
        }
        pairs = []
        await stopAdmin()
        state = .detached
        transport.close()
    }

    // MARK: Watching

    func startAdmin() async {
        admin.pair.overdueLimit = UInt32(clamping: options.adminTimeout.periods)
        let limit = options.adminTimeout, formatRounds = max(1, options.formatTimeout.periods / max(1, limit.periods))
        admin.pair.overdue = { [weak self] command, count in
            // Told of it again after as long again.
            let round: Int64? =
                switch command.opcode {
                // Ends only when something happens.
                case AdminOpcode.asynchronousEventRequest: nil
                case AdminOpcode.formatNVM: min(formatRounds, 250)
                default: 1
                }
            if Int64(count) + 1 == round { self?.assumeIsolated { $0.adminIsOverdue(command, limit * Int(count + 1)) } }
        }
        let admin = ReactorConfined(admin), name = name
        await reactor.run { local in
            admin.value.startPolling(named: name, on: local) { [weak self] in self?.assumeIsolated { $0.watch() } }
        }
    }

    /// Ten times a second: has it gone, has it failed.
    private func watch() {
        admin.pair.scan()
        if state == .ready { keepAlive() }
        let status = status
        let isGone = status.isGone || transport.isRemoved
        if isComingUp {
            if isGone || status.isFatal { failAdmin() }
        } else if state != .ready {
            return
        } else if isGone {
            let gone = NVMeError(.removed, device: name, "the controller was removed")
            state = .removed
            Task(executorPreference: reactor.taskExecutor) { await self.giveUp(gone) }
        } else if status.isFatal {
            report("it reports a fatal error (CSTS.CFS)")
        } else if !status.isReady {
            report("it is off: somebody has reset it, or its subsystem")
        }
    }

    private func adminIsOverdue(_ command: SubmissionQueueEntry, _ limit: Duration) {
        if isComingUp {
            failAdmin()
        } else {
            report("admin command 0x\(String(command.opcode, radix: 16)) takes longer than \(limit)")
        }
    }

    /// Its admin commands are steps of that.
    var isComingUp: Bool { state == .starting || state == .resetting }

    /// What waits for an admin command, the start or a reset that is under way, fails with it: another reset would wait
    /// for the end of that one.
    private func failAdmin() {
        if admin.pair.state != .connected { return }
        isStartLost = true
        admin.pair.disconnect(resumes: false)
    }

    func stopAdmin() async {
        admin.pair.close()
        let admin = ReactorConfined(admin)
        await reactor.run { local in admin.value.stopPolling(on: local) }
    }
}

extension Duration {
    /// In periods of the scan for time-outs, rounded up.
    var periods: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 10 + (attoseconds + 99_999_999_999_999_999) / 100_000_000_000_000_000
    }
}
