public import Reactors

// SAFETY (below): the slot belongs to this request until it is consumed; slots are never unmapped while their
// reactor lives.

/// One I/O as a module sees it.
///
/// It cannot be copied, and completing it consumes it: a second completion does not compile. Dropping it without
/// completing it traps with the bdev's name. Belongs to the reactor it was submitted on.
@safe public struct IORequest: ~Copyable {
    @usableFromInline let slot: Slot

    @inlinable
    init(_ slot: Slot) { unsafe self.slot = slot }

    deinit { unsafe slot.pointee.core.takeUnretainedValue().requestWasDropped(slot) }

    @inlinable public var type: IOType { unsafe slot.pointee.type }
    /// The first block.
    @inlinable public var startBlock: UInt64 { unsafe slot.pointee.startBlock }
    /// How many blocks; 0 for reset and flush of everything.
    @inlinable public var blockCount: UInt64 { unsafe slot.pointee.blockCount }
    /// `startBlock` in bytes.
    public var byteOffset: UInt64 {
        unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.bytes(slot.pointee.startBlock) }
    }
    /// `blockCount` in bytes.
    public var byteCount: UInt64 {
        unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.bytes(slot.pointee.blockCount) }
    }
    /// Pieces of memory the data is in; 0 for an I/O without data.
    @inlinable public var segmentCount: Int { unsafe slot.pointee.segmentCount }

    /// The piece of memory at `index`, for a driver to read or write until it completes the request.
    public func memory(_ index: Int) -> IOMemory {
        precondition(index >= 0 && index < segmentCount, "a request has no such segment")
        return unsafe slot.pointee.segments.map { unsafe $0[index] } ?? slot.pointee.memory
    }

    /// Lends the piece of memory at `index` for reading: the data to be written.
    public func withBytes<Result, Failure: Error>(
        ofSegment index: Int, _ body: (borrowing RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let memory = memory(index)
        let span = unsafe RawSpan(_unsafeStart: memory.base, byteCount: memory.byteCount)
        return try body(span)
    }

    /// Lends the piece of memory at `index` for writing: where data is to be read into.
    public func withMutableBytes<Result, Failure: Error>(
        ofSegment index: Int, _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let memory = memory(index)
        var span = unsafe MutableRawSpan(_unsafeStart: memory.base, byteCount: memory.byteCount)
        return try body(&span)
    }

    /// Ends the I/O. On the reactor it was submitted on, inside `submit` or later.
    ///
    /// `.noMemory` means: the device has no room now; the layer keeps the request, with all that came after it, and
    /// submits it again.
    public consuming func complete(_ status: IOStatus = .success) {
        let slot = unsafe slot
        discard self
        unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.moduleCompleted(slot, status) }
    }

    /// Turns the request into a number for the time it is with a device; ``RequestTable/request(_:)`` turns it
    /// back.
    public consuming func detach() -> RequestToken {
        let token = unsafe RequestToken(slot)
        unsafe slot.pointee.isDetached = true
        discard self
        return token
    }
}

/// A request that is with a device, as a number of 48 bits: what fits into a command identifier or a ring's user data.
public struct RequestToken: Hashable, Sendable {
    /// Below 2^48.
    public let rawValue: UInt64

    /// Of the request that is in `slot` now.
    init(_ slot: Slot) {
        rawValue = unsafe UInt64(slot.pointee.tokenIndex) | UInt64(slot.pointee.generation) << 32
    }

    /// A token from the number it was turned into.
    public init(rawValue: UInt64) { self.rawValue = rawValue & 0xFFFF_FFFF_FFFF }

    var index: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
    var generation: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 32) }
}

/// Turns the tokens of one reactor's requests back into requests. Given to a module when it makes a channel.
public struct RequestTable {
    let pool: RequestPool
    let bdev: RegisteredBdev

    /// The request `token` stands for. Each token is turned back once. Traps, with the names of the module and the bdev
    /// and in release builds too, when it has been turned back or completed already, and when it is of another reactor
    /// or another module.
    public func request(_ token: RequestToken) -> IORequest {
        // SAFETY: the table checks that the request is with a module, and that this is still the same one.
        unsafe IORequest(pool.slot(token, bdev))
    }
}
