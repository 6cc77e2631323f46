import Bdev
import Reactors

/// A delay bdev on one reactor: has the base do the I/O, and keeps what has come back until its time is over.
final class DelayChannel: StackedChannel {
    private let requests: RequestTable
    private let settings: DelaySettings
    private let channels: ModuleChannels<DelayChannel>
    private let reactor: Reactor
    private let loop: ReactorLoop
    /// By `LatencyKind`.
    private let lines: [DelayLine]
    private var random: DelayRandom
    /// A reset is under way: what comes back belongs before it, and does not wait.
    private var isResetting = false

    init(
        over channel: BdevChannel, on local: isolated LocalReactor, requests: RequestTable, _ settings: DelaySettings,
        _ channels: ModuleChannels<DelayChannel>
    ) {
        self.requests = requests
        self.settings = settings
        self.channels = channels
        reactor = local.reactor
        loop = local.loop
        let seed = settings.seed.map { $0 &+ UInt64(local.reactor.index) } ?? local.reactor.backend.randomWord()
        random = DelayRandom(state: seed)
        lines = DelayModule.LatencyKind.allCases.map { _ in DelayLine(loop: local.loop, requests: requests) }
        super.init(over: channel, on: local)
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read, .write, .zeroCopy: base.forward(request, observed: true)
        case .reset: reset(request)
        default: base.forward(request)
        }
    }

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        if request.type == .reset { return endReset(request, status) }
        guard !isResetting, let isWrite = Self.isWrite(request) else { return request.complete(status) }
        let isSlow = random.next() % 100 == 0
        let kind: DelayModule.LatencyKind =
            isWrite ? isSlow ? .p99Write : .averageWrite : isSlow ? .p99Read : .averageRead
        let line = lines[kind.rawValue]
        let latency = spread(settings.latency(kind))
        if latency == 0 && line.isEmpty { return request.complete(status) }
        line.append(request.detach(), status, at: loop.clock.now() &+ loop.clock.ticks(.nanoseconds(Int64(latency))))
    }

    /// nil: not delayed. Zero-copy reads when it is lent and writes when it is given back.
    private static func isWrite(_ request: borrowing IORequest) -> Bool? {
        switch request.type {
        case .read: false
        case .write: true
        case .zeroCopy:
            switch request.zeroCopyPhase {
            case .startPopulated: false
            case .commit: true
            case .start, .end: nil
            }
        default: nil
        }
    }

    private func spread(_ latency: UInt64) -> UInt64 {
        if settings.jitter == 0 { return latency }
        let shift = random.next() % (2 * settings.jitter + 1)
        return max(latency + shift, settings.jitter) - settings.jitter
    }

    // MARK: Giving up

    override func abort(_ token: RequestToken) {
        for line in lines where line.remove(token) { return requests.request(token).complete(.aborted) }
    }

    /// What waits on any reactor is given up before the base is reset: no I/O from before it is told after it.
    private func reset(_ request: consuming IORequest) {
        let token = request.detach(), channels = channels, own = ReactorConfined(self), reactor = reactor
        Task(executorPreference: reactor.taskExecutor) {
            await channels.visit { _, channel in channel.giveUp() }
            await reactor.run { _ in
                let channel = own.value
                channel.base.forward(channel.requests.request(token), observed: true)
            }
        }
    }

    private func endReset(_ request: consuming IORequest, _ status: IOStatus) {
        let token = request.detach(), channels = channels, own = ReactorConfined(self), reactor = reactor
        Task(executorPreference: reactor.taskExecutor) {
            await channels.visit { _, channel in channel.isResetting = false }
            await reactor.run { _ in own.value.requests.request(token).complete(status) }
        }
    }

    private func giveUp() {
        isResetting = true
        for line in lines { line.abortAll() }
    }

    override func close() async {
        channels.remove(self)
        for line in lines { line.close() }
        await super.close()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
private struct DelayRandom {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
