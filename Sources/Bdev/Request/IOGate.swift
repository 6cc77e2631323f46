import Reactors

// SAFETY (below): slots are touched by their reactor's thread only; the queue owns those in it.

/// What holds the I/O of one bdev up on one reactor: a reset under way, ranges that somebody has for himself.
///
/// It is there before the first channel and after the last, as long as somebody holds I/O up, so that a new channel
/// finds what the others obey.
@safe final class IOGate {
    /// A reset is under way: what comes now is aborted.
    var isFrozen = false
    private(set) var locks: [RangeLock] = []
    /// Requests that wait for a range, in the order they came.
    var held = SlotQueue()

    var isHolding: Bool { isFrozen || !locks.isEmpty }

    func add(_ lock: RangeLock) { locks.append(lock) }
    func remove(_ id: RangeLock.ID) { locks.removeAll { $0.id == id } }

    /// Whether the request has to wait.
    func holdsUp(_ slot: Slot) -> Bool { locks.contains { unsafe $0.concerns(slot) } }
}

/// A range of blocks that somebody has for himself for a while.
struct RangeLock: Sendable {
    typealias ID = UInt64
    let id: ID
    let blocks: Range<UInt64>
    /// Whether reads wait too; they may run beside a write that is only atomic among writers.
    let holdsReads: Bool

    func overlaps(_ other: Range<UInt64>) -> Bool { blocks.overlaps(other) }

    func concerns(_ slot: Slot) -> Bool {
        switch unsafe slot.pointee.type {
        // What a command of the device's own touches is not known.
        case .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector: return true
        case .write, .unmap, .writeZeroes, .zeroCopy, .writeUncorrectable, .compareAndWrite, .zoneAppend,
            .zoneManagement:
            return unsafe overlaps(Self.target(slot))
        case .copy:
            if unsafe overlaps(Self.target(slot)) { return true }
            let source = unsafe slot.pointee.extras.sourceBlock
            return unsafe holdsReads && overlaps(source..<source + slot.pointee.blockCount)
        case .read, .compare, .zoneInfo: return unsafe holdsReads && overlaps(Self.target(slot))
        // A seek looks at everything behind its first block.
        case .seekHole, .seekData: return unsafe holdsReads && slot.pointee.startBlock < blocks.upperBound
        // One of no blocks is of all.
        case .flush: return unsafe holdsReads && (slot.pointee.blockCount == 0 || overlaps(Self.target(slot)))
        case .reset, .nvmeAdmin, .abort, .nvmeSubsystemReset: return false
        }
    }

    private static func target(_ slot: Slot) -> Range<UInt64> {
        let start = unsafe slot.pointee.startBlock
        return unsafe start..<start + slot.pointee.blockCount
    }
}
