import Bdev
import Reactors

/// Completes inside the submit.
final class NullChannel: BdevModuleChannel {
    override func submit(_ request: consuming IORequest) { request.complete() }
}

/// As ``NullChannel``, for blocks with protection information.
final class ProtectedNullChannel: BdevModuleChannel {
    private let protection: BlockProtection

    init(_ protection: BlockProtection) { self.protection = protection }

    override func submit(_ request: consuming IORequest) {
        let status = protection.nullStatus(of: request)
        request.complete(status)
    }
}

/// Completes in the next turn.
final class ParkedNullChannel: BdevModuleChannel {
    private let poller: NullPoller
    private let requests: RequestTable
    private let remove: () -> Void

    init(_ protection: BlockProtection?, on local: isolated LocalReactor, _ requests: RequestTable) {
        let poller = NullPoller(protection)
        self.poller = poller
        self.requests = requests
        local.add(poller)
        remove = { [loop = local.loop] in loop.remove(poller) }
    }

    override func submit(_ request: consuming IORequest) { poller.waiting.append(request) }

    override func abort(_ token: RequestToken) {
        if poller.takeOut(token, requests) { requests.request(token).complete(.aborted) }
    }

    override func close() async { remove() }
}

final class NullPoller: Poller {
    let waiting = RequestQueue()
    private let batch = RequestQueue()
    private let passed = RequestQueue()
    private let protection: BlockProtection?

    init(_ protection: BlockProtection?) {
        self.protection = protection
        super.init(name: "null")
    }

    override func poll() -> PollResult {
        if waiting.isEmpty { return .idle }
        batch.takeAll(from: waiting)
        guard let protection else {
            while let request = batch.popFirst() { request.complete() }
            return .busy
        }
        while let request = batch.popFirst() {
            let status = protection.nullStatus(of: request)
            request.complete(status)
        }
        return .busy
    }

    /// Whether the request waited. The others keep their order; those that complete in this turn are not looked at.
    func takeOut(_ token: RequestToken, _ requests: RequestTable) -> Bool {
        var found = false
        passed.takeAll(from: waiting)
        while let request = passed.popFirst() {
            let own = request.detach()
            if own == token { found = true } else { waiting.append(requests.request(own)) }
        }
        return found
    }
}

extension BlockProtection {
    /// What becomes of a request: what a read finds gets protection information, that of a write is checked.
    fileprivate func nullStatus(of request: borrowing IORequest) -> IOStatus {
        switch request.type {
        case .read: generate(for: request)
        case .write: do throws(ProtectionFailure) { try verify(request) } catch { return error.ioStatus }
        default: break
        }
        return .success
    }
}
