import Reactors

// Off and on (NVM Express Base Specification 2.0, sections 3.5 and 3.6).
extension NVMeController {
    var status: ControllerStatus {
        ControllerStatus(rawValue: transport.registers.load32(RegisterOffset.status))
    }

    var configuration: ControllerConfiguration {
        ControllerConfiguration(rawValue: transport.registers.load32(RegisterOffset.configuration))
    }

    private func configure(_ configuration: ControllerConfiguration) {
        transport.registers.store32(configuration.rawValue, RegisterOffset.configuration)
    }

    /// Off: it has forgotten its queues, and reads and writes no memory any more.
    func disable() async throws(NVMeError) {
        var wanted = configuration
        if wanted.isEnabled {
            // One that is on its way up must arrive first (section 3.5.3).
            if !status.isReady, !status.isFatal { try? await wait("become ready") { $0.isReady || $0.isFatal } }
            wanted.isEnabled = false
            configure(wanted)
            if transport.quirks.contains(.stopsLate) { await sleep(NVMeQuirks.stopPause) }
        }
        try await wait("stop") { !$0.isReady }
    }

    func enable() async throws(NVMeError) {
        admin.prepare(transport.registers)
        hideControllerMemory()
        var wanted = ControllerConfiguration(
            pageByteCount: capabilities.pageByteCounts.lowerBound, usesCommandSets: capabilities.hasCommandSets)
        configure(wanted)
        wanted.isEnabled = true
        configure(wanted)
        try await wait("become ready") { $0.isReady || $0.isFatal }
        if status.isFatal {
            throw NVMeError(
                .controllerFailed, device: name, "the controller reports a fatal error (CSTS.CFS) as it is started")
        }
        admin.connect(transport.registers, stride: capabilities.doorbellStride)
    }

    /// Tells the controller that power may go, so that it saves what it caches.
    func shutDown() async throws(NVMeError) {
        var wanted = configuration
        wanted.notifyShutdown(abrupt: false)
        configure(wanted)
        let limit = Duration.microseconds(Int64(identity.entryLatency))
        try await wait("shut down", atMost: max(limit, .seconds(5))) { $0.shutdown == 2 }
    }

    private func wait(
        _ what: String, atMost limit: Duration? = nil, until isDone: (ControllerStatus) -> Bool
    ) async throws(NVMeError) {
        let limit = limit ?? capabilities.readyTimeout
        let isInTime = try await becomesTrue(within: limit) { () throws(NVMeError) in
            let status = status
            if status.isGone || transport.isRemoved {
                throw NVMeError(.removed, device: name, "the controller was removed while it was to \(what)")
            }
            return isDone(status)
        }
        if isInTime { return }
        throw NVMeError(
            .timedOut, device: name, "the controller did not \(what) within \(limit)",
            advice: "reset the device, or power it off and on")
    }

    /// Looks at what no event tells, ever less often. False: it has not come true in time, and half a second more for a
    /// clock that differs.
    func becomesTrue(
        within limit: Duration, _ condition: () throws(NVMeError) -> Bool
    ) async throws(NVMeError) -> Bool {
        let clock = reactor.loop.clock
        let deadline = clock.now() &+ clock.ticks(limit + .milliseconds(500))
        var pause = Duration.microseconds(50)
        while true {
            if try condition() { return true }
            if clock.now() > deadline { return false }
            await sleep(pause)
            pause = min(pause * 2, .milliseconds(10))
        }
    }

    func sleep(_ duration: Duration) async {
        await reactor.run { local in try? await local.sleep(for: duration) }
    }
}
