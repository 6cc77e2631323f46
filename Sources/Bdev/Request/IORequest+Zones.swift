// SAFETY (below): the caller of a zone report keeps its memory until the request is complete.

extension IORequest {
    /// Zone report: how many zones there is room for.
    public var zoneCapacity: Int { unsafe slot.pointee.extras.zoneCapacity }

    /// Zone report: adds a zone. Traps when there is room for no more.
    public func report(_ zone: ZoneInfo) {
        let count = unsafe Int(slot.pointee.extras.result)
        precondition(count < zoneCapacity, "a zone report has room for \(zoneCapacity) zones")
        unsafe (slot.pointee.extras.zones! + count).initialize(to: zone)
        unsafe slot.pointee.extras.result += 1
    }

    /// What the caller asks for besides the data.
    public var options: IOOptions { unsafe slot.pointee.hasExtras ? slot.pointee.extras.options : IOOptions() }
}
