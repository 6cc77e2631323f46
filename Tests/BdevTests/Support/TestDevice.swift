import Bdev
import Reactors
import SimulatedReactors

/// A bdev's device that does what the test says, remembers what reached it, and notes everything that should not have.
///
/// Sendable unchecked: a simulation has one thread, and tests on real reactors use one reactor.
final class TestDevice: BdevDriver, @unchecked Sendable {
    enum Pace {
        /// Inside the submit.
        case atOnce
        /// When the test says so.
        case held
        /// After a time of its own, for each request.
        case later((Arrival) -> Duration)
    }

    /// A request as it arrived.
    struct Arrival: Hashable, Sendable {
        let type: IOType
        let start: UInt64
        let count: UInt64
        let segmentCount: Int
        /// Of each segment, in bytes.
        let segments: [Int]
        /// Copy: the first block of the source.
        var source: UInt64 = 0
        /// Compare-and-write: of each segment of the data to be written, in bytes.
        var second: [Int] = []

        var blocks: Range<UInt64> { start..<start + count }
    }

    /// Sendable unchecked: as the device.
    struct Held: @unchecked Sendable {
        let token: RequestToken
        let channel: TestChannel
        let arrival: Arrival
    }

    let geometry: BdevGeometry
    let types: IOTypes
    /// What is on the medium, in bytes. A block of zeros counts as a hole.
    var data: [UInt8]
    /// Blocks that cannot be read until they are written again.
    var uncorrectable: Set<UInt64> = []
    var pace = Pace.atOnce
    /// How the request at an arrival ends; success unless the test says otherwise.
    var answer: (Arrival) -> IOStatus = { _ in .success }
    /// Told of every request that is accepted.
    var onArrival: (Arrival) -> Void = { _ in }
    /// So many submissions are answered with `noMemory`.
    var refusals = 0
    /// The most requests the device has room for at once.
    var depth = Int.max
    /// Aborting a request ends it.
    var obeysAbort = true
    var makeFailure: BdevError?

    /// For tests with too many.
    var logsArrivals = true
    private(set) var arrivals: [Arrival] = []
    /// Every submission, refused ones too.
    private(set) var submissionCount = 0
    private(set) var held: [Held] = []
    private(set) var aborted: [RequestToken] = []
    /// With the device now, and the most that ever were.
    private(set) var inside = 0
    private(set) var mostInside = 0
    private var resetsInside = 0
    private weak var channel: TestChannel?
    private var channelOwner: TestDevice?
    private(set) var channelsMade = 0
    private(set) var channelsClosed = 0
    private(set) var wasDestroyed = false
    /// What reached the device and should have been refused, split or copied.
    private(set) var violations: [String] = []

    init(_ geometry: BdevGeometry, types: IOTypes) {
        self.geometry = geometry
        self.types = types
        data = Array(repeating: 0, count: Int(min(geometry.byteCount, 1 << 24)))
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        if let makeFailure { throw makeFailure }
        // A module may have to wait for its device here.
        await local.yield()
        if let owner = channelOwner, let shared = owner.channel {
            owner.channelsMade += 1
            return shared
        }
        channelsMade += 1
        let made = TestChannel(self, reactor: local.reactor, requests: requests)
        channel = made
        return made
    }

    /// Uses the device channel that `other` made last.
    func sharesChannel(of other: TestDevice) { channelOwner = other }

    func destroy() async { wasDestroyed = true }

    func resetLog() {
        arrivals = []
        submissionCount = 0
        mostInside = inside
    }

    // MARK: Requests

    fileprivate func submit(_ request: consuming IORequest, _ channel: TestChannel) {
        submissionCount += 1
        // There is always room for a reset, unless the test wants it otherwise.
        if refusals > 0 || inside >= depth && request.type != .reset {
            refusals = max(0, refusals - 1)
            return request.complete(.noMemory)
        }
        let arrival = check(request)
        if resetsInside > 0 { violations.append("a request during a reset: \(arrival)") }
        if arrival.type == .reset { resetsInside += 1 }
        if logsArrivals { arrivals.append(arrival) }
        onArrival(arrival)
        inside += 1
        mostInside = max(mostInside, inside)
        switch pace {
        case .atOnce: finish(request, arrival)
        case .held: held.append(Held(token: request.detach(), channel: channel, arrival: arrival))
        case .later(let delay):
            let token = request.detach()
            held.append(Held(token: token, channel: channel, arrival: arrival))
            _ = channel.reactor.loop.schedule(after: delay(arrival)) { [self] in
                if let index = held.firstIndex(where: { $0.token == token && $0.channel === channel }) {
                    complete(index)
                }
            }
        }
    }

