import Reactors

// SAFETY (below): parents and children are slots of this channel that are not complete: nobody else touches them, and
// their memory belongs to them.

/// The parts of a request that the module cannot be given as it is.
extension ChannelCore {
    // MARK: The children

    /// The next child, prepared; nil when this round has no room for another, or nothing to make one of.
    func makeChild(_ slot: Slot, _ detour: Detour) -> Slot? {
        switch unsafe slot.pointee.type {
        case .read, .write: return unsafe makeTransfer(slot, detour)
        case .unmap: return unsafe makeRange(slot, detour, limit: shape.unmapLimit)
        case .writeZeroes:
            if shape.native.contains(.writeZeroes) {
                return unsafe makeRange(slot, detour, limit: shape.writeZeroesLimit)
            }
            return unsafe makeZeroWrite(slot, detour)
        case .compare:
            if detour.outstanding == Detour.parallelLimit { return nil }
            let count = transferLimit(.read, at: detour.next, detour.end - detour.next)
            return unsafe makeBounced(slot, detour, count, as: .read)
        case .copy:
            if shape.native.contains(.copy) { return unsafe makeCopyRange(slot, detour) }
            return unsafe makeCopyRead(slot, detour)
        default: preconditionFailure("a \(unsafe slot.pointee.type) request is never split")
        }
    }

    private func takeChild(_ slot: Slot, _ detour: Detour, _ type: IOType, _ count: UInt64) -> Slot? {
        if type == .write && shape.writeUnit > 0 && !isWholeUnits(detour.next, count) {
            // Another limit of the device is in the way of a whole unit, and no part of one can be written.
            detour.status = .failed
            return nil
        }
        guard let child = unsafe pool.take(self, forLayer: true) else { return nil }
        unsafe child.pointee.type = type
        unsafe child.pointee.sink = .parent
        unsafe child.pointee.parent = slot
        unsafe child.pointee.channel = nil
        unsafe child.pointee.startBlock = detour.next
        unsafe child.pointee.blockCount = count
        unsafe child.pointee.segments = nil
        unsafe child.pointee.segmentCount = 0
        if unsafe slot.pointee.hasExtras { unsafe inheritExtras(child, slot, detour, count) }
        detour.next += count
        return unsafe child
    }

    /// A part asks for what the whole asks for, and has its part of the metadata.
    @inline(never)
    private func inheritExtras(_ child: Slot, _ slot: Slot, _ detour: Detour, _ count: UInt64) {
        unsafe child.pointee.hasExtras = true
        unsafe child.pointee.extras.options = slot.pointee.extras.options
        guard unsafe slot.pointee.extras.metadata.count > 0 else { return }
        let size = shape.metadataByteCount
        let offset = unsafe Int(detour.next - slot.pointee.startBlock) * size
        unsafe child.pointee.extras.metadata = Segments(
            slot.pointee.extras.metadata[0].slice(from: offset, count: Int(count) * size))
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
        let count = min(transferLimit(.write, at: detour.next, detour.end - detour.next), most)
        guard let child = unsafe takeChild(slot, detour, .write, count) else { return nil }
        unsafe child.pointee.memory = pool.zeroes.memory(byteCount: Int(bytes(count)))
        if shape.hasSeparateMetadata {
            unsafe child.pointee.extras.metadata = Segments(
                pool.zeroes.memory(byteCount: Int(count) * shape.metadataByteCount))
            unsafe child.pointee.hasExtras = true
        }
        unsafe child.pointee.segmentCount = 1
        return unsafe child
    }

