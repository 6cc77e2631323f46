package import Reactors

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
    fileprivate init?(_ report: IOMemory, at offset: Int) {
        // 2: sequential write required, the only type there is.
        guard report.load(UInt8.self, at: offset) & 0xF == 2,
            let state = State(rawValue: report.load(UInt8.self, at: offset + 1) >> 4)
        else { return nil }
        self.state = state
        capacity = report.load(at: offset + 8)
        start = report.load(at: offset + 16)
        writePointer = report.load(at: offset + 24)
    }

    /// Whether ``writePointer`` means something.
    public var hasWritePointer: Bool {
        switch state {
        case .empty, .implicitlyOpen, .explicitlyOpen, .closed: true
        case .readOnly, .full, .offline: false
        }
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

    /// OZCS bit 0: a read may go from one zone to the next.
    public let readsAcrossZones: Bool
    /// The most blocks of one append: 1 to 65,536.
    public let appendBlockCountLimit: Int

    init(_ reader: DataReader, formatIndex: Int, appendBlockCountLimit: Int) {
        self.appendBlockCountLimit = appendBlockCountLimit
        readsAcrossZones = reader.word(2) & 1 != 0
        let active = reader.double(4), open = reader.double(8)
        activeLimit = active == .max ? nil : Int(active) + 1
        openLimit = open == .max ? nil : Int(open) + 1
        zoneBlockCount = reader.quad(2816 + 16 * formatIndex)
    }
}

/// What Zone Management Receive has brought: the zones from one on, in any state, in order and without gaps (figures 37
/// to 39). A controller is not trusted: what is not as it should be is no zone.
package struct NVMeZoneReport {
    private static let descriptorByteCount = 64

    private let memory: IOMemory
    private let first: UInt64
    private let zones: IdentifyZones
    /// How many zones it describes; never more than there are, and than the memory holds.
    package let count: Int

    /// `memory`: at least 64 bytes. `block`: the report is from the zone on that holds it.
    package init(_ memory: IOMemory, from block: UInt64, of zones: IdentifyZones, blockCount: UInt64) {
        self.memory = memory
        self.zones = zones
        let index = block / zones.zoneBlockCount, left = blockCount / zones.zoneBlockCount - index
        first = index * zones.zoneBlockCount
        let room = UInt64(memory.byteCount / Self.descriptorByteCount - 1)
        count = Int(min(memory.load(UInt64.self, at: 0), left, room))
    }

    /// The zone at `index`; nil when what is described there cannot be it.
    package subscript(index: Int) -> NVMeZone? {
        guard index < count, let zone = NVMeZone(memory, at: Self.descriptorByteCount * (index + 1)),
            zone.start == first + UInt64(index) * zones.zoneBlockCount, 1...zones.zoneBlockCount ~= zone.capacity
        else { return nil }
        let isWithin = zone.writePointer >= zone.start && zone.writePointer - zone.start <= zone.capacity
        return isWithin || !zone.hasWritePointer ? zone : nil
    }

    /// A command that asks for one, of `byteCount` bytes: what it begins with counts the zones that are in it.
    package static func command(
        from block: UInt64, byteCount: Int, namespaceID: UInt32
    ) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: IOOpcode.zoneManagementReceive, namespaceID: namespaceID)
        command.startBlock = block
        command.cdw12 = UInt32(byteCount / 4 - 1)
        command.cdw13 = 1 << 16
        return command
    }
}

/// What zones answer (section 2.5.1).
extension NVMeStatus {
    public static let zoneBoundaryError = NVMeStatus(type: 1, code: 0xB8)
    public static let zoneIsFull = NVMeStatus(type: 1, code: 0xB9)
    public static let zoneIsReadOnly = NVMeStatus(type: 1, code: 0xBA)
    public static let zoneIsOffline = NVMeStatus(type: 1, code: 0xBB)
    public static let zoneInvalidWrite = NVMeStatus(type: 1, code: 0xBC)
    public static let tooManyActiveZones = NVMeStatus(type: 1, code: 0xBD)
    public static let tooManyOpenZones = NVMeStatus(type: 1, code: 0xBE)
    public static let invalidZoneStateTransition = NVMeStatus(type: 1, code: 0xBF)
}
