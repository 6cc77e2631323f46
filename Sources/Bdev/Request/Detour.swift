import Reactors

/// What a request needs that cannot go to the module as it is: because it is too long, crosses a boundary, has too many or misaligned
/// segments, or asks for something the module does not do.
///
/// It is done by *children*: requests of the same channel that obey every limit, submitted in rounds. A round ends when its segments
/// are used up or its children are as many as may run at once; the next begins when all of them are complete. The first child that
/// fails decides how the parent ends, and no further ones are submitted.
///
/// Detours are kept by the pool and used again: a split request does not allocate.
@safe final class Detour {
    /// Segments that the children of one round may have together.
    static let segmentCapacity = 32
    /// Children of an unmap, write zeroes or copy at once.
    static let parallelLimit = 8
    /// The longest child that is copied through a buffer of the layer's own, in bytes.
    static let bounceLimit = 1 << 20

    /// The first block that no child has taken yet.
    var next: UInt64 = 0
    var end: UInt64 = 0
    /// Where in the parent's segments `next` lies.
    var segment = 0
    var segmentOffset = 0
    /// Entries of `segments` that children of this round use.
    var usedSegments = 0
    var outstanding = 0
    /// The first failure.
    var status = IOStatus.success
    /// The loop that submits children is on the stack: a child that completes at once must not start another.
    var isPumping = false
    // SAFETY: as long as the detour; a child's segments lie in it until the round is over.
    let segments: UnsafeMutablePointer<IOMemory>

    init() { unsafe segments = .allocate(capacity: Self.segmentCapacity) }

    deinit { unsafe segments.deallocate() }

    func begin(_ slot: Slot) {
        // SAFETY: the slot is its channel's, which starts the detour.
        unsafe (next, end) = (slot.pointee.startBlock, slot.pointee.startBlock + slot.pointee.blockCount)
        (segment, segmentOffset, usedSegments, outstanding) = (0, 0, 0, 0)
        status = .success
        isPumping = false
    }
}

/// Zeros to write from where a module cannot write zeroes itself.
final class ZeroRegion: Sendable {
    static let byteCount = 1 << 20
    private let region: MemoryRegion

    init() throws(ReactorError) { region = try MemoryRegion(byteCount: Self.byteCount) }

    func memory(byteCount: Int) -> IOMemory { region.memory(from: 0, count: byteCount) }
}

// SAFETY (all below): parents and children are slots of this channel that are not complete: nobody else touches them, and their memory
// belongs to them.
extension ChannelCore {
    // MARK: Is one needed?

    /// Whether the module can be given the request as it is.
    @inline(never)
    func isPlain(_ slot: Slot) -> Bool {
        let (start, count) = unsafe (slot.pointee.startBlock, slot.pointee.blockCount)
        switch unsafe slot.pointee.type {
        case .read, .write:
            if transferLimit(at: start, count) < count { return false }
            return unsafe segmentsAreFit(slot)
        case .unmap: return shape.unmapLimit == 0 || count <= shape.unmapLimit
        case .writeZeroes:
            return shape.native.contains(.writeZeroes)
                && (shape.writeZeroesLimit == 0 || count <= shape.writeZeroesLimit)
        case .flush, .reset, .abort: return true
        }
    }

    /// The most blocks one read or write at `start` may have, out of `count`.
    private func transferLimit(at start: UInt64, _ count: UInt64) -> UInt64 {
        var limit = count
        if shape.transferLimit > 0 { limit = min(limit, shape.transferLimit) }
        if shape.boundary > 0 { limit = min(limit, shape.boundary - start % shape.boundary) }
        return limit
    }

    private func segmentsAreFit(_ slot: Slot) -> Bool {
        let count = unsafe slot.pointee.segmentCount
        if shape.segmentCountLimit > 0 && count > shape.segmentCountLimit { return false }
        for index in 0..<count {
            let memory = unsafe Self.segment(slot, index)
            if !isAligned(memory) { return false }
            if shape.segmentByteCountLimit > 0 && memory.byteCount > shape.segmentByteCountLimit { return false }
        }
        return true
    }

