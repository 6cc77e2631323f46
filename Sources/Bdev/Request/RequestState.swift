public import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and a slot is in one queue at a time.

/// Everything the layer knows about one I/O. Lives in a slot of its reactor's `RequestPool`, touched by that reactor's
/// thread only.
@usableFromInline
@safe struct RequestState: ~Copyable {
    @usableFromInline
    enum Phase: UInt8 {
        /// In the pool.
        case free
        /// Taken, not yet with the module.
        case prepared
        /// Inside the module's `submit`.
        case submitting
        /// Completed inside the module's `submit`; whoever called it goes on.
        case completedInline
        /// The module has it.
        case inDevice
        /// Waiting in the layer: for the device, for memory, for its parts.
        case queued
        /// Complete; the status is final.
        case done
    }

    /// Who is told.
    @usableFromInline
    enum Sink: UInt8 {
        /// A task, suspended or not, that looks at the slot itself and frees it.
        case task
        /// An `IOHandler`.
        case handler
        /// An entry of a batch.
        case batch
        /// The request this one is a part of.
        case parent
        /// The request of the bdev above that was handed on.
        case upper
        /// As `upper`, but its module is told first.
        case observer
        /// A task of the layer itself, which frees the slot.
        case inside
    }

    // What.
    @usableFromInline var type = IOType.read
    @usableFromInline var phase = Phase.free
    @usableFromInline var sink = Sink.task
    /// The use of the slot in which the module was asked to give its request up; of another use otherwise.
    var abortedGeneration: UInt16 = .max
    /// The call that submitted it is on the stack, and looks for itself whether it is done.
    var isStarting = false
    /// A task of the layer sees it through: a reset, an emulated compare-and-write.
    var isCoordinated = false
    /// Counts the uses of this slot, so that a stale token is recognized.
    @usableFromInline var generation: UInt16 = 0
    @usableFromInline let index: UInt32
    /// The index with the reactor's number above it: what its tokens begin with.
    let tokenIndex: UInt32
    /// The module has a token for it instead of an `IORequest`.
    var isDetached = false
    @usableFromInline var startBlock: UInt64 = 0
    @usableFromInline var blockCount: UInt64 = 0
    /// The memory of an I/O with one segment.
    @usableFromInline var memory: IOMemory
    /// The memory of an I/O with several; `memory` is unused then.
    @usableFromInline var segments: UnsafePointer<IOMemory>?
    /// 0 for an I/O without data.
    @usableFromInline var segmentCount = 0
    // SAFETY: a channel outlives its requests: closing it waits for them.
    var core: Unmanaged<ChannelCore>

    // Who.
    // SAFETY: the channel keeps its handlers alive until it is closed, which waits for their requests.
    var handler: Unmanaged<IOHandler>?
    // SAFETY: closing a channel waits for its requests. Nil for a part of another request.
    var channel: Unmanaged<EngineChannel>?
    var batch: UnsafeMutablePointer<BatchControl>?
    /// The handler's own number, or the entry's index in its batch.
    var tag: UInt64 = 0
    /// The data of a request that owns it.
    var buffer: IOBuffer?
    let spot: ParkingSpot

    // How it went.
    var status = IOStatus(.pending)
    var submitTick: UInt64 = 0

    /// The next in whatever queue it is in.
    var queueNext: UnsafeMutablePointer<RequestState>?

    /// What only requests that are split, bounced or emulated need.
    var detour: Detour?
    /// The request this one is a part of, or does for the bdev above.
    var parent: UnsafeMutablePointer<RequestState>?

    /// Whether `extras` holds anything. False in a free slot.
    var hasExtras = false
    var extras = RequestExtras()

    init(index: UInt32, tokenIndex: UInt32, core: ChannelCore, spot: ParkingSpot, memory: IOMemory) {
        self.index = index
        self.tokenIndex = tokenIndex
        unsafe self.core = Unmanaged.passUnretained(core)
        self.spot = spot
        self.memory = memory
        unsafe segments = nil
        unsafe handler = nil
        unsafe channel = nil
        unsafe batch = nil
        unsafe parent = nil
        unsafe queueNext = nil
    }
}

/// A slot of the request pool. The layer's own way to a request; modules and users hold `IORequest`.
@usableFromInline
typealias Slot = UnsafeMutablePointer<RequestState>

/// First in, first out, linked through `queueNext`.
@safe struct SlotQueue {
    private(set) var head: Slot?
    private var tail: Slot?

    init() {
        unsafe head = nil
        unsafe tail = nil
    }

    @inline(__always)
    var isEmpty: Bool { unsafe head == nil }

    @inline(__always)
    mutating func append(_ slot: Slot) {
        unsafe slot.pointee.queueNext = nil
        if let last = unsafe tail { unsafe last.pointee.queueNext = slot } else { unsafe head = slot }
        unsafe tail = slot
    }

    mutating func prepend(_ slot: Slot) {
        unsafe slot.pointee.queueNext = head
        if unsafe head == nil { unsafe tail = slot }
        unsafe head = slot
    }

    @inline(__always)
    mutating func popFirst() -> Slot? {
        guard let first = unsafe head else { return nil }
        unsafe head = first.pointee.queueNext
        if unsafe head == nil { unsafe tail = nil }
        return unsafe first
    }

    func contains(_ slot: Slot) -> Bool {
        var next = unsafe head
        while let here = unsafe next {
            if unsafe here == slot { return true }
            unsafe next = here.pointee.queueNext
        }
        return false
    }

    /// Takes out `slot`, if it is in the queue.
    mutating func remove(_ slot: Slot) -> Bool {
        var kept = SlotQueue(), found = false
        while let first = unsafe popFirst() {
            if unsafe first == slot { found = true } else { unsafe kept.append(first) }
        }
        self = kept
        return found
    }
}
