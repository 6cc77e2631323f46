import CLinux
import Synchronization

/// What other threads send to a reactor: many producers, one consumer, no lock, in order for each producer.
///
/// A bounded ring of sequence-numbered cells takes what arrives in the ordinary case without allocating. When it is
/// full, producers go to an unbounded stack instead and stay there until the consumer has emptied it, so that nobody's
/// later item overtakes an earlier one. Only atomics carry the hand-over, so a thread sanitizer sees every edge.
@safe final class RemoteQueue: @unchecked Sendable {
    private struct Cell: ~Copyable {
        let sequence: Atomic<UInt>
        var bits: UInt = 0
    }

    @safe private final class Overflow {
        let bits: UInt
        var next: UnsafeMutableRawPointer?
        init(bits: UInt) { self.bits = bits }
    }

    // SAFETY: cells are shared by the protocol of their sequence numbers.
    private let cells: UnsafeMutablePointer<Cell>
    private let mask: UInt
    private let tail = Atomic<UInt>(0)
    /// Next to read. Written by the consumer only.
    private let head = Atomic<UInt>(0)
    private let overflowCount = Atomic<Int>(0)
    private let overflowTop = Atomic<UInt>(0)

    /// - Parameter capacity: of the ring; a power of two.
    init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0, "a remote queue's capacity must be a power of two")
        // SAFETY: every cell is initialized here and destroyed in deinit.
        unsafe cells = .allocate(capacity: capacity)
        for index in 0..<capacity {
            unsafe (cells + index).initialize(to: Cell(sequence: Atomic(UInt(index))))
        }
        mask = UInt(capacity - 1)
    }

    deinit {
        precondition(isEmpty, "a reactor was destroyed with messages still queued")
        // SAFETY: all cells were initialized in init; nobody holds the queue any more.
        unsafe cells.deinitialize(count: Int(mask + 1))
        unsafe cells.deallocate()
    }

    /// From any thread.
    func push(_ arrival: Arrival) {
        if overflowCount.load(ordering: .acquiring) > 0 || !pushToRing(arrival.bits) { pushToOverflow(arrival.bits) }
    }

    private func pushToRing(_ bits: UInt) -> Bool {
        var position = tail.load(ordering: .relaxed)
        while true {
            // SAFETY: masked, so within the allocation; the cell lives as long as self.
            let cell = unsafe cells + Int(bitPattern: position & mask)
            let sequence = unsafe cell.pointee.sequence.load(ordering: .acquiring)
            if sequence == position {
                let (claimed, current) = tail.weakCompareExchange(
                    expected: position, desired: position &+ 1, ordering: .relaxed)
                if claimed {
                    // SAFETY: the claim makes this producer the only writer of the cell until it publishes the
                    // sequence.
                    unsafe cell.pointee.bits = bits
                    unsafe cell.pointee.sequence.store(position &+ 1, ordering: .releasing)
                    return true
                }
                position = current
            } else if Int(bitPattern: sequence &- position) < 0 {
                return false
            } else {
                position = tail.load(ordering: .relaxed)
            }
        }
    }

    private func pushToOverflow(_ bits: UInt) {
        // Counted before it is linked: a producer that sees zero may use the ring, and this one's next item must not.
        overflowCount.add(1, ordering: .acquiringAndReleasing)
        let node = Overflow(bits: bits)
        // SAFETY: the stack holds this reference until `takeOverflow` takes it back.
        let address = unsafe UInt(bitPattern: Unmanaged.passRetained(node).toOpaque())
        var top = overflowTop.load(ordering: .relaxed)
        while true {
            unsafe node.next = UnsafeMutableRawPointer(bitPattern: top)
            let (done, current) = overflowTop.weakCompareExchange(
                expected: top, desired: address, successOrdering: .releasing, failureOrdering: .relaxed)
            if done { return }
            top = current
        }
    }

    /// From the consumer's thread. What another thread is pushing at this moment may be missed.
    var isEmpty: Bool {
        let position = head.load(ordering: .relaxed)
        // SAFETY: masked, so within the allocation.
        let sequence = unsafe cells[Int(bitPattern: position & mask)].sequence.load(ordering: .acquiring)
        return sequence != position &+ 1 && overflowCount.load(ordering: .acquiring) == 0
    }

    /// The next arrival of the ring. From the consumer's thread.
    private func popFromRing() -> Arrival? {
        let position = head.load(ordering: .relaxed)
        // SAFETY: masked, so within the allocation.
        let cell = unsafe cells + Int(bitPattern: position & mask)
        if unsafe cell.pointee.sequence.load(ordering: .acquiring) != position &+ 1 { return nil }
        let bits = unsafe cell.pointee.bits
        unsafe cell.pointee.sequence.store(position &+ mask &+ 1, ordering: .releasing)
        head.store(position &+ 1, ordering: .relaxed)
        return Arrival(bits: bits)
    }

    /// Moves what has arrived into `ready`, from the ring at most `limit`. From the consumer's thread. Whether anything
    /// moved.
    func drain(into ready: inout JobRing, limit: Int) -> Bool {
        var moved = 0
        while moved < limit, let arrival = popFromRing() {
            ready.push(arrival)
            moved += 1
        }
        if overflowCount.load(ordering: .acquiring) > 0 {
            drainOverflow(into: &ready)
            return true
        }
        return moved > 0
    }

    private func drainOverflow(into ready: inout JobRing) {
        let top = overflowTop.exchange(0, ordering: .acquiringAndReleasing)
        // Everything a producer put in the ring before its first overflow item is claimed by now: wait until it is
        // published.
        let claimed = tail.load(ordering: .acquiring)
        while Int(bitPattern: claimed &- head.load(ordering: .relaxed)) > 0 {
            if let arrival = popFromRing() { ready.push(arrival) } else { clinux_spin_hint() }
        }
        var reversed: [UInt] = []
        var address = top
        // SAFETY: each node was retained once in `pushToOverflow` and is taken once here, by the only consumer.
        while let pointer = unsafe UnsafeRawPointer(bitPattern: address) {
            let node = unsafe Unmanaged<Overflow>.fromOpaque(pointer).takeRetainedValue()
            reversed.append(node.bits)
            address = unsafe UInt(bitPattern: node.next)
        }
        for bits in reversed.reversed() { ready.push(Arrival(bits: bits)) }
        overflowCount.subtract(reversed.count, ordering: .acquiringAndReleasing)
    }
}