    /// Completes a held request: the oldest one unless told otherwise.
    func complete(_ index: Int = 0, with status: IOStatus? = nil) {
        let held = held.remove(at: index)
        finish(held.channel.requests.request(held.token), held.arrival, status)
    }

    func completeAll(with status: IOStatus? = nil) {
        while !held.isEmpty { complete(with: status) }
    }

    /// Completes the oldest held request that `isMeant`, on its own reactor. Traps when there is none.
    func completeFirst(with status: IOStatus? = nil, _ isMeant: (Arrival) -> Bool = { _ in true }) async {
        let meant = held.first { isMeant($0.arrival) }!
        await meant.channel.reactor.run { _ in
            let index = self.held.firstIndex { $0.token == meant.token && $0.channel === meant.channel }
            if let index { self.complete(index, with: status) }
        }
    }

    fileprivate func abort(_ token: RequestToken, _ channel: TestChannel) {
        aborted.append(token)
        guard obeysAbort, let index = held.firstIndex(where: { $0.token == token && $0.channel === channel }) else {
            return
        }
        complete(index, with: .aborted)
    }

    private func finish(_ request: consuming IORequest, _ arrival: Arrival, _ status: IOStatus? = nil) {
        inside -= 1
        if arrival.type == .reset { resetsInside -= 1 }
        var status = status ?? answer(arrival)
        if status.isSuccess { status = perform(request, arrival) }
        switch arrival.type {
        case .seekData where status.isSuccess: request.complete(result: seek(arrival.start) { $0 })
        case .seekHole where status.isSuccess: request.complete(result: seek(arrival.start) { !$0 })
        default: request.complete(status)
        }
    }

    // MARK: What may not happen

    private func check(_ request: borrowing IORequest) -> Arrival {
        func note(_ memory: IOMemory) -> Int {
            if !memory.isAligned(to: geometry.memoryAlignment) { violations.append("a segment is misaligned") }
            return memory.byteCount
        }
        var segments: [Int] = [], second: [Int] = []
        for index in 0..<request.segmentCount { segments.append(note(request.memory(index))) }
        for index in 0..<request.secondSegmentCount { second.append(note(request.secondMemory(index))) }
        let arrival = Arrival(
            type: request.type, start: request.startBlock, count: request.blockCount,
            segmentCount: request.segmentCount, segments: segments, source: request.sourceBlock, second: second)
        violations += Self.violations(arrival, geometry, types)
        return arrival
    }

    fileprivate func close() { channelsClosed += 1 }
}

final class TestChannel: BdevModuleChannel {
    private let device: TestDevice
    let reactor: Reactor
    let requests: RequestTable

    init(_ device: TestDevice, reactor: Reactor, requests: RequestTable) {
        self.device = device
        self.reactor = reactor
        self.requests = requests
    }

    override func submit(_ request: consuming IORequest) { device.submit(request, self) }
    override func abort(_ token: RequestToken) { device.abort(token, self) }
    override func close() async { device.close() }
}

/// A module whose bdevs are test devices.
final class TestModule: BdevModule {
    let name: String
    let host = HostSlot()
    private let startFailure: BdevError?
    /// What the engine did with it.
    let log = Shared<[String]>([])

    init(name: String = "test", startFailure: BdevError? = nil) {
        self.name = name
        self.startFailure = startFailure
    }

    func start(_ host: BdevModuleHost) async throws(BdevError) {
        log.value.append("start")
        if let startFailure { throw startFailure }
        self.host.fill(host)
    }

    func stop() async { log.value.append("stop") }

    /// Registers a device under a name.
    func create(
        _ name: String, _ device: TestDevice, aliases: [String] = [], uuid: BdevUUID? = nil,
        resetDrainTimeout: Duration = .zero
    ) async throws(BdevError) {
        var properties = BdevProperties(
            name: name, productName: "Test disk", geometry: device.geometry, supportedTypes: device.types)
        properties.aliases = aliases
        properties.uuid = uuid
        properties.resetDrainTimeout = resetDrainTimeout
        try await host.value.register(properties, driver: device)
    }
}

/// Sendable unchecked: one thread uses it at a time.
final class Shared<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}
