import Bdev
import NVMeDriver
import Reactors

/// A request about zones that takes several commands: a report in pieces, or the management of some of the zones.
final class ZoneWalk {
    let buffer: IOBuffer
    /// The zone that the next piece of the report begins with.
    var next: UInt64
    let end: UInt64
    /// What has been reported.
    var found: [ZoneInfo] = []
    /// The zones that something is to be done to, the next one last; nil until all have been reported.
    var targets: [UInt64]?

    init(_ buffer: consuming IOBuffer, _ range: Range<UInt64>) {
        self.buffer = buffer
        next = range.lowerBound
        end = range.upperBound
    }
}

// Namespaces with zones.
extension NamespaceChannel {
    /// Of all zones, or of a single one: one command. Of some, which a partition has: those that it can be done to, one
    /// after the other.
    func manageZones(_ request: consuming IORequest, _ path: IOPath) {
        guard let zones = format.zones else { return request.complete(.notSupported) }
        let step = zones.zoneBlockCount, blockCount = bdev.blockCount(on: path.route)
        let isWhole = request.startBlock == 0 && request.blockCount >= blockCount / step * step
        if request.concernsAllZones, !isWhole {
            return beginWalk(request, request.startBlock..<request.startBlock + request.blockCount, path)
        }
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementSend, namespaceID: path.namespaceID)
        command.startBlock = request.startBlock
        command.cdw13 = UInt32(request.zoneAction.rawValue) | (request.concernsAllZones ? 1 << 8 : 0)
        let token = request.detach()
        if !path.submit(command, data: nil, metadata: nil, token) { refuse(token) }
    }

    func reportZones(_ request: consuming IORequest, _ path: IOPath) {
        guard let zones = format.zones else { return request.complete(.notSupported) }
        let start = request.startBlock / zones.zoneBlockCount * zones.zoneBlockCount
        let left = bdev.blockCount(on: path.route) / zones.zoneBlockCount - start / zones.zoneBlockCount
        let count = min(UInt64(request.zoneCapacity), left)
        if count == 0 { return request.complete() }
        beginWalk(request, start..<start + count * zones.zoneBlockCount, path)
    }

    private func beginWalk(_ request: consuming IORequest, _ range: Range<UInt64>, _ path: IOPath) {
        guard let zones = format.zones else { return request.complete(.notSupported) }
        let count = (range.upperBound - range.lowerBound) / zones.zoneBlockCount
        // A header as long as what describes a zone.
        let byteCount = Int(min(UInt64(format.limits.reportByteCount), 64 * (count + 1)))
        guard let buffer = reactor.loop.allocateBuffer(byteCount: byteCount) else { return request.complete(.noMemory) }
        step(ZoneWalk(buffer, range), request, path)
    }

    private func step(_ walk: ZoneWalk, _ request: consuming IORequest, _ path: IOPath) {
        var command = NVMeZoneReport.command(
            from: walk.next, byteCount: walk.buffer.byteCount, namespaceID: path.namespaceID)
        var data: IOMemory? = walk.buffer.memory
        if let target = walk.targets?.last {
            command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementSend, namespaceID: path.namespaceID)
            command.startBlock = target
            command.cdw13 = UInt32(request.zoneAction.rawValue)
            data = nil
        }
        let token = request.detach()
        if !path.submit(command, data: data, metadata: nil, token) { return refuse(token) }
        walks[token] = walk
    }

    /// A command of a walk has ended well.
    func goOn(_ walk: ZoneWalk, _ request: consuming IORequest, _ token: RequestToken, on path: IOPath) {
        if troubles[token]?.isGivenUp == true {
            let token = request.detach()
            return end(token, .aborted)
        }
        if walk.targets == nil {
            if !take(walk, request) {
                bdev.isNonsense("a report of zones from block \(walk.next) on", from: path.route)
                let token = request.detach()
                return end(token, .failed)
            }
        } else {
            walk.targets?.removeLast()
        }
        let isOver = walk.targets.map(\.isEmpty) ?? false
        if !isOver {
            // On another path it begins again: what has been done is not done twice.
            return path.isUsable ? step(walk, request, path) : submit(request)
        }
        if request.type == .zoneInfo { for zone in walk.found { request.report(zone) } }
        let token = request.detach()
        end(token, .success)
    }

    /// Takes a piece of the report. False when the controller tells of what is no zone.
    private func take(_ walk: ZoneWalk, _ request: borrowing IORequest) -> Bool {
        guard let zones = format.zones else { return false }
        let report = NVMeZoneReport(walk.buffer.memory, from: walk.next, of: zones, blockCount: walk.end)
        if report.count == 0 { return false }
        for index in 0..<report.count {
            guard let zone = report[index] else { return false }
            walk.found.append(ZoneInfo(zone))
        }
        walk.next += UInt64(report.count) * zones.zoneBlockCount
        if walk.next < walk.end { return true }
        if request.type == .zoneInfo {
            walk.targets = []
        } else {
            let action = request.zoneAction
            walk.targets = walk.found.reversed().filter { $0.takes(action) }.map(\.start)
        }
        return true
    }
}

extension ZoneInfo {
    fileprivate init(_ zone: NVMeZone) {
        let state: ZoneState =
            switch zone.state {
            case .empty: .empty
            case .implicitlyOpen: .implicitlyOpen
            case .explicitlyOpen: .explicitlyOpen
            case .closed: .closed
            case .readOnly: .readOnly
            case .full: .full
            case .offline: .offline
            }
        // Where none is told of there is nothing to be written any more.
        self.init(
            start: zone.start, writePointer: zone.hasWritePointer ? zone.writePointer : zone.start + zone.capacity,
            capacity: zone.capacity, state: state, kind: .sequentialWriteRequired)
    }

    /// Whether it is among those that `action` is done to when it is done to all.
    fileprivate func takes(_ action: ZoneAction) -> Bool {
        let isOpen = state == .implicitlyOpen || state == .explicitlyOpen
        return switch action {
        case .close: isOpen
        case .finish: isOpen || state == .closed
        case .open: state == .closed
        case .reset: isOpen || state == .closed || state == .full
        case .offline: state == .readOnly
        }
    }
}