    /// A child with a piece of the parent's memory, or a buffer in its place.
    private func makeTransfer(_ slot: Slot, _ detour: Detour) -> Slot? {
        let count = unsafe transferLimit(slot.pointee.type, at: detour.next, detour.end - detour.next)
        if unsafe hasMisalignedSegment(slot) { return unsafe makeBounced(slot, detour, count) }
        let (byteCount, segmentCount) = unsafe gather(slot, detour, byteCount: Int(bytes(count)))
        let isPart = unsafe slot.pointee.type == .write && shape.writeUnit > 0 && byteCount < Int(bytes(count))
        if byteCount == 0 || isPart {
            // Not one whole block, or write unit, in the segments left of this round; in a fresh round: in those the
            // device allows.
            return detour.usedSegments > 0 ? nil : unsafe makeBounced(slot, detour, count)
        }
        let first = detour.usedSegments
        // A cut may lie where the device cannot begin: the limit or the block is no multiple of the alignment.
        for index in first..<first + segmentCount where unsafe !detour.segments[index].isAligned(to: shape.alignment) {
            return unsafe makeBounced(slot, detour, count)
        }
        guard let child = unsafe takeChild(slot, detour, slot.pointee.type, UInt64(byteCount) / shape.blockByteCount)
        else {
            return nil
        }
        unsafe child.pointee.memory = detour.segments[first]
        if segmentCount > 1 { unsafe child.pointee.segments = UnsafePointer(detour.segments + first) }
        unsafe child.pointee.segmentCount = segmentCount
        detour.usedSegments += segmentCount
        unsafe advance(slot, detour, byteCount)
        return unsafe child
    }