    /// A driver wants addresses that are multiples of the alignment, and so, where one segment ends and another begins, lengths too.
    private func isAligned(_ memory: IOMemory) -> Bool {
        unsafe (UInt(bitPattern: memory.base) | UInt(bitPattern: memory.byteCount)) & shape.alignmentMask == 0
    }

    private func hasMisalignedSegment(_ slot: Slot) -> Bool {
        for index in unsafe 0..<slot.pointee.segmentCount where unsafe !isAligned(Self.segment(slot, index)) { return true }
        return false
    }

    private static func segment(_ slot: Slot, _ index: Int) -> IOMemory {
        if let segments = unsafe slot.pointee.segments { return unsafe segments[index] }
        return unsafe slot.pointee.memory
    }

    // MARK: The parent

    /// Starts a request by its parts, or goes on with one that waited for memory.
    @inline(never)
    func startDetour(_ slot: Slot) {
        unsafe slot.pointee.phase = .queued
        if unsafe slot.pointee.detour == nil {
            let detour = pool.takeDetour()
            unsafe detour.begin(slot)
            unsafe slot.pointee.detour = detour
        }
        unsafe pump(slot)
    }

    /// Submits children until the round is full, and ends the parent when there is nothing left to wait for.
    private func pump(_ slot: Slot) {
        let detour = unsafe slot.pointee.detour!
        if detour.isPumping { return }
        detour.isPumping = true
        while detour.next < detour.end && detour.status.isSuccess {
            if detour.outstanding == 0 { detour.usedSegments = 0 }
            guard let child = unsafe makeChild(slot, detour) else { break }
            detour.outstanding += 1
            unsafe child.pointee.submitTick = clock.now()
            unsafe dispatch(child)
        }
        detour.isPumping = false
        if detour.outstanding > 0 { return }
        if detour.next < detour.end && detour.status.isSuccess {
            // Not even one child could be made: memory or requests have run out, and whoever gives some back is not of this parent.
            unsafe pool.starved.append(slot)
            return
        }
        unsafe slot.pointee.status = detour.status
        unsafe slot.pointee.detour = nil
        pool.giveBack(detour)
        unsafe finishParent(slot)
    }

    /// A part is complete.
    @inline(never)
    func tellParent(_ child: Slot) {
        let slot = unsafe child.pointee.parent!
        let detour = unsafe slot.pointee.detour!
        let status = unsafe child.pointee.status
        if status.isSuccess {
            if unsafe child.pointee.type == .read { unsafe copyOut(child, slot) }
        } else if detour.status.isSuccess {
            detour.status = status
        }
        unsafe child.pointee.buffer = nil
        unsafe child.pointee.parent = nil
        unsafe pool.giveBack(child)
        detour.outstanding -= 1
        if unsafe (detour.outstanding == 0 || slot.pointee.segmentCount == 0) { unsafe pump(slot) }
    }

    // MARK: The children

    /// The next child, prepared; nil when this round has no room for another, or nothing to make one of.
    private func makeChild(_ slot: Slot, _ detour: Detour) -> Slot? {
        switch unsafe slot.pointee.type {
        case .read, .write: return unsafe makeTransfer(slot, detour)
        case .unmap: return unsafe makeRange(slot, detour, limit: shape.unmapLimit)
        case .writeZeroes:
            if shape.native.contains(.writeZeroes) {
                return unsafe makeRange(slot, detour, limit: shape.writeZeroesLimit)
            }
            return unsafe makeZeroWrite(slot, detour)
        case .flush, .reset, .abort: preconditionFailure("flush, reset and abort requests are never split")
        }
    }

