/// A zone as a report describes it (Zoned Namespace Command Set Specification 1.1, figure 39).
public struct NVMeZone: Hashable, Sendable {
    /// Where a zone is in its life.
    public enum State: UInt8, Sendable {
        case empty = 1
        case implicitlyOpen = 2
        case explicitlyOpen = 3
        case closed = 4
        case readOnly = 0xD
        case full = 0xE
        case offline = 0xF
    }

    public let start: UInt64
    /// Blocks that can be written.
    public let capacity: UInt64
    /// The next block to be written; without meaning for a zone that is full, read-only or offline.
    public let writePointer: UInt64
    public let state: State

    /// Nil for 64 bytes that describe no zone.
    init?(_ reader: DataReader, at offset: Int) {
        // 2: sequential write required, the only type there is.
        guard reader.byte(offset) & 0xF == 2, let state = State(rawValue: reader.byte(offset + 1) >> 4) else {
            return nil
        }
        self.state = state
        capacity = reader.quad(offset + 8)
        start = reader.quad(offset + 16)
        writePointer = reader.quad(offset + 24)
    }
}

/// What is done to a zone (Zoned Namespace Command Set Specification 1.1, section 3.4.3).
public enum NVMeZoneAction: UInt8, Sendable, CaseIterable {
    case close = 1
    case finish = 2
    case open = 3
    case reset = 4
    case offline = 5
}

/// What a zoned namespace says of its zones (figure 48, Identify with CNS 5 and command set 2).
public struct IdentifyZones: Hashable, Sendable {
    /// MAR + 1 and MOR + 1; nil: no limit.
    public let activeLimit: Int?
    public let openLimit: Int?
    /// Blocks from one zone's start to the next, in the format in use.
    public let zoneBlockCount: UInt64

    init(_ reader: DataReader, formatIndex: Int) {
        let active = reader.double(4), open = reader.double(8)
        activeLimit = active == .max ? nil : Int(active) + 1
        openLimit = open == .max ? nil : Int(open) + 1
        zoneBlockCount = reader.quad(2816 + 16 * formatIndex)
    }
}
