import Logging
import Reactors
import SystemPackage

// SAFETY (below): entries are read within their 64 bytes; the data of an Identify command is as long as it says, and
// stays until it has ended.

/// The device's side of the admin queue, and of the registers: what the kernel's driver does for its controller by
/// itself, or keeps for itself, is answered here; all other commands are given to it.
final class KernelAdminQueue: KernelQueue {
    private enum Phase {
        case off, on, stopping
    }

    private var state = Phase.off
    private let registers: MMIO
    private let reactor: Reactor
    private let clock: ReactorClock
    /// Commands that wait for something to report.
    private var eventRequests: [UInt16] = []
    /// Of Identify commands under way: what was asked for, and where it goes.
    private var identifies: [UInt16: (structure: UInt8, namespace: UInt32, data: UInt64)] = [:]
    private var shown: [KernelDevice.Namespace]
    private var nextLook: UInt64 = 0
    private var layouts: [UInt16: Layout] = [:]
    /// What is waited for before the controller is off: queues, and the kernel's reset.
    private var pending = 0
    private var controller: CommandRing.File?

    /// How often namespaces are looked at.
    private static let period = Duration.seconds(1)
    private static let resetToken: UInt64 = 1 << 32
    /// How long a Format or a Sanitize may take; the driver has a limit of its own.
    private static let longTimeout: UInt32 = 24 * 3600 * 1000

    init(of transport: KernelTransport, on reactor: Reactor) {
        registers = transport.registers
        self.reactor = reactor
        clock = reactor.loop.clock
        shown = transport.namespaces.look()
        super.init(0, of: transport)
    }

    override func poll() -> PollResult {
        followConfiguration()
        if state == .on, clock.now() >= nextLook { look() }
        let result = super.poll()
        return result == .idle && (inFlight > 0 || state == .stopping) ? .pending : result
    }

    // MARK: Registers

    private func followConfiguration() {
        let wanted = ControllerConfiguration(rawValue: registers.load32(RegisterOffset.configuration))
        if wanted.rawValue >> 14 & 3 != 0, state == .on {
            registers.store32(registers.load32(RegisterOffset.status) | 2 << 2, RegisterOffset.status)
        }
        switch state {
        case .off where wanted.isEnabled: start()
        case .on where !wanted.isEnabled: stop(resets: wanted.rawValue >> 14 & 3 == 0)
        default: break
        }
    }

    private func start() {
        let attributes = registers.load32(RegisterOffset.adminQueueAttributes)
        let layout = Layout(
            entryCount: Int(attributes & 0xFFF) + 1, submission: registers.load64(RegisterOffset.adminSubmissionQueue),
            completion: registers.load64(RegisterOffset.adminCompletionQueue))
        do throws(Errno) {
            try begin(layout, isPolled: false)
            state = .on
            if controller == nil { controller = ring?.add(transport.controller) }
            registers.store32(1, RegisterOffset.status)
        } catch {
            transport.logger.error("\(transport.name): cannot make a ring for commands: \(error)")
            registers.store32(2, RegisterOffset.status)
        }
    }

    /// Off, when the kernel has nothing of ours any more.
    private func stop(resets: Bool) {
        state = .stopping
        eventRequests = []
        layouts = [:]
        let queues = transport.takeQueues()
        pending = queues.count + 1
        for each in queues { stop(each) }
        if resets, let ring, let file = transport.resetFile,
            ring.write("1", to: file, token: Self.resetToken)
        {
            inFlight += 1
        }
        stop { [unowned self] in didStop() }
    }

    private func stop(_ each: KernelTransport.Queue, then done: (@Sendable (KernelAdminQueue) -> Void)? = nil) {
        let own = ReactorConfined(self), home = reactor, done = done ?? { $0.didStop() }
        each.reactor.post { _ in
            each.queue.value.stop { home.post { _ in done(own.value) } }
        }
    }

    private func didStop() {
        pending -= 1
        if pending > 0 { return }
        identifies = [:]
        state = .off
        registers.store32(0, RegisterOffset.status)
    }

    // MARK: Commands

    @unsafe
    override func take(_ entry: UnsafeRawPointer, _ ring: CommandRing) -> Bool {
        let command = unsafe entry.load(as: SubmissionQueueEntry.self)
        if let answer = answer(command) {
            if let completion = answer.completion { post(command.commandIdentifier, completion) }
            return true
        }
        guard let controller else { return false }
        let isLong = command.opcode == AdminOpcode.formatNVM || command.opcode == AdminOpcode.sanitize
        let isTaken = unsafe ring.prepare(
            entry, for: controller, isAdmin: true, timeout: isLong ? Self.longTimeout : 0,
            token: UInt64(command.commandIdentifier))
        if !isTaken { return false }
        inFlight += 1
        if command.opcode == AdminOpcode.identify {
            identifies[command.commandIdentifier] = (
                UInt8(truncatingIfNeeded: command.cdw10), command.namespaceID, command.dataPointer1
            )
        }
        return true
    }

