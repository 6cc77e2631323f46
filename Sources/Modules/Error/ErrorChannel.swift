import Bdev
import Reactors

/// An error bdev on one reactor.
final class ErrorChannel: StackedChannel {
    private struct Corruption {
        let token: RequestToken
        let offset: UInt64
        let bits: UInt8
    }

    private let requests: RequestTable
    private let plan: ErrorPlan
    private let channels: ModuleChannels<ErrorChannel>
    private let reactor: Reactor
    /// With the base.
    private var inFlight = 0
    /// Kept, in the order they came.
    private var pending: [RequestToken] = []
    /// Reads whose data is to be corrupted when they come back.
    private var corruptions: [Corruption] = []

    init(
        over channel: BdevChannel, on local: isolated LocalReactor, requests: RequestTable, _ plan: ErrorPlan,
        _ channels: ModuleChannels<ErrorChannel>
    ) {
        self.requests = requests
        self.plan = plan
        self.channels = channels
        reactor = local.reactor
        super.init(over: channel, on: local)
    }

    override func submit(_ request: consuming IORequest) {
        if request.type == .reset { return reset(request) }
        guard let injection = plan.hit(request, inFlight: inFlight) else { return handOn(request) }
        switch injection.effect {
        case .failure: request.complete(.failed)
        case .nvmeFailure(let type, let code):
            request.complete(IOStatus(.nvmeError, detail: Int32(type) << 8 | Int32(code)))
        case .noMemory: request.complete(.noMemory)
        case .pending: pending.append(request.detach())
        case .corruption(let offset, let bits): corrupt(request, offset, bits, injection)
        }
    }

    private func handOn(_ request: consuming IORequest) {
        inFlight += 1
        base.forward(request, observed: true)
    }

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        inFlight -= 1
        if corruptions.isEmpty { return request.complete(status) }
        let token = request.detach()
        let back = requests.request(token)
        if let index = corruptions.firstIndex(where: { $0.token == token }) {
            let corruption = corruptions.remove(at: index)
            if status.isSuccess { back.invert(corruption.bits, ofByte: corruption.offset) }
        }
        back.complete(status)
    }

    private func corrupt(
        _ request: consuming IORequest, _ offset: UInt64, _ bits: UInt8, _ injection: ErrorInjection
    ) {
        switch request.type {
        case .read:
            let token = request.detach()
            corruptions.append(Corruption(token: token, offset: offset, bits: bits))
            handOn(requests.request(token))
        case .write where offset < request.byteCount:
            guard var copy = allocateBuffer(byteCount: Int(request.byteCount)) else {
                plan.giveBack(injection)
                return request.complete(.noMemory)
            }
            request.copyData(into: &copy)
            copy.store(copy.load(UInt8.self, at: Int(offset)) ^ bits, at: Int(offset))
            inFlight += 1
            base.forward(request, observed: true, replacing: .data, with: copy)
        default: handOn(request)
        }
    }

    // MARK: What is kept

    func resumePending() {
        let resumed = pending
        pending = []
        for token in resumed { handOn(requests.request(token)) }
    }

    override func abort(_ token: RequestToken) {
        guard let index = pending.firstIndex(of: token) else { return }
        pending.remove(at: index)
        requests.request(token).complete(.aborted)
    }

    func abortPending() {
        let aborted = pending
        pending = []
        for token in aborted { requests.request(token).complete(.aborted) }
    }

    /// What is kept on any reactor is given up, and then the base is reset.
    private func reset(_ request: consuming IORequest) {
        let token = request.detach(), channels = channels, own = ReactorConfined(self), reactor = reactor
        Task(executorPreference: reactor.taskExecutor) {
            await channels.visit { _, channel in channel.abortPending() }
            await reactor.run { _ in
                let channel = own.value
                channel.handOn(channel.requests.request(token))
            }
        }
    }

    override func close() async {
        channels.remove(self)
        await super.close()
    }
}
