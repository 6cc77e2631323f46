public import Reactors

// SAFETY (below): the slot belongs to this request until it is consumed, and so does the memory its extras name.

/// What only some kinds of I/O have.
extension IORequest {
    // MARK: Copy

    /// Copy: the first block of the source; as many blocks as the target. 0 for other kinds.
    public var sourceBlock: UInt64 { unsafe slot.pointee.extras.sourceBlock }

    // MARK: Compare-and-write

    /// Compare-and-write: pieces of memory with the data to be written; the request's own memory holds what is
    /// compared. 0 for other kinds.
    public var secondSegmentCount: Int { unsafe slot.pointee.extras.second.count }

    /// Compare-and-write: the piece at `index` of the data to be written. Traps when there is none.
    public func secondMemory(_ index: Int) -> IOMemory { unsafe slot.pointee.extras.second[index] }

    /// Lends the piece at `index` of the data that a compare-and-write writes. Traps when there is none.
    public func withSecondBytes<Result, Failure: Error>(
        ofSegment index: Int, _ body: (borrowing RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let memory = secondMemory(index)
        let span = unsafe RawSpan(_unsafeStart: memory.base, byteCount: memory.byteCount)
        return try body(span)
    }

    // MARK: Metadata

    /// Pieces of memory that hold the metadata of a bdev that keeps it apart from the data; 0 without any.
    public var metadataSegmentCount: Int { unsafe slot.pointee.extras.metadata.count }

    /// The piece of metadata at `index`. Traps when there is none.
    public func metadataMemory(_ index: Int) -> IOMemory { unsafe slot.pointee.extras.metadata[index] }

    // MARK: Commands

    /// Zone management: what is done to the zones.
    public var zoneAction: ZoneAction { unsafe slot.pointee.extras.zoneAction }
    /// Zone management: whether it is done to every zone of the request's blocks that it can be done to: all of the
    /// bdev's, or, of a partition, the partition's. Otherwise it is done to the zone at `startBlock`.
    public var concernsAllZones: Bool { unsafe slot.pointee.extras.concernsAllZones }
    /// NVMe pass-through: the command, without a command identifier and without data pointers.
    public var nvmeCommand: NVMeCommand { unsafe slot.pointee.extras.command }

    // MARK: Answers

    /// Ends an I/O that has an answer: on the reactor it was submitted on, inside `submit` or later.
    ///
    /// `result`: seek: the block that was found, `.max` when there is none; zone append: the first block
    ///   written; NVMe pass-through: the command's own result, double word 0 of its completion in the low half. Other
    ///   kinds have no answer: it is dropped.
    public consuming func complete(_ status: IOStatus = .success, result: UInt64) {
        if unsafe slot.pointee.hasExtras { unsafe slot.pointee.extras.result = result }
        complete(status)
    }
}
