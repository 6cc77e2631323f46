package import CLinux
public import SystemPackage

// SAFETY (below): a plain C value; its address field is only handed on.

/// A file as a ring knows it. Made by `Ring.register(_:)`, or of a descriptor as it is.
public struct RingFile: Hashable, Sendable {
    public let descriptor: FileDescriptor
    /// Its place in the ring's table of registered files; -1: none.
    package let slot: Int32

    /// A descriptor that is not registered.
    public init(_ descriptor: FileDescriptor) { self.init(descriptor, slot: -1) }

    package init(_ descriptor: FileDescriptor, slot: Int32) {
        self.descriptor = descriptor
        self.slot = slot
    }

    static let none = RingFile(FileDescriptor(rawValue: -1))
}

/// How one read or write is done: RWF_* of preadv2(2).
public struct TransferFlags: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Polled for, on files opened with O_DIRECT (RWF_HIPRI).
    public static let highPriority = TransferFlags(rawValue: 1)
    /// A write is durable before its result is delivered (RWF_DSYNC): force unit access.
    public static let durable = TransferFlags(rawValue: 2)
    /// The same for the file's metadata too (RWF_SYNC).
    public static let durableWithMetadata = TransferFlags(rawValue: 4)
    /// Answers -EAGAIN instead of blocking (RWF_NOWAIT).
    public static let noWait = TransferFlags(rawValue: 8)
}

/// What ``Ring/allocate(_:at:byteCount:mode:token:for:)`` does to a range. The size of the file changes with
/// `.extend` only.
public struct AllocationMode: Hashable, Sendable {
    let rawValue: UInt32

    /// Room is reserved, and the file grows to hold the range.
    public static let extend = AllocationMode(rawValue: 0)
    /// Room is reserved (FALLOC_FL_KEEP_SIZE).
    public static let reserve = AllocationMode(rawValue: 1)
    /// The range reads as zeros and takes no room (FALLOC_FL_PUNCH_HOLE).
    public static let punchHole = AllocationMode(rawValue: 3)
    /// The range reads as zeros, and room for it stays reserved (FALLOC_FL_ZERO_RANGE).
    public static let zero = AllocationMode(rawValue: 0x11)
}

/// One operation on its way into a ring: what a subclass of ``Ring`` is given.
@safe public struct RingOperation {
    package enum Kind: UInt8 {
        case nop, read, write, readVector, writeVector, synchronize, allocate, poll, discard, cancel
    }

    // SAFETY: it points at memory which its starter keeps until the result is delivered.
    package var raw: clinux_operation

    /// The lower 48 bits of user data; the client's number is above.
    static let tokenMask: UInt64 = 1 << 48 - 1

    // SAFETY of the accessors: none touches the address.
    package var kind: Kind {
        get { unsafe Kind(rawValue: raw.kind)! }
        set { unsafe raw.kind = newValue.rawValue }
    }
    package var userData: UInt64 { unsafe raw.user_data }
    /// Bytes in the file; of a cancellation, the user data of what is to end.
    package var offset: UInt64 { unsafe raw.offset }
    /// Bytes, or pieces of a vector.
    package var length: UInt64 { unsafe raw.length }
    package var descriptor: Int32 { unsafe raw.descriptor }
    /// RWF_*, the mode of fallocate(2), the events of poll(2), or 1 to synchronize the data only.
    package var flags: UInt32 { unsafe raw.flags }

    @inline(__always)
    static func userData(_ client: RingClient, _ token: UInt64) -> UInt64 {
        assert(token <= tokenMask, "a token has 48 bits")
        return UInt64(client.number) << 48 | token & tokenMask
    }

    @unsafe @inline(__always)
    private init(
        _ kind: Kind, _ file: RingFile, _ offset: Int64, _ length: Int64, _ address: UnsafeMutableRawPointer?,
        _ buffer: Int32, _ flags: UInt32, _ userData: UInt64
    ) {
        assert(kind == .cancel || offset >= 0 && length >= 0, "an offset or a length in a file cannot be negative")
        // SAFETY: the address is stored only; see `raw`.
        unsafe raw = clinux_operation(
            user_data: userData, offset: UInt64(truncatingIfNeeded: offset), length: UInt64(truncatingIfNeeded: length),
            address: address, descriptor: file.descriptor.rawValue, slot: file.slot, buffer: buffer, flags: flags,
            kind: kind.rawValue)
    }

    @inline(__always)
    init(
        _ kind: Kind, _ file: RingFile, _ offset: Int64, _ memory: IOMemory, buffer: Int32, _ flags: TransferFlags,
        _ client: RingClient, _ token: UInt64
    ) {
        precondition(memory.byteCount <= Int(Int32.max), "one read or write moves less than 2 GiB")
        // SAFETY: as for `raw`.
        unsafe self.init(
            kind, file, offset, Int64(memory.byteCount), memory.base, buffer, flags.rawValue,
            Self.userData(client, token))
    }

    @inline(__always)
    init(
        _ kind: Kind, _ file: RingFile, _ offset: Int64, _ vectors: IOVectorList, _ flags: TransferFlags,
        _ client: RingClient, _ token: UInt64
    ) {
        // SAFETY: as for `raw`.
        unsafe self.init(
            kind, file, offset, Int64(vectors.count), vectors.address, -1, flags.rawValue, Self.userData(client, token))
    }

    @inline(__always)
    init(
        _ kind: Kind, _ file: RingFile, _ offset: Int64, _ byteCount: Int64, flags: UInt32, _ client: RingClient,
        _ token: UInt64
    ) {
        // SAFETY: there is no address.
        unsafe self.init(kind, file, offset, byteCount, nil, -1, flags, Self.userData(client, token))
    }

    /// For the ring itself: nobody is told its result.
    init(cancelling target: UInt64) {
        // SAFETY: there is no address.
        unsafe self.init(.cancel, .none, Int64(bitPattern: target), 0, nil, -1, 0, Self.cancelUserData)
    }

    static let cancelUserData: UInt64 = 2
}
