import NVMeDriver

/// How a soft controller's namespace is cut into zones.
public struct SoftZoneOptions: Sendable, Hashable {
    /// Blocks from one zone's start to the next; the namespace is a whole number of zones.
    public var blockCount: UInt64
    /// Blocks that can be written in each zone: 1 to ``blockCount``.
    public var capacity: UInt64
    /// MOR + 1: the most zones that may be open; nil: no limit.
    public var openLimit: Int?
    /// MAR + 1: the most zones that may be open or closed; nil: no limit.
    public var activeLimit: Int?
    /// OZCS bit 0: a read may go from one zone to the next.
    public var readsAcrossZones = false

    public init(blockCount: UInt64, capacity: UInt64? = nil) {
        self.blockCount = blockCount
        self.capacity = capacity ?? blockCount
    }
}

/// The zones of a namespace, and the rules by which they change (Zoned Namespace Command Set Specification 1.1,
/// section 2.1.1).
struct SoftZones {
    private struct Zone {
        var state = NVMeZone.State.empty
        /// Blocks, from the zone's start on.
        var written: UInt64 = 0
    }

    let options: SoftZoneOptions
    private var zones: [Zone]
    /// Those that writes have opened, the one that has been open for longest first.
    private var implicitlyOpen: [Int] = []

    init(_ options: SoftZoneOptions, blockCount: UInt64) {
        precondition(
            options.blockCount > 0 && blockCount % options.blockCount == 0, "a namespace is a whole number of zones")
        precondition(1...options.blockCount ~= options.capacity, "a zone's capacity is within the zone")
        self.options = options
        zones = Array(repeating: Zone(), count: Int(blockCount / options.blockCount))
    }

    var indices: Range<Int> { zones.indices }
    func index(of block: UInt64) -> Int { Int(block / options.blockCount) }
    func start(of zone: Int) -> UInt64 { UInt64(zone) * options.blockCount }
    /// Where the next block of a zone is written.
    func writePointer(of zone: Int) -> UInt64 { start(of: zone) + zones[zone].written }

    private var openCount: Int { zones.count { $0.state.isOpen } }
    private var activeCount: Int { zones.count { $0.state.isOpen || $0.state == .closed } }

    // MARK: Reads and writes

    /// Why the blocks cannot be read; nil: they can.
    func refusal(ofReading start: UInt64, _ count: UInt64) -> NVMeStatus? {
        let first = index(of: start), last = index(of: start + count - 1)
        if zones[first...last].contains(where: { $0.state == .offline }) { return .zoneIsOffline }
        return first != last && !options.readsAcrossZones ? .zoneBoundaryError : nil
    }

    /// Why the blocks cannot be written; nil: they can. Nothing has changed.
    func refusal(ofWriting start: UInt64, _ count: UInt64) -> NVMeStatus? {
        let place = index(of: start), zone = zones[place]
        switch zone.state {
        case .full: return .zoneIsFull
        case .readOnly: return .zoneIsReadOnly
        case .offline: return .zoneIsOffline
        case .empty, .implicitlyOpen, .explicitlyOpen, .closed: break
        }
        if start != writePointer(of: place) { return .zoneInvalidWrite }
        if count > options.capacity - zone.written { return .zoneBoundaryError }
        return refusal(ofOpening: place)
    }

    /// The blocks, which could be written, have been.
    mutating func wrote(_ start: UInt64, _ count: UInt64) {
        let place = index(of: start)
        if !zones[place].state.isOpen { open(place, .implicitlyOpen) }
        zones[place].written += count
        if zones[place].written == options.capacity { set(place, .full) }
    }

    // MARK: Opening

    private func refusal(ofOpening place: Int) -> NVMeStatus? {
        let state = zones[place].state
        if state.isOpen { return nil }
        if let limit = options.activeLimit, state == .empty, activeCount >= limit { return .tooManyActiveZones }
        if let limit = options.openLimit, openCount >= limit, implicitlyOpen.isEmpty { return .tooManyOpenZones }
        return nil
    }

    private mutating func open(_ place: Int, _ state: NVMeZone.State) {
        if let limit = options.openLimit, !zones[place].state.isOpen, openCount >= limit {
            set(implicitlyOpen[0], .closed)
        }
        set(place, state)
    }

