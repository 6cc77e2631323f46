import Reactors

// SAFETY (below): what it points to belongs to the caller, who waits for the request.

/// The parts of a request that reads, writes and most others do not have. Clean while the slot is free or the request
/// has none, so that those pay nothing for it.
@usableFromInline
@safe struct RequestExtras {
    /// Compare-and-write: the data to be written; the request's own memory is what is compared.
    var second = Segments()
    /// The metadata of a bdev that keeps it apart; empty without any.
    var metadata = Segments()
    /// Copy: the first block of the source.
    var sourceBlock: UInt64 = 0
    /// What the device answered: an offset in blocks, or a command's own result.
    var result: UInt64 = 0
    /// What the caller asks for besides.
    var options = IOOptions()
    /// When the layer asks for the request to be given up, in ticks; `.max`: never.
    var deadline = UInt64.max
    /// It was given up because its time was over.
    var isLate = false
    /// What is done to a zone, or to all that the request's blocks are in.
    var zoneAction = ZoneAction.close
    var concernsAllZones = false
    /// Who sees a compare-and-write through.
    var task: Task<Void, Never>?
    /// Where zones are reported to, and how many there is room for.
    var zones: UnsafeMutablePointer<ZoneInfo>?
    var zoneCapacity = 0
    /// Where a zero-copy I/O is.
    var zeroCopyPhase = ZeroCopyPhase.start
    /// A command of the device's own.
    var command = NVMeCommand()

    init() { unsafe zones = nil }
}

/// The two halves of a zero-copy I/O.
public enum ZeroCopyPhase: Sendable, Hashable {
    /// The module lends memory that stands for the blocks, with or without what is on them.
    case start
    /// As `start`, and the memory holds what is on the blocks.
    case startPopulated
    /// The memory goes back; what is in it is forgotten.
    case end
    /// The memory goes back; what is in it is what the blocks hold from now on.
    case commit

    var isStart: Bool { self == .start || self == .startPopulated }
}