    private func takeChild(_ slot: Slot, _ detour: Detour, _ type: IOType, _ count: UInt64) -> Slot? {
        guard let child = unsafe pool.take(self) else { return nil }
        unsafe child.pointee.type = type
        unsafe child.pointee.sink = .parent
        unsafe child.pointee.parent = slot
        unsafe child.pointee.channel = nil
        unsafe child.pointee.startBlock = detour.next
        unsafe child.pointee.blockCount = count
        unsafe child.pointee.segments = nil
        unsafe child.pointee.segmentCount = 0
        detour.next += count
        return unsafe child
    }

    private func makeRange(_ slot: Slot, _ detour: Detour, limit: UInt64) -> Slot? {
        if detour.outstanding == Detour.parallelLimit { return nil }
        let count = limit == 0 ? detour.end - detour.next : min(limit, detour.end - detour.next)
        return unsafe takeChild(slot, detour, slot.pointee.type, count)
    }

    private func makeZeroWrite(_ slot: Slot, _ detour: Detour) -> Slot? {
        if detour.outstanding == Detour.parallelLimit { return nil }
        var longest = UInt64(ZeroRegion.byteCount)
        if shape.segmentByteCountLimit > 0 { longest = min(longest, UInt64(shape.segmentByteCountLimit)) }
        let most = max(1, longest / shape.blockByteCount)
        let count = min(transferLimit(at: detour.next, detour.end - detour.next), most)
        guard let child = unsafe takeChild(slot, detour, .write, count) else { return nil }
        unsafe child.pointee.memory = pool.zeroes.memory(byteCount: Int(bytes(count)))
        unsafe child.pointee.segmentCount = 1
        return unsafe child
    }

    /// A child with a piece of the parent's memory, or a buffer in its place.
    private func makeTransfer(_ slot: Slot, _ detour: Detour) -> Slot? {
        let count = transferLimit(at: detour.next, detour.end - detour.next)
        if unsafe hasMisalignedSegment(slot) { return unsafe makeBounced(slot, detour, count) }
        let (byteCount, segmentCount) = unsafe gather(slot, detour, byteCount: Int(bytes(count)))
        if byteCount == 0 {
            // Not one whole block in the segments left of this round; in a fresh round: in those the device allows.
            return detour.usedSegments > 0 ? nil : unsafe makeBounced(slot, detour, count)
        }
        let first = detour.usedSegments
        guard let child = unsafe takeChild(slot, detour, slot.pointee.type, UInt64(byteCount) / shape.blockByteCount) else {
            return nil
        }
        unsafe child.pointee.memory = detour.segments[first]
        if segmentCount > 1 { unsafe child.pointee.segments = UnsafePointer(detour.segments + first) }
        unsafe child.pointee.segmentCount = segmentCount
        detour.usedSegments += segmentCount
        unsafe advance(slot, detour, byteCount)
        return unsafe child
    }

    /// Collects up to `byteCount` bytes of the parent's memory, from where the detour is, in the detour's free segments: whole blocks,
    /// within the device's limits. How many bytes in how many segments; the detour does not move.
    private func gather(_ slot: Slot, _ detour: Detour, byteCount: Int) -> (byteCount: Int, segmentCount: Int) {
        var room = Detour.segmentCapacity - detour.usedSegments
        if shape.segmentCountLimit > 0 { room = min(room, shape.segmentCountLimit) }
        let longest = shape.segmentByteCountLimit > 0 ? shape.segmentByteCountLimit : Int.max
        var (index, offset, taken, count) = (detour.segment, detour.segmentOffset, 0, 0)
        while count < room && taken < byteCount {
            let memory = unsafe Self.segment(slot, index)
            let length = min(memory.byteCount - offset, longest, byteCount - taken)
            unsafe (detour.segments + detour.usedSegments + count).initialize(to: memory.slice(from: offset, count: length))
            (taken, count, offset) = (taken + length, count + 1, offset + length)
            if offset == memory.byteCount { (index, offset) = (index + 1, 0) }
        }
        var surplus = taken % Int(shape.blockByteCount)
        while surplus > 0 {
            let last = unsafe detour.segments[detour.usedSegments + count - 1]
            let cut = min(surplus, last.byteCount)
            (taken, surplus) = (taken - cut, surplus - cut)
            if cut == last.byteCount {
                count -= 1
            } else {
                unsafe detour.segments[detour.usedSegments + count - 1] = last.slice(from: 0, count: last.byteCount - cut)
            }
        }
        return (taken, count)
    }

