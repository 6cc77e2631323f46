import Bdev
import Reactors

/// One reactor's way to the zones.
final class ZoneBlockChannel: BdevModuleChannel {
    private let table: ZoneTable
    private let below: BdevChannel
    private let engine: EngineChannel
    private let requests: RequestTable
    private let loop: ReactorLoop
    /// Zones that are reset are unmapped on the base.
    private let unmaps: Bool
    private var idle: [ZoneOperation] = []

    init(
        _ table: ZoneTable, unmaps: Bool, on local: isolated LocalReactor, below: BdevChannel, requests: RequestTable
    ) {
        self.table = table
        self.unmaps = unmaps
        self.below = below
        self.requests = requests
        engine = local.engine(of: below)
        loop = local.loop
    }

    override func close() async { await below.close() }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .write, .writeZeroes: write(request, at: request.startBlock & (table.zoneBlockCount - 1))
        case .zoneAppend:
            // Where it goes is for the zone to say.
            if request.startBlock & (table.zoneBlockCount - 1) == 0 {
                write(request, at: nil)
            } else {
                request.complete(.invalidField)
            }
        case .zoneInfo: report(request)
        case .zoneManagement: manage(request)
        default: engine.forward(request)
        }
    }

    // MARK: Writes

    @inline(__always)
    private func write(_ request: consuming IORequest, at offset: UInt64?) {
        let zone = table.zone(of: request.startBlock)
        let (place, status) = table.reserve(zone, at: offset, count: request.blockCount)
        if !status.isSuccess { return request.complete(status) }
        let block = table.start(of: zone) + place
        request.setScratch(block)
        engine.forward(request, as: request.type == .zoneAppend ? .write : nil, at: block, observed: true)
    }

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        let block: UInt64 = request.scratch()
        table.conclude(
            table.zone(of: block), from: block & (table.zoneBlockCount - 1), count: request.blockCount,
            succeeded: status.isSuccess)
        request.complete(status, result: block)
    }

    // MARK: Reports

    private func report(_ request: consuming IORequest) {
        let first = table.zone(of: request.startBlock)
        for zone in first..<min(first + request.zoneCapacity, table.count) { request.report(table.info(zone)) }
        request.complete()
    }

    // MARK: Management

    private func manage(_ request: consuming IORequest) {
        let action = request.zoneAction
        if request.concernsAllZones {
            let first = table.zone(of: request.startBlock)
            let end = table.zone(of: request.startBlock + request.blockCount)
            return begin(request, action, first..<end, next: first, isForAll: true)
        }
        let zone = table.zone(of: request.startBlock)
        if table.start(of: zone) != request.startBlock || zone >= table.count { return request.complete(.invalidField) }
        if action != .reset { return request.complete(table.manage(zone, action, isForAll: false)) }
        if let status = table.beginReset(zone, evenEmpty: false) { return request.complete(status) }
        if !unmaps && table.isDrained(zone) {
            table.endReset(zone, succeeded: true)
            return request.complete()
        }
        begin(request, action, zone..<zone + 1, next: zone + 1, isForAll: false)
    }

    /// Starts what takes more than a step.
    private func begin(
        _ request: consuming IORequest, _ action: ZoneAction, _ zones: Range<Int>, next: Int, isForAll: Bool
    ) {
        let operation = idle.popLast() ?? ZoneOperation(self)
        operation.begin(request.detach(), action, zones, next: next, isForAll: isForAll)
        proceed(operation)
    }

    /// How many zones are looked at before others have their turn.
    private static let zonesPerVisit = 1024

    fileprivate func proceed(_ operation: ZoneOperation) {
        let pause = Duration.microseconds(100)
        if operation.next < operation.zones.upperBound {
            let end = min(operation.next + Self.zonesPerVisit, operation.zones.upperBound)
            while operation.next < end {
                let status = visit(operation)
                if status == .noMemory { return proceed(operation, after: pause) }
                if !status.isSuccess { return finish(operation, status) }
                operation.next += 1
            }
            if end < operation.zones.upperBound { return proceed(operation, after: .zero) }
        }
        if operation.action != .reset { return finish(operation, .success) }
        // Their requests may be on other reactors: there is nobody to say when the last is over.
        while operation.drained < operation.zones.upperBound {
            if !table.isDrained(operation.drained) { return proceed(operation, after: pause) }
            operation.drained += 1
        }
        unmaps ? unmap(operation) : finish(operation, .success)
    }

    private func proceed(_ operation: ZoneOperation, after delay: Duration) {
        _ = loop.schedule(after: delay) { self.proceed(operation) }
    }

    /// Does what is to be done to the next zone, or for a reset marks it.
    private func visit(_ operation: ZoneOperation) -> IOStatus {
        if operation.action != .reset { return table.manage(operation.next, operation.action, isForAll: true) }
        // All zones are unmapped in one go, and nobody may write to any of them until then.
        return table.beginReset(operation.next, evenEmpty: true) ?? .success
    }

    private func unmap(_ operation: ZoneOperation) {
        let zones = operation.zones
        let count =
            zones.count == 1 ? table.capacity : UInt64(zones.count) * table.zoneBlockCount
        do {
            try engine.submit(
                .unmap, at: .block(table.start(of: zones.lowerBound)), count: .blocks(count), handler: operation)
        } catch {
            if error.code == .noMemory { return proceed(operation, after: .microseconds(100)) }
            finish(operation, error.code == .removed ? .removed : .failed)
        }
    }

    fileprivate func finish(_ operation: ZoneOperation, _ status: IOStatus) {
        if operation.action == .reset {
            for zone in operation.zones.lowerBound..<operation.next {
                table.endReset(zone, succeeded: status.isSuccess)
            }
        }
        let token = operation.end()
        idle.append(operation)
        requests.request(token).complete(status)
    }
}

/// The management of one zone or of all that does not end in the step it began in. Used again and again.
private final class ZoneOperation: IOHandler {
    private unowned let channel: ZoneBlockChannel
    private var token: RequestToken?
    private(set) var action = ZoneAction.reset
    private(set) var zones = 0..<0
    private(set) var isForAll = false
    /// The zones before it are done, or marked.
    var next = 0
    /// The zones before it have no write under way.
    var drained = 0

    init(_ channel: ZoneBlockChannel) { self.channel = channel }

    func begin(_ token: RequestToken, _ action: ZoneAction, _ zones: Range<Int>, next: Int, isForAll: Bool) {
        self.token = token
        self.action = action
        self.zones = zones
        self.next = next
        self.isForAll = isForAll
        drained = zones.lowerBound
    }

    func end() -> RequestToken {
        guard let token = token.take() else { preconditionFailure("a zone operation has ended twice") }
        return token
    }

    /// The unmap is over.
    override func ioCompleted(_ completion: consuming IOCompletion) { channel.finish(self, completion.status) }
}
