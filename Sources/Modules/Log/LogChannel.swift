import Bdev
import Reactors
import SystemPackage

/// One reactor's way to the base and to the log.
///
/// An I/O that changes something gets its place in the log first, then goes to the base, and when it has come back its
/// record is written: in memory at once, on a bdev by a write of the header and, for data, one of the request's own
/// memory. It ends when both are over.
final class LogChannel: BdevModuleChannel {
    private let store: LogStore
    private let below: BdevChannel
    private let base: EngineChannel
    private let logBelow: BdevChannel?
    private let log: EngineChannel?
    private let requests: RequestTable
    private let loop: ReactorLoop
    private var flights: [LogFlight] = []
    private var idle: [LogFlight] = []

    init(
        _ store: LogStore, on local: isolated LocalReactor, below: BdevChannel, log: BdevChannel?,
        requests: RequestTable
    ) {
        self.store = store
        self.below = below
        self.requests = requests
        base = local.engine(of: below)
        logBelow = log
        self.log = log.map { local.engine(of: $0) }
        loop = local.loop
    }

    override func close() async {
        await below.close()
        await logBelow?.close()
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .write, .writeZeroes, .unmap, .flush: begin(request)
        default: base.forward(request)
        }
    }

    private func begin(_ request: consuming IORequest) {
        guard let flight = idle.popLast() ?? makeFlight() else { return request.complete(.noMemory) }
        let dataBlockCount = request.type == .write ? request.blockCount : 0
        guard let location = store.reserve(1 + dataBlockCount) else {
            idle.append(flight)
            return request.complete(.system(.noSpace))
        }
        flight.begin(
            LogFormat.Record(
                generation: store.generation, location: location, kind: UInt32(request.type.rawValue),
                flags: request.options.forcesUnitAccess ? LogFormat.forcedFlag : 0, startBlock: request.startBlock,
                blockCount: request.blockCount, submitted: store.tick(), dataBlockCount: dataBlockCount))
        request.setScratch(flight.index)
        base.forward(request, observed: true)
    }

    private func makeFlight() -> LogFlight? {
        guard var buffer = loop.allocateBuffer(byteCount: store.blockByteCount) else { return nil }
        buffer.fill(with: 0)
        let flight = LogFlight(self, index: flights.count, buffer)
        flights.append(flight)
        return flight
    }

    // MARK: Back from the base

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        let flight = flights[request.scratch()]
        if flight.isRecording { return dataIsWritten(flight, request, status) }
        flight.comeBack(status, at: store.tick())
        if flight.record.dataBlockCount > 0 { flight.record.dataCRC = Self.crc(request) }
        flight.encode()
        if let log { write(flight, request, to: log) } else { keep(flight, request) }
    }

    private static func crc(_ request: borrowing IORequest) -> UInt32 {
        let check = CyclicRedundancyCheck.crc32C
        var state = check.initialState
        for index in 0..<request.segmentCount { state = check.update(state, with: request.memory(index)) }
        return UInt32(truncatingIfNeeded: check.value(of: state))
    }

    /// In memory.
    private func keep(_ flight: LogFlight, _ request: consuming IORequest) {
        let count = 1 + flight.record.dataBlockCount
        if let place = store.memory(at: flight.record.location, count: count) {
            flight.copyHeader(to: place)
            var offset = store.blockByteCount
            for index in 0..<request.segmentCount where flight.record.dataBlockCount > 0 {
                let memory = request.memory(index)
                place.slice(from: offset, count: memory.byteCount).copy(from: memory)
                offset += memory.byteCount
            }
        }
        idle.append(flight)
        request.complete(flight.status)
    }

    /// On a bdev.
    private func write(_ flight: LogFlight, _ request: consuming IORequest, to log: EngineChannel) {
        let location = flight.record.location
        flight.startHeader(on: log)
        if flight.record.dataBlockCount > 0 {
            flight.remaining += 1
            log.forward(request, as: .write, at: location + 1, observed: true)
        } else if flight.remaining == 0 {
            finish(flight, request)
        } else {
            flight.token = request.detach()
        }
    }

    private func dataIsWritten(_ flight: LogFlight, _ request: consuming IORequest, _ status: IOStatus) {
        flight.note(status)
        flight.remaining -= 1
        if flight.remaining > 0 {
            flight.token = request.detach()
        } else {
            finish(flight, request)
        }
    }

    fileprivate func headerIsWritten(_ flight: LogFlight) {
        if flight.remaining == 0, let token = flight.token.take() { finish(flight, requests.request(token)) }
    }

    private func finish(_ flight: LogFlight, _ request: consuming IORequest) {
        if !flight.logStatus.isSuccess { store.countLoss() }
        // What is not in the log has not succeeded, whatever the base says.
        let status = flight.status.isSuccess ? flight.logStatus : flight.status
        idle.append(flight)
        request.complete(status)
    }
}

/// What is known of one I/O while it is under way. Used again and again.
private final class LogFlight: IOHandler {
    private unowned let channel: LogChannel
    let index: Int
    var record = LogFormat.Record()
    private var header: IOBuffer?
    /// The base's answer.
    private(set) var status = IOStatus.success
    /// The log's.
    private(set) var logStatus = IOStatus.success
    /// The base is through with it.
    private(set) var isRecording = false
    /// Writes to the log.
    var remaining = 0
    var token: RequestToken?

    init(_ channel: LogChannel, index: Int, _ header: consuming IOBuffer) {
        self.channel = channel
        self.index = index
        self.header = consume header
    }

    func begin(_ record: LogFormat.Record) {
        self.record = record
        isRecording = false
        logStatus = .success
        remaining = 0
    }

    func comeBack(_ status: IOStatus, at event: UInt64) {
        self.status = status
        isRecording = true
        record.completed = event
        if !status.isSuccess { record.flags |= LogFormat.failedFlag }
    }

    func note(_ status: IOStatus) { if !status.isSuccess { logStatus = status } }

    func encode() {
        guard var buffer = header.take() else { preconditionFailure("a record is written once at a time") }
        LogFormat.encode(record, into: &buffer)
        header = consume buffer
    }

    func copyHeader(to place: IOMemory) {
        if let memory = IOBuffer.memory(of: header) { place.copy(from: memory) }
    }

    func startHeader(on log: EngineChannel) {
        do {
            try log.write(from: &header, at: .block(record.location), handler: self)
            remaining = 1
        } catch {
            logStatus = error.status ?? (error.code == .removed ? .removed : .failed)
        }
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        note(completion.status)
        header = completion.buffer.take()
        remaining -= 1
        channel.headerIsWritten(self)
    }
}