    private func advance(_ slot: Slot, _ detour: Detour, _ byteCount: Int) {
        var left = byteCount
        while left > 0 {
            let length = unsafe min(left, Self.segment(slot, detour.segment).byteCount - detour.segmentOffset)
            left -= length
            detour.segmentOffset += length
            if unsafe detour.segmentOffset == Self.segment(slot, detour.segment).byteCount {
                (detour.segment, detour.segmentOffset) = (detour.segment + 1, 0)
            }
        }
    }

    // MARK: Copies

    /// A child with a buffer of the layer's own: aligned, in one piece.
    private func makeBounced(_ slot: Slot, _ detour: Detour, _ limit: UInt64) -> Slot? {
        var longest = UInt64(Detour.bounceLimit)
        if shape.segmentByteCountLimit > 0 { longest = min(longest, UInt64(shape.segmentByteCountLimit)) }
        let count = min(limit, max(1, longest / shape.blockByteCount))
        let byteCount = Int(bytes(count))
        guard let buffer = loop.allocateBuffer(byteCount: byteCount) else { return nil }
        guard let child = unsafe takeChild(slot, detour, slot.pointee.type, count) else { return nil }
        unsafe child.pointee.memory = buffer.memory
        unsafe child.pointee.segmentCount = 1
        unsafe child.pointee.buffer = consume buffer
        if unsafe child.pointee.type == .write {
            let target = unsafe child.pointee.memory
            unsafe forEachPiece(slot, from: child.pointee.startBlock, byteCount) { piece, offset in
                target.slice(from: offset, count: piece.byteCount).copy(from: piece)
            }
        }
        unsafe advance(slot, detour, byteCount)
        return unsafe child
    }

    /// What a bounced read brought goes where it belongs.
    private func copyOut(_ child: Slot, _ slot: Slot) {
        guard let source = unsafe IOBuffer.memory(of: child.pointee.buffer) else { return }
        unsafe forEachPiece(slot, from: child.pointee.startBlock, source.byteCount) { piece, offset in
            piece.copy(from: source.slice(from: offset, count: piece.byteCount))
        }
    }

    /// Visits the parent's memory for `byteCount` bytes from block `start` on, with the offset of each piece from there.
    private func forEachPiece(_ slot: Slot, from start: UInt64, _ byteCount: Int, _ body: (IOMemory, Int) -> Void) {
        var skip = unsafe Int(bytes(start - slot.pointee.startBlock)), done = 0
        for index in unsafe 0..<slot.pointee.segmentCount {
            if done == byteCount { return }
            let memory = unsafe Self.segment(slot, index)
            if skip >= memory.byteCount {
                skip -= memory.byteCount
                continue
            }
            let length = min(memory.byteCount - skip, byteCount - done)
            body(memory.slice(from: skip, count: length), done)
            (skip, done) = (0, done + length)
        }
    }

    // MARK: Giving up

    /// Stops a detour: no further children, and those in flight are asked to come back.
    func abortDetour(_ slot: Slot) {
        let detour = unsafe slot.pointee.detour!
        if detour.status.isSuccess { detour.status = .aborted }
        if unsafe pool.starved.remove(slot) { return unsafe pump(slot) }
        unsafe forEachChild(of: slot) { child in unsafe abort(child) }
    }
}
