import Logging
import Reactors

extension NVMeController {
    /// Calls `handler` with what the controller reports, on the home reactor, one event after another. The one before
    /// is not called any more; nil: nobody is.
    public func onEvent(_ handler: (@Sendable (NVMeEvent) -> Void)?) { eventHandler = handler }

    func tell(_ event: NVMeEvent) { eventHandler?(event) }

    /// Asks for events: which ones (feature 0x0B), and a few requests that wait for them.
    func requestEvents() async throws(NVMeError) {
        // Critical warnings, and as far as there are any: namespaces, asymmetric access.
        try await setFeature(0x0B, to: 0x1F | identity.asynchronousEvents & 0x900)
        let count = min(4, identity.asynchronousEventLimit)
        let requests = EventRequests(admin) { [weak self] result in
            guard let self else { return }
            Task(executorPreference: self.reactor.taskExecutor) { await self.handle(result) }
        }
        if let eventRequests { admin.pair.remove(eventRequests) }
        eventRequests = requests
        admin.pair.add(requests)
        for _ in 0..<count { requests.give() }
    }

    /// What a completion of an Asynchronous Event Request says (section 5.2). Reading the log page has it reported
    /// again.
    private func handle(_ result: UInt32) async {
        let type = UInt8(result & 7), information = UInt8(truncatingIfNeeded: result >> 8)
        let page = UInt8(truncatingIfNeeded: result >> 16)
        do throws(NVMeError) {
            switch (type, information) {
            case (0, _):
                _ = try await logPage(1, byteCount: 64)
                tell(.error(information: information))
            case (1, _):
                let health = try await logPage(2, byteCount: 512)
                logger.warning("\(name): critical warning 0x\(String(health[0], radix: 16)) of its health")
                tell(.health(criticalWarning: health[0]))
            case (2, 0):
                _ = try await logPage(4, byteCount: 4096)
                try await rescan()
            case (2, 3): tell(.asymmetricAccessChanged)
            default: tell(.other(type: type, information: information, logPage: page))
            }
        } catch {
            logger.warning("\(name): what the controller reported could not be looked into: \(error)")
        }
    }

    /// Looks at the namespaces again, and tells of those that came, went or changed.
    public func rescan() async throws(NVMeError) {
        let found = try await identifyNamespaces(), known = namespaces
        namespaces = found
        for old in known where !found.contains(where: { $0.id == old.id }) { tell(.namespaceRemoved(id: old.id)) }
        for new in found {
            if let old = known.first(where: { $0.id == new.id }) {
                if !old.isSame(as: new) { tell(.namespaceChanged(new)) }
            } else {
                tell(.namespaceAdded(new))
            }
        }
    }
}

/// Asynchronous Event Requests: each is given again as soon as it has ended.
final class EventRequests: NVMeClient {
    private unowned let admin: AdminQueue
    private let handle: (UInt32) -> Void

    init(_ admin: AdminQueue, handle: @escaping (UInt32) -> Void) {
        self.admin = admin
        self.handle = handle
    }

    func give() {
        let command = SubmissionQueueEntry(opcode: AdminOpcode.asynchronousEventRequest)
        if admin.pair.submit(command, client: self, token: 0) { admin.eventCount += 1 }
    }

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        admin.eventCount -= 1
        // After a reset others are given; a controller that takes no more of them has enough.
        if !completion.status.isSuccess { return }
        give()
        handle(UInt32(truncatingIfNeeded: completion.result))
    }
}
