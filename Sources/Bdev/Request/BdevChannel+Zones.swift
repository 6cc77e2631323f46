public import Reactors

// SAFETY (below): the slot is this call's until it is given back; the report's memory is, too.

/// Bdevs whose blocks are written in zones, each from its start to its end.
extension BdevChannel {
    /// The zones from the one that holds `block` on, at most `count`.
    ///
    /// Cost: one allocation for the report.
    ///
    /// - Throws: `notSupported` for a bdev without zones; `outOfRange`; `BdevError`.
    public func zones(from block: UInt64 = 0, count: Int = .max) async throws(BdevError) -> [ZoneInfo] {
        let zones = try zoneGeometry(.zoneInfo)
        let blockCount = parts.core.blockCount
        if block >= blockCount {
            throw BdevError(.outOfRange, bdev: parts.face.name, "there is no zone at block \(block)")
        }
        let first = block / zones.blockCount
        let capacity = min(count, Int((blockCount / zones.blockCount) - first))
        if capacity <= 0 { return [] }
        let report = UnsafeMutablePointer<ZoneInfo>.allocate(capacity: capacity)
        defer { unsafe report.deallocate() }
        let slot = unsafe try await prepare(
            .zoneInfo, .block(first * zones.blockCount), .blocks(UInt64(capacity) * zones.blockCount))
        unsafe slot.pointee.extras.zones = report
        unsafe slot.pointee.extras.zoneCapacity = capacity
        let found = unsafe try await finishOther(slot)
        return unsafe Array(UnsafeBufferPointer(start: report, count: Int(found)))
    }

    /// Opens, closes, finishes, resets or takes offline the zone that begins at `block`; nil: all zones.
    ///
    /// - Throws: `notSupported` for a bdev without zones; `invalidArgument` when no zone begins there; `BdevError` when
    ///   the zone's state forbids it.
    public func manageZone(at block: UInt64?, _ action: ZoneAction) async throws(BdevError) {
        let zones = try zoneGeometry(.zoneManagement)
        if let block { try checkStart(block, zones) }
        let slot = unsafe try await prepare(
            .zoneManagement, .block(block ?? 0), .blocks(block == nil ? parts.core.blockCount : zones.blockCount))
        unsafe slot.pointee.extras.zoneAction = action
        unsafe slot.pointee.extras.concernsAllZones = block == nil
        unsafe try await finishOther(slot)
    }

    /// Writes all of `buffer` at the write pointer of the zone that begins at `zone`. Several may be under way at once;
    /// each has its place when it returns.
    ///
    /// - Returns: the first block written.
    /// - Throws: `notSupported` unless the bdev can; `invalidArgument` when no zone begins there or the buffer is
    ///   longer than the bdev's limit; `noSpace` when the zone is full; `BdevError`.
    public func append(_ buffer: borrowing IOBuffer, toZone zone: UInt64) async throws(BdevError) -> UInt64 {
        let zones = try zoneGeometry(.zoneAppend)
        try checkStart(zone, zones)
        let blocks = UInt64(buffer.byteCount / parts.face.blockByteCount)
        if zones.appendBlockCountLimit > 0 && blocks > zones.appendBlockCountLimit {
            throw BdevError(
                .invalidArgument, bdev: parts.face.name, "cannot append \(blocks) blocks at once",
                advice: "append at most \(zones.appendBlockCountLimit)")
        }
        return unsafe try await finishOther(prepare(.zoneAppend, buffer.memory, .block(zone)))
    }

    private func zoneGeometry(_ type: IOType) throws(BdevError) -> ZoneGeometry {
        if let zones = parts.core.bdev.geometry.zones { return zones }
        throw BdevError(.notSupported, bdev: parts.face.name, "cannot \(type): the bdev has no zones")
    }

    private func checkStart(_ block: UInt64, _ zones: ZoneGeometry) throws(BdevError) {
        if block % zones.blockCount == 0 && block < parts.core.blockCount { return }
        throw BdevError(
            .invalidArgument, bdev: parts.face.name, "no zone begins at block \(block)",
            advice: "zones begin at multiples of \(zones.blockCount)")
    }
}
