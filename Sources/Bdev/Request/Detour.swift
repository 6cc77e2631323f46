import Reactors

// SAFETY (below): parents and children are slots of this channel that are not complete: nobody else touches them,
// and their memory belongs to them.

/// What a request needs that cannot go to the module as it is: because it is too long, crosses a boundary, has too many
/// or misaligned segments, or asks for something the module does not do.
///
/// It is done by *children*: requests of the same channel that obey every limit, submitted in rounds. A round ends when
/// its segments are used up or its children are as many as may run at once; the next begins when all of them are
/// complete. The first child that fails decides how the parent ends, and no further ones are submitted.
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

extension ChannelCore {
    // MARK: Is one needed?

    /// Whether the module can surely be given the request as it is. One that is not simple may be plain all the same.
    @inline(__always)
    func isSimple(_ slot: Slot) -> Bool {
        let type = unsafe slot.pointee.type
        return unsafe (type == .read || type == .write) && slot.pointee.segmentCount == 1
            && slot.pointee.segments == nil && slot.pointee.blockCount <= shape.simpleLimit
            && isAligned(slot.pointee.memory)
    }

    /// Whether the module can be given the request as it is.
    @inline(never)
    func isPlain(_ slot: Slot) -> Bool {
        let (start, count) = unsafe (slot.pointee.startBlock, slot.pointee.blockCount)
        switch unsafe slot.pointee.type {
        case .read, .write:
            if unsafe transferLimit(slot.pointee.type, at: start, count) < count { return false }
            if unsafe !isWholeUnits(slot) { return false }
            return unsafe segmentsAreFit(slot)
        case .unmap: return shape.unmapLimit == 0 || count <= shape.unmapLimit
        case .writeZeroes:
            return shape.native.contains(.writeZeroes)
                && (shape.writeZeroesLimit == 0 || count <= shape.writeZeroesLimit)
        case .compare: return unsafe shape.native.contains(.compare) && segmentsAreFit(slot)
        case .copy: return shape.native.contains(.copy) && (shape.copyLimit == 0 || count <= shape.copyLimit)
        case .compareAndWrite: return unsafe segmentsAreFit(slot) && areFit(slot.pointee.extras.second)
        default: return true
        }
    }

    /// The most blocks one read or write at `start` may have, out of `count`.
    func transferLimit(_ type: IOType, at start: UInt64, _ count: UInt64) -> UInt64 {
        var limit = count
        if shape.transferLimit > 0 { limit = min(limit, shape.transferLimit) }
        let boundary = type == .write && shape.writeUnit > 0 ? shape.writeUnit : shape.boundary
        if boundary > 0 { limit = min(limit, boundary - start % boundary) }
        return limit
    }

    /// Whether what is written begins and ends where the device can, if it can do so at whole write units only.
    func isWholeUnits(_ slot: Slot) -> Bool {
        if shape.writeUnit == 0 { return true }
        switch unsafe slot.pointee.type {
        case .write: break
        case .writeZeroes, .copy: if unsafe shape.native.contains(slot.pointee.type) { return true }
        default: return true
        }
        return unsafe isWholeUnits(slot.pointee.startBlock, slot.pointee.blockCount)
    }

    func isWholeUnits(_ start: UInt64, _ count: UInt64) -> Bool {
        start % shape.writeUnit == 0 && count % shape.writeUnit == 0
    }

    private func segmentsAreFit(_ slot: Slot) -> Bool { unsafe areFit(Segments(of: slot)) }

    private func areFit(_ segments: Segments) -> Bool {
        if shape.segmentCountLimit > 0 && segments.count > shape.segmentCountLimit { return false }
        for index in 0..<segments.count {
            let memory = segments[index]
            if !isAligned(memory) { return false }
            if shape.segmentByteCountLimit > 0 && memory.byteCount > shape.segmentByteCountLimit { return false }
        }
        return true
    }

    /// A driver wants addresses that are multiples of the alignment, and so, where one segment ends and another begins,
    /// lengths too.
    @inline(__always)
    private func isAligned(_ memory: IOMemory) -> Bool {
        unsafe (UInt(bitPattern: memory.base) | UInt(bitPattern: memory.byteCount)) & shape.alignmentMask == 0
    }

    func hasMisalignedSegment(_ slot: Slot) -> Bool {
        for index in unsafe 0..<slot.pointee.segmentCount where unsafe !isAligned(Self.segment(slot, index)) {
            return true
        }
        return false
    }

    static func segment(_ slot: Slot, _ index: Int) -> IOMemory {
        if let segments = unsafe slot.pointee.segments { return unsafe segments[index] }
        return unsafe slot.pointee.memory
    }

    // MARK: The parent

    /// Starts a request by its parts, or goes on with one that waited for memory.
    @inline(never)
    func startDetour(_ slot: Slot) {
        unsafe slot.pointee.phase = .queued
        if unsafe slot.pointee.detour == nil {
            if unsafe !isWholeUnits(slot) { return unsafe end(slot, .failed) }
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
            // Nothing new goes to a device that is being reset.
            if gate.isFrozen {
                detour.status = .aborted
                break
            }
            if detour.outstanding == 0 { detour.usedSegments = 0 }
            // The blocks of a zone are written in their order, whatever the device makes of several at once.
            if shape.hasZones, detour.outstanding > 0, unsafe slot.pointee.type != .read { break }
            guard let child = unsafe makeChild(slot, detour) else { break }
            detour.outstanding += 1
            unsafe child.pointee.submitTick = clock.now()
            if unsafe slot.pointee.type == .copy, unsafe !isPlain(child) {
                unsafe startDetour(child)
            } else if unsafe isAdmitted(child) {
                unsafe dispatch(child, .parent)
            }
        }
        detour.isPumping = false
        if detour.outstanding > 0 { return }
        if detour.next < detour.end && detour.status.isSuccess {
            // Not even one child could be made: memory or requests have run out, and whoever gives some back is not of
            // this parent.
            unsafe pool.starvation.append(slot)
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
            if unsafe child.pointee.type == .read { unsafe deliver(child, slot, detour) }
        } else if detour.status.isSuccess {
            detour.status = status
        }
        if status.isSuccess, unsafe isHalfCopied(child, slot) { return unsafe writeCopy(child, detour) }
        unsafe child.pointee.buffer = nil
        unsafe child.pointee.parent = nil
        if unsafe child.pointee.hasExtras { unsafe clearExtras(child) }
        unsafe pool.giveBack(child)
        detour.outstanding -= 1
        if unsafe (detour.outstanding == 0 || slot.pointee.segmentCount == 0) { unsafe pump(slot) }
    }

    // MARK: Giving up

    /// Stops a detour: no further children, and those in flight are asked to come back.
    func abortDetour(_ slot: Slot) {
        let detour = unsafe slot.pointee.detour!
        if detour.status.isSuccess { detour.status = .aborted }
        if unsafe pool.starvation.remove(slot) { return unsafe pump(slot) }
        unsafe forEachChild(of: slot) { child in unsafe abort(child) }
    }
}
