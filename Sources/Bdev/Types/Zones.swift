/// What is done to a zone (Zoned Namespace Command Set Specification 1.1, section 3.4.3).
public enum ZoneAction: UInt8, Sendable, Hashable, CaseIterable {
    case close = 1
    case finish = 2
    case open = 3
    case reset = 4
    case offline = 5
}

/// What a zone is for.
public enum ZoneKind: UInt8, Sendable, Hashable {
    /// Written anywhere, as any other block.
    case conventional = 1
    /// Written at its write pointer only.
    case sequentialWriteRequired = 2
    /// Best written at its write pointer.
    case sequentialWritePreferred = 3
}

/// Where a zone is in its life.
public enum ZoneState: UInt8, Sendable, Hashable {
    case empty = 0
    case implicitlyOpen = 1
    case explicitlyOpen = 2
    case closed = 3
    case readOnly = 4
    case full = 5
    case offline = 6
    /// A conventional zone has no write pointer, and no state.
    case withoutWritePointer = 7
}

/// A zone as it is now.
public struct ZoneInfo: Sendable, Hashable {
    /// Its first block.
    public var start: UInt64
    /// The next block to be written; `start + capacity` when it is full.
    public var writePointer: UInt64
    /// Blocks that can be written, at most the zone size.
    public var capacity: UInt64
    public var state: ZoneState
    public var kind: ZoneKind

    public init(start: UInt64, writePointer: UInt64, capacity: UInt64, state: ZoneState, kind: ZoneKind) {
        self.start = start
        self.writePointer = writePointer
        self.capacity = capacity
        self.state = state
        self.kind = kind
    }
}

/// How a bdev with zones is cut. The zone size is the distance from one zone's start to the next.
public struct ZoneGeometry: Sendable, Hashable {
    /// Blocks from one zone's start to the next. At least 1.
    public var blockCount: UInt64
    /// The most blocks of one append; 0 for no limit.
    public var appendBlockCountLimit: UInt64 = 0
    /// The most zones that may be open at once; 0 for no limit.
    public var openLimit = 0
    /// The most zones that may be open or closed at once; 0 for no limit.
    public var activeLimit = 0
    /// How many open zones are best; 0: nobody knows.
    public var optimalOpenCount = 0

    public init(blockCount: UInt64) { self.blockCount = blockCount }
}
