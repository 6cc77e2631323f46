/// What an I/O does. The raw values are those of SPDK's I/O types, so that tools which know one know the other.
@frozen
public enum IOType: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case read = 1
    case write = 2
    case unmap = 3
    case flush = 4
    case reset = 5
    case writeZeroes = 9
    case abort = 16

    /// Whether it changes what is on the medium, and so needs a descriptor opened for writing.
    @inlinable
    public var needsWritableDescriptor: Bool {
        switch self {
        case .write, .unmap, .flush, .writeZeroes: true
        case .read, .reset, .abort: false
        }
    }

    public var description: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .unmap: "unmap"
        case .flush: "flush"
        case .reset: "reset"
        case .writeZeroes: "write_zeroes"
        case .abort: "abort"
        }
    }
}

/// A set of I/O types.
public struct IOTypes: OptionSet, Sendable {
    public let rawValue: UInt32

    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable init(_ type: IOType) { rawValue = 1 << UInt32(type.rawValue) }

    public static let read = IOTypes(.read)
    public static let write = IOTypes(.write)
    public static let unmap = IOTypes(.unmap)
    public static let flush = IOTypes(.flush)
    public static let reset = IOTypes(.reset)
    public static let writeZeroes = IOTypes(.writeZeroes)
    public static let abort = IOTypes(.abort)

    @inlinable @inline(__always) public func contains(_ type: IOType) -> Bool {
        rawValue & (1 << UInt32(type.rawValue)) != 0
    }
}
