/// What an I/O does. The raw values are those of SPDK's I/O types, and the descriptions its names for them, so that
/// tools which know one know the other.
@frozen
public enum IOType: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case read = 1
    case write = 2
    case unmap = 3
    case flush = 4
    case reset = 5
    case nvmeAdmin = 6
    case nvmeIO = 7
    case nvmeIOWithMetadata = 8
    case writeZeroes = 9
    case zeroCopy = 10
    case zoneInfo = 11
    case zoneManagement = 12
    case zoneAppend = 13
    case compare = 14
    case compareAndWrite = 15
    case abort = 16
    case seekHole = 17
    case seekData = 18
    case copy = 19
    case nvmeIOVector = 20
    case nvmeSubsystemReset = 21
    case writeUncorrectable = 22

    /// Whether it may change what is on the medium, and so needs a descriptor opened for writing. NVMe commands count
    /// as such whatever they do, for the layer does not look into them.
    public var needsWritableDescriptor: Bool {
        switch self {
        case .write, .unmap, .flush, .writeZeroes, .zeroCopy, .zoneManagement, .zoneAppend, .compareAndWrite, .copy,
            .writeUncorrectable, .nvmeAdmin, .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector:
            true
        case .read, .reset, .abort, .compare, .seekHole, .seekData, .zoneInfo, .nvmeSubsystemReset: false
        }
    }

    /// Whether a range of blocks says all there is to say: no data, no second range, no answer.
    var isRangeOnly: Bool {
        switch self {
        case .unmap, .flush, .reset, .writeZeroes, .writeUncorrectable, .nvmeSubsystemReset: true
        default: false
        }
    }

    public var description: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .unmap: "unmap"
        case .flush: "flush"
        case .reset: "reset"
        case .nvmeAdmin: "nvme_admin"
        case .nvmeIO: "nvme_io"
        case .nvmeIOWithMetadata: "nvme_io_md"
        case .writeZeroes: "write_zeroes"
        case .zeroCopy: "zcopy"
        case .zoneInfo: "get_zone_info"
        case .zoneManagement: "zone_management"
        case .zoneAppend: "zone_append"
        case .compare: "compare"
        case .compareAndWrite: "compare_and_write"
        case .abort: "abort"
        case .seekHole: "seek_hole"
        case .seekData: "seek_data"
        case .copy: "copy"
        case .nvmeIOVector: "nvme_iov_md"
        case .nvmeSubsystemReset: "nvme_nssr"
        case .writeUncorrectable: "write_uncorrectable"
        }
    }

    /// The type of a name as ``description`` gives it.
    public init?(named name: String) {
        guard let type = Self.allCases.first(where: { $0.description == name }) else { return nil }
        self = type
    }
}

/// A set of I/O types.
public struct IOTypes: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32

    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable public init(_ type: IOType) { rawValue = 1 << UInt32(type.rawValue) }

    public static let read = IOTypes(.read)
    public static let write = IOTypes(.write)
    public static let unmap = IOTypes(.unmap)
    public static let flush = IOTypes(.flush)
    public static let reset = IOTypes(.reset)
    public static let nvmeAdmin = IOTypes(.nvmeAdmin)
    public static let nvmeIO = IOTypes(.nvmeIO)
    public static let nvmeIOWithMetadata = IOTypes(.nvmeIOWithMetadata)
    public static let writeZeroes = IOTypes(.writeZeroes)
    public static let zeroCopy = IOTypes(.zeroCopy)
    public static let zoneInfo = IOTypes(.zoneInfo)
    public static let zoneManagement = IOTypes(.zoneManagement)
    public static let zoneAppend = IOTypes(.zoneAppend)
    public static let compare = IOTypes(.compare)
    public static let compareAndWrite = IOTypes(.compareAndWrite)
    public static let abort = IOTypes(.abort)
    public static let seekHole = IOTypes(.seekHole)
    public static let seekData = IOTypes(.seekData)
    public static let copy = IOTypes(.copy)
    public static let nvmeIOVector = IOTypes(.nvmeIOVector)
    public static let nvmeSubsystemReset = IOTypes(.nvmeSubsystemReset)
    public static let writeUncorrectable = IOTypes(.writeUncorrectable)

    @inlinable @inline(__always) public func contains(_ type: IOType) -> Bool {
        rawValue & (1 << UInt32(type.rawValue)) != 0
    }

    /// These, and what the layer does with their help where the device itself cannot: zeroes are written, what is to be
    /// compared is read, a copy is both, compare-and-write is done under a lock, and without a better answer everything
    /// counts as data.
    public var withEmulated: IOTypes {
        var all = self
        if contains(.write) { all.insert(.writeZeroes) }
        if contains(.read) { all.formUnion([.compare, .seekData, .seekHole]) }
        if contains([.read, .write]) { all.formUnion([.copy, .compareAndWrite]) }
        return all
    }
}
