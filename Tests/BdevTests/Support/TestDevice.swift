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
    }

    struct Held {
        let token: RequestToken
        let channel: TestChannel
        let arrival: Arrival
    }

    let geometry: BdevGeometry
    let types: IOTypes
    /// What is on the medium, in bytes.
    var data: [UInt8]
    var pace = Pace.atOnce
    /// How the request at an arrival ends; success unless the test says otherwise.
    var answer: (Arrival) -> IOStatus = { _ in .success }
    /// So many submissions are answered with `noMemory`.
    var refusals = 0
    /// The most requests the device has room for at once.
    var depth = Int.max
    /// Aborting a request ends it.
    var obeysAbort = true
    var makeFailure: BdevError?

    private(set) var arrivals: [Arrival] = []
    /// Every submission, refused ones too.
    private(set) var submissionCount = 0
    private(set) var held: [Held] = []
    private(set) var aborted: [RequestToken] = []
    /// With the device now, and the most that ever were.
    private(set) var inside = 0
    private(set) var mostInside = 0
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
        channelsMade += 1
        return TestChannel(self, reactor: local.reactor, requests: requests)
    }

    func destroy() async { wasDestroyed = true }

    func resetLog() {
        arrivals = []
        submissionCount = 0
        mostInside = inside
    }

    // MARK: Requests

    fileprivate func submit(_ request: consuming IORequest, _ channel: TestChannel) {
        submissionCount += 1
        if refusals > 0 || inside >= depth {
            refusals = max(0, refusals - 1)
            return request.complete(.noMemory)
        }
        let arrival = check(request)
        arrivals.append(arrival)
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

    fileprivate func abort(_ token: RequestToken, _ channel: TestChannel) {
        aborted.append(token)
        guard obeysAbort, let index = held.firstIndex(where: { $0.token == token && $0.channel === channel }) else {
            return
        }
        complete(index, with: .aborted)
    }

    fileprivate func close() { channelsClosed += 1 }

    private func finish(_ request: consuming IORequest, _ arrival: Arrival, _ status: IOStatus? = nil) {
        inside -= 1
        let status = status ?? answer(arrival)
        if status.isSuccess { perform(request) }
        request.complete(status)
    }

    private func perform(_ request: borrowing IORequest) {
        var offset = Int(request.byteOffset)
        guard offset + Int(request.byteCount) <= data.count else { return }
        switch request.type {
        case .read:
            for index in 0..<request.segmentCount {
                request.withMutableBytes(ofSegment: index) { bytes in
                    let count = bytes.byteCount
                    unsafe bytes.withUnsafeMutableBytes { target in
                        unsafe data.withUnsafeBytes {
                            unsafe target.copyMemory(from: .init(rebasing: $0[offset..<offset + count]))
                        }
                    }
                    offset += count
                }
            }
        case .write:
            for index in 0..<request.segmentCount {
                request.withBytes(ofSegment: index) { bytes in
                    unsafe bytes.withUnsafeBytes { source in
                        unsafe data.withUnsafeMutableBytes {
                            unsafe UnsafeMutableRawBufferPointer(rebasing: $0[offset...]).copyMemory(from: source)
                        }
                    }
                    offset += bytes.byteCount
                }
            }
        case .writeZeroes, .unmap:
            let count = Int(request.byteCount)
            _ = unsafe data.withUnsafeMutableBytes { bytes in
                unsafe (bytes.baseAddress! + offset).initializeMemory(as: UInt8.self, repeating: 0, count: count)
            }
        default: break
        }
    }

    // MARK: What may not happen

    private func check(_ request: borrowing IORequest) -> Arrival {
        var segments: [Int] = []
        for index in 0..<request.segmentCount {
            let memory = request.memory(index)
            segments.append(memory.byteCount)
            if !memory.isAligned(to: geometry.memoryAlignment) { violations.append("a segment is misaligned") }
        }
        let arrival = Arrival(
            type: request.type, start: request.startBlock, count: request.blockCount,
            segmentCount: request.segmentCount, segments: segments)
        violations += Self.violations(arrival, geometry, types)
        return arrival
    }

    /// The rules of a geometry that a request breaks.
    static func violations(_ arrival: Arrival, _ geometry: BdevGeometry, _ types: IOTypes) -> [String] {
        var found: [String] = []
        func require(_ condition: Bool, _ what: String) {
            if !condition { found.append("\(what): \(arrival)") }
        }
        let size = UInt64(geometry.blockByteCount)
        require(types.contains(arrival.type), "not supported")
        let (end, overflow) = arrival.start.addingReportingOverflow(arrival.count)
        require(!overflow && end <= geometry.blockCount || arrival.start >= geometry.blockCount, "out of range")
        switch arrival.type {
        case .read, .write:
            require(arrival.count > 0, "no blocks")
            require(UInt64(arrival.segments.reduce(0, +)) == arrival.count * size, "memory and blocks differ")
            require(arrival.segments.allSatisfy { $0 > 0 }, "an empty segment")
            if geometry.transferBlockCountLimit > 0 {
                require(arrival.count <= geometry.transferBlockCountLimit, "longer than a transfer")
            }
            if geometry.splitsAtOptimalBoundary, arrival.count > 0 {
                let boundary = geometry.optimalBoundaryBlockCount
                require(arrival.start / boundary == (end - 1) / boundary, "crosses the boundary")
            }
            if geometry.segmentCountLimit > 0 {
                require(arrival.segmentCount <= geometry.segmentCountLimit, "too many segments")
                require(arrival.segments.allSatisfy { $0 <= geometry.segmentByteCountLimit }, "a segment too long")
            }
        case .unmap:
            require(
                geometry.unmapBlockCountLimit == 0 || arrival.count <= geometry.unmapBlockCountLimit, "a long unmap")
            require(arrival.count > 0, "no blocks")
        case .writeZeroes:
            let limit = geometry.writeZeroesBlockCountLimit
            require(limit == 0 || arrival.count <= limit, "a long write of zeroes")
            require(arrival.count > 0, "no blocks")
        default: break
        }
        return found
    }
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
        _ name: String, _ device: TestDevice, aliases: [String] = [], uuid: BdevUUID? = nil
    ) async throws(BdevError) {
        var properties = BdevProperties(
            name: name, productName: "Test disk", geometry: device.geometry, supportedTypes: device.types)
        properties.aliases = aliases
        properties.uuid = uuid
        try await host.value.register(properties, driver: device)
    }
}

/// Sendable unchecked: one thread uses it at a time.
final class Shared<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}