    /// Nil: the command is for the controller. Without a completion: it is told later.
    private func answer(_ command: SubmissionQueueEntry) -> (completion: NVMeCompletion?, Void)? {
        switch command.opcode {
        case AdminOpcode.createCompletionQueue: return (createCompletionQueue(command), ())
        case AdminOpcode.createSubmissionQueue: return (createSubmissionQueue(command), ())
        case AdminOpcode.deleteSubmissionQueue: return (deleteSubmissionQueue(command), ())
        case AdminOpcode.deleteCompletionQueue, AdminOpcode.keepAlive: return (NVMeCompletion(), ())
        // Bit 0: it has not been aborted. The kernel gives its own names to commands.
        case AdminOpcode.abort: return (NVMeCompletion(result: 1), ())
        case AdminOpcode.doorbellBufferConfig: return (NVMeCompletion(status: .invalidOpcode), ())
        case AdminOpcode.asynchronousEventRequest:
            eventRequests.append(command.commandIdentifier)
            return (nil, ())
        case AdminOpcode.setFeatures: return setFeature(command).map { ($0, ()) }
        case AdminOpcode.formatNVM, AdminOpcode.sanitize, AdminOpcode.namespaceManagement,
            AdminOpcode.namespaceAttachment:
            // Whatever it names, data that somebody else uses is not put at stake.
            return transport.namespaces.hasOneInUse ? (NVMeCompletion(status: .operationDenied), ()) : nil
        default: return nil
        }
    }

    /// What the kernel has set for itself stays as it is.
    private func setFeature(_ command: SubmissionQueueEntry) -> NVMeCompletion? {
        switch command.cdw10 & 0xFF {
        // As many queues as are wanted: they are rings of io_uring.
        case 0x07:
            let limit = UInt32(KernelTransport.queueLimit - 1)
            return NVMeCompletion(
                result: UInt64(min(command.cdw11 & 0xFFFF, limit) | min(command.cdw11 >> 16, limit) << 16))
        // Interrupts, events, the host's memory, the keep-alive timer, what the host understands.
        case 0x08, 0x09, 0x0B, 0x0D, 0x0F, 0x16: return NVMeCompletion()
        default: return nil
        }
    }

    // MARK: Queues

    private func createCompletionQueue(_ command: SubmissionQueueEntry) -> NVMeCompletion {
        var layout = Layout(entryCount: Int(command.cdw10 >> 16) + 1, completion: command.dataPointer1)
        if command.cdw11 & 2 != 0 { layout.event = transport.event(Int(command.cdw11 >> 16)) }
        layouts[UInt16(truncatingIfNeeded: command.cdw10)] = layout
        return NVMeCompletion()
    }

    private func createSubmissionQueue(_ command: SubmissionQueueEntry) -> NVMeCompletion? {
        let id = UInt16(truncatingIfNeeded: command.cdw10), identifier = command.commandIdentifier
        guard var layout = layouts.removeValue(forKey: id), let queue = transport.activate(id) else {
            return NVMeCompletion(status: NVMeStatus(type: 1, code: 0x00))
        }
        layout.submission = command.dataPointer1
        let own = ReactorConfined(self), home = reactor, transport = transport, wanted = layout
        queue.reactor.post { _ in
            var status = NVMeStatus.success
            do throws(Errno) {
                try queue.queue.value.begin(wanted, isPolled: transport.usesPolledQueues)
            } catch {
                transport.logger.error("\(transport.name): cannot make a ring for commands: \(error)")
                status = .internalError
            }
            let answer = NVMeCompletion(status: status)
            home.post { _ in if own.value.state == .on { own.value.post(identifier, answer) } }
        }
        return nil
    }

    private func deleteSubmissionQueue(_ command: SubmissionQueueEntry) -> NVMeCompletion? {
        let identifier = command.commandIdentifier
        guard let queue = transport.takeQueue(UInt16(truncatingIfNeeded: command.cdw10)) else {
            return NVMeCompletion(status: NVMeStatus(type: 1, code: 0x01))
        }
        stop(queue) { own in if own.state == .on { own.post(identifier, NVMeCompletion()) } }
        return nil
    }

    // MARK: Completions

    override func complete(_ token: UInt64, _ result: UInt64, _ status: Int32) {
        if token == Self.resetToken {
            inFlight -= 1
            if status < 0 { transport.note(Errno(rawValue: -status)) }
            return
        }
        var status = status
        if let asked = identifies.removeValue(forKey: UInt16(truncatingIfNeeded: token)),
            let data = unsafe UnsafeMutableRawPointer(bitPattern: UInt(asked.data))
        {
            if status == -Errno.permissionDenied.rawValue,
                let own = transport.namespaces.identify(asked.structure, asked.namespace)
            {
                unsafe data.copyMemory(from: own, byteCount: own.count)
                status = 0
            }
            if status == 0 { unsafe alter(data, asked.structure) }
        }
        super.complete(token, result, status)
    }

    /// What the kernel's driver does not do, or the user does not want, is not there.
    @unsafe
    private func alter(_ data: UnsafeMutableRawPointer, _ structure: UInt8) {
        // FUSES.
        if structure == 1 { unsafe data.storeBytes(of: UInt16(0), toByteOffset: 522, as: UInt16.self) }
        guard structure == 2, let only = transport.namespaces.only else { return }
        let list = unsafe data.assumingMemoryBound(to: UInt32.self)
        let isThere = (0..<1024).contains { unsafe list[$0] == only }
        unsafe list.update(repeating: 0, count: 1024)
        if isThere { unsafe list[0] = only }
    }

    // MARK: Events

    /// The kernel keeps what the controller reports. That namespaces have come, gone or changed is seen in sysfs.
    private func look() {
        nextLook = clock.now() &+ clock.ticks(Self.period)
        let found = transport.namespaces.look()
        if found == shown || eventRequests.isEmpty { return }
        for old in shown where !found.contains(where: { $0.id == old.id && $0.block == old.block }) {
            transport.namespaces.forget(old.id)
        }
        shown = found
        // A notice: the attributes of a namespace have changed, see log page 4.
        post(eventRequests.removeFirst(), NVMeCompletion(result: 2 | 4 << 16))
    }
}
