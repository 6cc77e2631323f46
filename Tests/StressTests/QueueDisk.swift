import Bdev
import Reactors
import SimulatedReactors

/// Makes disks in memory that take their time, refuse what is too much for them, and give up what they are asked to.
final class QueueDiskModule: BdevModule {
    let name = "queue_disk"
    let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(_ name: String, blockCount: UInt64, room: UInt64, seed: UInt64) async throws {
        let driver = QueueDisk(region: try MemoryRegion(byteCount: Int(room) * 512), seed: seed)
        var geometry = BdevGeometry(blockByteCount: 512, blockCount: blockCount)
        var random = SeededRandom(seed: seed)
        // Some of them cut what they are given.
        if Bool.random(using: &random) {
            geometry.optimalBoundaryBlockCount = 16
            geometry.splitsAtOptimalBoundary = true
        }
        let properties = BdevProperties(
            name: name, productName: "disk", geometry: geometry,
            supportedTypes: [.read, .write, .unmap, .flush, .reset, .writeZeroes])
        try await host.value.register(properties, driver: driver)
    }
}

private final class QueueDisk: BdevDriver {
    let region: MemoryRegion
    let seed: UInt64
    let channels = ModuleChannels<QueueDiskChannel>()

    init(region: MemoryRegion, seed: UInt64) {
        self.region = region
        self.seed = seed
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = QueueDiskChannel(self, on: local, requests)
        channels.add(channel, on: local)
        return channel
    }

    func removalBegan() async { await channels.visit { _, channel in channel.giveUp() } }
}

private final class QueueDiskChannel: BdevModuleChannel {
    private let disk: QueueDisk
    private let requests: RequestTable
    private let reactor: Reactor
    private let poller: QueueDiskPoller
    private var random: SeededRandom
    private var queue: [RequestToken] = []
    private static let depth = 16

    init(_ disk: QueueDisk, on local: isolated LocalReactor, _ requests: RequestTable) {
        self.disk = disk
        self.requests = requests
        reactor = local.reactor
        random = SeededRandom(seed: disk.seed &+ UInt64(local.reactor.index))
        poller = QueueDiskPoller()
        super.init()
        poller.channel = self
        local.add(poller)
        local.pause(poller)
    }

    override func submit(_ request: consuming IORequest) {
        if request.type == .reset { return reset(request) }
        if queue.count == Self.depth { return request.complete(.noMemory) }
        if queue.isEmpty, Int.random(in: 0..<4, using: &random) == 0 { return finish(request) }
        if queue.isEmpty { reactor.loop.resume(poller) }
        queue.append(request.detach())
    }

    /// Completes some of what there is, in any order.
    func work() -> PollResult {
        if queue.isEmpty {
            reactor.loop.pause(poller)
            return .idle
        }
        var left = Int.random(in: 0...8, using: &random)
        while left > 0, !queue.isEmpty {
            left -= 1
            finish(requests.request(queue.remove(at: Int.random(in: 0..<queue.count, using: &random))))
        }
        return .busy
    }

    func giveUp() {
        let all = queue
        queue = []
        for token in all { requests.request(token).complete(.aborted) }
    }

    override func abort(_ token: RequestToken) {
        guard let place = queue.firstIndex(of: token) else { return }
        queue.remove(at: place)
        requests.request(token).complete(.aborted)
    }

    private func reset(_ request: consuming IORequest) {
        let token = request.detach(), channels = disk.channels, own = ReactorConfined(self), reactor = reactor
        Task(executorPreference: reactor.taskExecutor) {
            await channels.visit { _, channel in channel.giveUp() }
            await reactor.run { _ in own.value.requests.request(token).complete() }
        }
    }

    private func finish(_ request: consuming IORequest) {
        var offset = Int(request.byteOffset)
        switch request.type {
        case .read, .write:
            let isWrite = request.type == .write
            for index in 0..<request.segmentCount {
                let memory = request.memory(index)
                let place = disk.region.memory(from: offset, count: memory.byteCount)
                if isWrite { place.copy(from: memory) } else { memory.copy(from: place) }
                offset += memory.byteCount
            }
        case .unmap, .writeZeroes: disk.region.zero(from: offset, count: Int(request.byteCount))
        default: break
        }
        request.complete()
    }

    override func close() async {
        precondition(queue.isEmpty, "a channel was closed with I/O in it")
        reactor.loop.remove(poller)
        disk.channels.remove(self)
    }
}

private final class QueueDiskPoller: Poller {
    weak var channel: QueueDiskChannel?

    init() { super.init(name: "queue disk") }

    override func poll() -> PollResult { channel?.work() ?? .idle }
}
