/// A command as a submission queue holds it (NVM Express Base Specification 2.0, figure 88): 64 bytes.
///
/// The driver fills in the command identifier and, when data is given beside it, where the data is.
@frozen
public struct SubmissionQueueEntry: Hashable, Sendable {
    public var opcode: UInt8
    /// FUSE in bits 1:0, PSDT in bits 7:6.
    package var flags: UInt8 = 0
    package var commandIdentifier: UInt16 = 0
    public var namespaceID: UInt32
    public var cdw2: UInt32 = 0
    public var cdw3: UInt32 = 0
    /// MPTR.
    package var metadataPointer: UInt64 = 0
    /// DPTR: PRP entry 1, or the address of an SGL descriptor.
    package var dataPointer1: UInt64 = 0
    /// DPTR: PRP entry 2, or length and type of an SGL descriptor.
    package var dataPointer2: UInt64 = 0
    public var cdw10: UInt32 = 0
    public var cdw11: UInt32 = 0
    public var cdw12: UInt32 = 0
    public var cdw13: UInt32 = 0
    public var cdw14: UInt32 = 0
    public var cdw15: UInt32 = 0

    public init(opcode: UInt8, namespaceID: UInt32 = 0) {
        self.opcode = opcode
        self.namespaceID = namespaceID
    }

    /// FUSE: which of two commands it is that are done as one.
    package var fusion: Fusion {
        get { Fusion(rawValue: flags & 3) ?? .none }
        set { flags = flags & ~3 | newValue.rawValue }
    }

    package enum Fusion: UInt8 {
        case none, first, second
    }

    /// Which way its data goes, from the two lowest bits of the opcode.
    public var direction: DataDirection { DataDirection(rawValue: opcode & 3)! }
}

/// Which way a command's data goes.
public enum DataDirection: UInt8, Sendable {
    case none = 0
    case toController = 1
    case fromController = 2
    case both = 3
}

/// How a command ended, as its completion queue entry says (NVM Express Base Specification 2.0, figure 89).
@frozen
public struct NVMeCompletion: Hashable, Sendable {
    /// Words 0 and 1: the command's own result.
    public var result: UInt64
    public var status: NVMeStatus

    @inlinable
    public init(result: UInt64 = 0, status: NVMeStatus = .success) {
        self.result = result
        self.status = status
    }
}