    private mutating func set(_ place: Int, _ state: NVMeZone.State) {
        implicitlyOpen.removeAll { $0 == place }
        if state == .implicitlyOpen { implicitlyOpen.append(place) }
        zones[place].state = state
    }

    // MARK: Management

    /// Does `action` to one zone. What it was before: whether its blocks are forgotten is for the caller to see to.
    mutating func manage(_ place: Int, _ action: NVMeZoneAction) -> NVMeStatus {
        switch (action, zones[place].state) {
        case (.open, .explicitlyOpen), (.close, .closed), (.finish, .full), (.reset, .empty), (.offline, .offline):
            return .success
        case (.open, .empty), (.open, .implicitlyOpen), (.open, .closed):
            if let refusal = refusal(ofOpening: place) { return refusal }
            open(place, .explicitlyOpen)
        case (.close, .implicitlyOpen), (.close, .explicitlyOpen): set(place, .closed)
        case (.finish, .empty), (.finish, .implicitlyOpen), (.finish, .explicitlyOpen), (.finish, .closed):
            set(place, .full)
        case (.reset, .implicitlyOpen), (.reset, .explicitlyOpen), (.reset, .closed), (.reset, .full):
            set(place, .empty)
            zones[place].written = 0
        case (.offline, .readOnly): set(place, .offline)
        default: return .invalidZoneStateTransition
        }
        return .success
    }

    /// The zones that `action` is done to when it is done to all: those of some states, which others are left out of
    /// without an error.
    func chosen(for action: NVMeZoneAction) -> [Int] {
        zones.indices.filter { place in
            switch (action, zones[place].state) {
            case (.close, .implicitlyOpen), (.close, .explicitlyOpen): true
            case (.finish, .implicitlyOpen), (.finish, .explicitlyOpen), (.finish, .closed): true
            case (.open, .closed): true
            case (.reset, .implicitlyOpen), (.reset, .explicitlyOpen), (.reset, .closed), (.reset, .full): true
            case (.offline, .readOnly): true
            default: false
            }
        }
    }

    /// Whether all closed zones can be opened: all or none are.
    var canOpenAll: Bool {
        guard let limit = options.openLimit else { return true }
        return zones.count { $0.state == .explicitlyOpen || $0.state == .closed } <= limit
    }

    /// A zone wears out: it can be read only, or not even that.
    mutating func wearOut(_ place: Int, isOffline: Bool) { set(place, isOffline ? .offline : .readOnly) }

    // MARK: What there is to say

    /// Identify with CNS 5 (figure 48).
    func identity(formatIndex: Int) -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        data.put(UInt16(options.readsAcrossZones ? 1 : 0), at: 2)
        data.put(options.activeLimit.map { UInt32($0 - 1) } ?? .max, at: 4)
        data.put(options.openLimit.map { UInt32($0 - 1) } ?? .max, at: 8)
        data.put(options.blockCount, at: 2816 + 16 * formatIndex)
        return data
    }

    /// A report of the zones from `first` on that are in `state`, nil in any, cut to `byteCount`. `isPartial`: the
    /// number that it begins with is of those in it, not of all.
    func report(from first: Int, in state: NVMeZone.State?, isPartial: Bool, byteCount: Int) -> DataWriter {
        var data = DataWriter(byteCount: byteCount)
        let all = zones.indices.dropFirst(first).filter { state == nil || zones[$0].state == state }
        let told = all.prefix((byteCount - 64) / 64)
        data.put(UInt64(isPartial ? told.count : all.count), at: 0)
        for (index, place) in told.enumerated() {
            let offset = 64 + 64 * index, state = zones[place].state
            // Sequential write required.
            data.put(UInt8(2), at: offset)
            data.put(state.rawValue << 4, at: offset + 1)
            data.put(options.capacity, at: offset + 8)
            data.put(start(of: place), at: offset + 16)
            let isWritable = state != .full && state != .readOnly && state != .offline
            data.put(isWritable ? writePointer(of: place) : .max, at: offset + 24)
        }
        return data
    }
}

extension NVMeZone.State {
    fileprivate var isOpen: Bool { self == .implicitlyOpen || self == .explicitlyOpen }
}