    /// Collects up to `byteCount` bytes of the parent's memory, from where the detour is, in the detour's free
    /// segments: whole blocks, within the device's limits. How many bytes in how many segments; the detour does not
    /// move.
    private func gather(_ slot: Slot, _ detour: Detour, byteCount: Int) -> (byteCount: Int, segmentCount: Int) {
        var room = Detour.segmentCapacity - detour.usedSegments
        if shape.segmentCountLimit > 0 { room = min(room, shape.segmentCountLimit) }
        let longest = shape.segmentByteCountLimit > 0 ? shape.segmentByteCountLimit : Int.max
        var (index, offset, taken, count) = (detour.segment, detour.segmentOffset, 0, 0)
        while count < room && taken < byteCount {
            let memory = unsafe Self.segment(slot, index)
            let length = min(memory.byteCount - offset, longest, byteCount - taken)
            unsafe (detour.segments + detour.usedSegments + count).initialize(
                to: memory.slice(from: offset, count: length))
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
                unsafe detour.segments[detour.usedSegments + count - 1] = last.slice(
                    from: 0, count: last.byteCount - cut)
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
    private func makeBounced(_ slot: Slot, _ detour: Detour, _ limit: UInt64, as type: IOType? = nil) -> Slot? {
        var longest = UInt64(Detour.bounceLimit)
        let isCutAgain = unsafe slot.pointee.type == .copy
        if shape.segmentByteCountLimit > 0 && !isCutAgain {
            longest = min(longest, UInt64(shape.segmentByteCountLimit))
        }
        var count = min(limit, max(1, longest / shape.blockByteCount))
        guard let buffer = unsafe takeBuffer(slot, &count) else { return nil }
        let byteCount = Int(bytes(count))
        guard let child = unsafe takeChild(slot, detour, type ?? slot.pointee.type, count) else { return nil }
        unsafe child.pointee.memory = buffer.memory
        unsafe child.pointee.segmentCount = 1
        unsafe child.pointee.buffer = consume buffer
        if unsafe child.pointee.type == .write {
            let target = unsafe child.pointee.memory
            unsafe forEachPiece(slot, from: child.pointee.startBlock, byteCount) { piece, offset in
                target.slice(from: offset, count: piece.byteCount).copy(from: piece)
            }
        }
        if unsafe slot.pointee.segmentCount > 0 { unsafe advance(slot, detour, byteCount) }
        return unsafe child
    }

    /// A buffer for `count` blocks, or when memory is short for fewer.
    private func takeBuffer(_ slot: Slot, _ count: inout UInt64) -> IOBuffer? {
        if unsafe !pool.starvation.isFirst(slot) { return nil }
        let least = max(1, shape.writeUnit)
        // As much as the smallest buffer has that helps.
        let capacity = UInt64(loop.bufferCapacity(byteCount: Int(bytes(least)))) / shape.blockByteCount
        let fewest = min(count, max(least, capacity / least * least))
        while true {
            if let buffer = loop.allocateBuffer(byteCount: Int(bytes(count))) { return buffer }
            if count == fewest { return unsafe pool.starvation.takeGranted(Int(bytes(count)), for: slot) }
            count = max(fewest, count / 2 / least * least)
        }
    }

    // MARK: Copies of blocks

    private func makeCopyRange(_ slot: Slot, _ detour: Detour) -> Slot? {
        let first = detour.next
        guard let child = unsafe makeRange(slot, detour, limit: shape.copyLimit) else { return nil }
        unsafe child.pointee.extras.sourceBlock = slot.pointee.extras.sourceBlock + (first - slot.pointee.startBlock)
        unsafe child.pointee.hasExtras = true
        return unsafe child
    }

    /// Reads a piece of what is to be copied. When it has come, the child writes it where it belongs. Reading and
    /// writing have limits of their own, at places of their own: each half is cut again where it has to be.
    private func makeCopyRead(_ slot: Slot, _ detour: Detour) -> Slot? {
        if detour.outstanding == Detour.parallelLimit { return nil }
        let target = detour.next
        let source = unsafe slot.pointee.extras.sourceBlock + (target - slot.pointee.startBlock)
        var count = min(detour.end - target, max(1, UInt64(Detour.bounceLimit) / shape.blockByteCount))
        if shape.copyLimit > 0 { count = min(count, shape.copyLimit) }
        if shape.writeUnit > 0 && count > shape.writeUnit { count -= count % shape.writeUnit }
        guard let child = unsafe makeBounced(slot, detour, count, as: .read) else { return nil }
        unsafe child.pointee.startBlock = source
        unsafe child.pointee.tag = target
        return unsafe child
    }

    /// Whether a child has read what it is to write.
    func isHalfCopied(_ child: Slot, _ slot: Slot) -> Bool {
        unsafe slot.pointee.type == .copy && child.pointee.type == .read
    }

    /// The second half of a copy. After a failure or an abort, and during a reset, it is left out.
    func writeCopy(_ child: Slot, _ detour: Detour) {
        if gate.isFrozen && detour.status.isSuccess { detour.status = .aborted }
        unsafe child.pointee.type = .write
        unsafe child.pointee.startBlock = child.pointee.tag
        unsafe child.pointee.submitTick = clock.now()
        if detour.status.isSuccess {
            if unsafe !isPlain(child) { return unsafe startDetour(child) }
            return unsafe isAdmitted(child) ? submitAgain(child) : ()
        }
        unsafe child.pointee.status = detour.status
        unsafe tellParent(child)
    }

    // MARK: What reads bring

    /// What a read brought goes where it belongs, or is compared with what it should be.
    func deliver(_ child: Slot, _ slot: Slot, _ detour: Detour) {
        switch unsafe slot.pointee.type {
        case .read: unsafe copyOut(child, slot)
        case .compare:
            if unsafe !isEqual(child, slot), detour.status.isSuccess { detour.status = IOStatus(.miscompare) }
        default: break
        }
    }

    private func isEqual(_ child: Slot, _ slot: Slot) -> Bool {
        guard let found = unsafe IOBuffer.memory(of: child.pointee.buffer) else { return true }
        var isEqual = true
        unsafe forEachPiece(slot, from: child.pointee.startBlock, found.byteCount) { piece, offset in
            if !piece.contentEquals(found.slice(from: offset, count: piece.byteCount)) { isEqual = false }
        }
        return isEqual
    }

    /// What a bounced read brought goes where it belongs.
    private func copyOut(_ child: Slot, _ slot: Slot) {
        guard let source = unsafe IOBuffer.memory(of: child.pointee.buffer) else { return }
        unsafe forEachPiece(slot, from: child.pointee.startBlock, source.byteCount) { piece, offset in
            piece.copy(from: source.slice(from: offset, count: piece.byteCount))
        }
    }

    /// Visits the parent's memory for `byteCount` bytes from block `start` on, with the offset of each piece from
    /// there.
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
}
