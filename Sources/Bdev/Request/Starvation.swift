import Reactors

// SAFETY (below): a slot in the queue is not complete, and its channel waits for it; only the reactor's thread touches
// it.

/// Requests that are done by their parts and wait for memory, or for requests to be those parts: in the order they
/// came, and for memory in turn with the tasks that wait for some. Nobody overtakes.
@safe final class Starvation {
    private let loop: ReactorLoop
    private var waiting = SlotQueue()
    /// Whose turn it is, and in which use of its slot.
    private var served: Slot?
    private var servedGeneration: UInt16 = 0
    private var servedInVain = false
    /// The least that could have helped the last one who got no memory, in bytes; 0: it was not for want of memory.
    private var missing = 0
    /// The place of all of them among those who wait for memory.
    private var place: BufferWaiter?
    /// What came to that place.
    private var granted: IOBuffer?
    private var timer: ReactorTimer?

    init(loop: ReactorLoop) {
        self.loop = loop
        unsafe served = nil
    }

    func contains(_ slot: Slot) -> Bool { unsafe waiting.contains(slot) }

    /// Takes out `slot`, if it waits.
    func remove(_ slot: Slot) -> Bool { unsafe waiting.remove(slot) }

    /// Has a request wait that could make none of its parts. It is tried again when memory comes, and every 100 µs: of
    /// a request that comes back nobody says so.
    func append(_ slot: Slot) {
        if unsafe isServed(slot) {
            servedInVain = true
            unsafe waiting.prepend(slot)
        } else {
            unsafe waiting.append(slot)
        }
        if missing > 0, place == nil {
            place = loop.awaitBuffer(byteCount: missing) { [weak self] in self?.retry(after: .zero) }
        }
        missing = 0
        if timer == nil { retry(after: .microseconds(100)) }
    }

    private func isServed(_ slot: Slot) -> Bool {
        unsafe slot == served && slot.pointee.generation == servedGeneration
    }

    private func retry(after delay: Duration) {
        timer?.cancel()
        timer = loop.schedule(after: delay) { [unowned self] in
            timer = nil
            serve()
        }
    }

    private func serve() {
        if let place, place.isServed {
            granted = loop.collect(place)
            self.place = nil
        }
        servedInVain = false
        while !servedInVain, let slot = unsafe waiting.popFirst() {
            unsafe (served, servedGeneration) = (slot, slot.pointee.generation)
            missing = 0
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.startDetour(slot) }
            unsafe served = nil
        }
        granted = nil
    }

    // MARK: Memory

    /// Whether nobody who waits is before this one.
    func isFirst(_ slot: Slot) -> Bool { unsafe waiting.isEmpty || isServed(slot) }

    /// What was put by for the one whose turn it is, if that is as long; otherwise it is noted that so much is missing.
    func takeGranted(_ byteCount: Int, for slot: Slot) -> IOBuffer? {
        if unsafe isServed(slot), IOBuffer.memory(of: granted)?.byteCount == byteCount { return granted.take() }
        missing = byteCount
        return nil
    }
}
