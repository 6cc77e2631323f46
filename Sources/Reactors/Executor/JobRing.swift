/// What waits to run on a reactor: a job or a message, in one word.
///
/// The two low bits, which an aligned pointer leaves free, say how it arrived. A hop is free only when a job is run
/// with the same pair of executors that the next piece of its code asks for, so the way a job came decides the call
/// that runs it.
struct Arrival {
    enum Kind: UInt {
        /// Through an actor of this reactor, or unparked.
        case serial = 0
        /// Through the task executor: the task prefers this reactor.
        case preference = 1
        /// A one-way message.
        case message = 2
        /// As `serial`: unparked, because what the task waited for has failed.
        case failure = 3
    }

    let bits: UInt

    init(bits: UInt) { self.bits = bits }

    init(_ job: UnownedJob, _ kind: Kind) {
        // SAFETY: a job is one pointer, aligned to 16 bytes: its low bits are zero.
        bits = unsafe unsafeBitCast(job, to: UInt.self) | kind.rawValue
    }

    init(_ message: consuming Message) {
        // SAFETY: the ring holds this reference until `Reactor.run(_:)` takes it back, exactly once.
        bits = unsafe UInt(bitPattern: Unmanaged.passRetained(message).toOpaque()) | Kind.message.rawValue
    }

    var kind: Kind { Kind(rawValue: bits & 3)! }

    var job: UnownedJob {
        assert(kind != .message)
        // SAFETY: the bits came from a job in `init(_:_:)`, with only the tag added.
        return unsafe unsafeBitCast(bits & ~3, to: UnownedJob.self)
    }

    /// Takes the reference that `init(_:)` stored.
    func takeMessage() -> Message {
        assert(kind == .message)
        // SAFETY: the bits came from `passRetained` in `init(_:)`; arrivals are taken out of a ring once.
        return unsafe Unmanaged<Message>.fromOpaque(UnsafeRawPointer(bitPattern: bits & ~3)!).takeRetainedValue()
    }
}

/// A closure on its way to a reactor.
final class Message: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// A queue of arrivals, used by the reactor's own thread only. Its capacity is chosen at the start and fits ordinary
/// work; a job cannot be refused, so a burst beyond it doubles the ring, once.
@safe struct JobRing: ~Copyable {
    private var slots: UnsafeMutablePointer<UInt>
    private var mask: UInt
    private var head: UInt = 0
    private var tail: UInt = 0

    /// - Parameter capacity: a power of two.
    init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0, "a job ring's capacity must be a power of two")
        // SAFETY: freed in deinit; every slot is initialized.
        unsafe slots = .allocate(capacity: capacity)
        unsafe slots.initialize(repeating: 0, count: capacity)
        mask = UInt(capacity - 1)
    }

    deinit {
        precondition(head == tail, "a reactor was destroyed with jobs still queued")
        // SAFETY: allocated in init, trivially destroyed.
        unsafe slots.deallocate()
    }

    var count: Int { Int(tail &- head) }
    var isEmpty: Bool { head == tail }

    mutating func push(_ arrival: Arrival) {
        if tail &- head > mask { grow() }
        // SAFETY: masked, so within the allocation.
        unsafe slots[Int(bitPattern: tail & mask)] = arrival.bits
        tail &+= 1
    }

    private mutating func grow() {
        let capacity = Int(mask + 1)
        // SAFETY: the old allocation holds `capacity` initialized words; both copies stay within the new one.
        let larger = UnsafeMutablePointer<UInt>.allocate(capacity: capacity * 2)
        unsafe larger.initialize(repeating: 0, count: capacity * 2)
        for index in 0..<capacity {
            unsafe larger[index] = slots[Int(bitPattern: (head &+ UInt(index)) & mask)]
        }
        unsafe slots.deallocate()
        unsafe slots = larger
        (head, tail, mask) = (0, UInt(capacity), UInt(capacity * 2 - 1))
    }

    mutating func pop() -> Arrival? {
        if head == tail { return nil }
        // SAFETY: masked, so within the allocation.
        let bits = unsafe slots[Int(bitPattern: head & mask)]
        head &+= 1
        return Arrival(bits: bits)
    }

    /// Moves the entry `offset` places behind the oldest to the front; the others keep their order. For the simulator's
    /// seeded order. A message stays behind the messages that came before it: the first of those goes to the front.
    // SAFETY: every index is masked, so within the allocation.
    mutating func bringForward(_ offset: Int) {
        precondition(offset >= 0 && offset < count, "no such entry in the job ring")
        var chosen = offset
        func slot(_ index: Int) -> Int { Int(bitPattern: (head &+ UInt(index)) & mask) }
        if unsafe Arrival(bits: slots[slot(offset)]).kind == .message {
            chosen = (0...offset).first { unsafe Arrival(bits: slots[slot($0)]).kind == .message } ?? offset
        }
        let bits = unsafe slots[slot(chosen)]
        for index in stride(from: chosen, to: 0, by: -1) { unsafe slots[slot(index)] = slots[slot(index - 1)] }
        unsafe slots[slot(0)] = bits
    }
}
