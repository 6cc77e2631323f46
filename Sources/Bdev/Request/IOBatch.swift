public import Reactors

// SAFETY (below): both allocations live as long as the batch, and a batch cannot go away while `perform`
// borrows it.

/// Many I/Os that are submitted together and awaited once.
///
/// It owns the buffers while they are in it. Fill it, hand it to ``BdevChannel/perform(_:)``, look at each entry's
/// status, and use it again: performing a batch does not allocate.
@safe public struct IOBatch: ~Copyable {
    @safe struct Entry: ~Copyable {
        var type = IOType.read
        var offset = BdevOffset.block(0)
        var length = BdevLength.blocks(0)
        var buffer: IOBuffer?
        var status = IOStatus(.pending)
    }

    private let entries: UnsafeMutablePointer<Entry>
    let control: UnsafeMutablePointer<BatchControl>
    /// The most I/Os it holds.
    public let capacity: Int
    /// I/Os in it now.
    public private(set) var count = 0

    /// - Parameter capacity: the most I/Os it will hold, at least 1.
    public init(capacity: Int) {
        precondition(capacity > 0, "a batch has room for at least one I/O")
        self.capacity = capacity
        unsafe entries = .allocate(capacity: capacity)
        for index in 0..<capacity { unsafe (entries + index).initialize(to: Entry()) }
        unsafe control = .allocate(capacity: 1)
        unsafe control.initialize(to: BatchControl(entries: entries))
    }

    deinit {
        unsafe entries.deinitialize(count: capacity)
        unsafe entries.deallocate()
        unsafe control.deinitialize(count: 1)
        unsafe control.deallocate()
    }

    /// Adds a read into all of `buffer` from `offset`. Traps when the batch is full.
    public mutating func read(into buffer: consuming IOBuffer, at offset: BdevOffset) {
        add(.read, buffer, offset, .blocks(0))
    }

    /// Adds a write of all of `buffer` at `offset`. Traps when the batch is full.
    public mutating func write(from buffer: consuming IOBuffer, at offset: BdevOffset) {
        add(.write, buffer, offset, .blocks(0))
    }

    /// Adds an I/O that is a range of blocks and no more: unmap, write zeroes, flush, reset, write uncorrectable. Traps
    /// for other kinds, and when the batch is full.
    public mutating func add(_ type: IOType, at offset: BdevOffset, count: BdevLength) {
        precondition(type.isRangeOnly, "a \(type) I/O is more than a range of blocks: it cannot be in a batch")
        add(type, nil, offset, count)
    }

    private mutating func add(_ type: IOType, _ buffer: consuming IOBuffer?, _ offset: BdevOffset, _ length: BdevLength)
    {
        precondition(count < capacity, "a batch of \(capacity) is full")
        unsafe entries[count].type = type
        unsafe entries[count].offset = offset
        unsafe entries[count].length = length
        unsafe entries[count].buffer = consume buffer
        unsafe entries[count].status = IOStatus(.pending)
        count += 1
    }

    /// How the I/O at `index` ended; pending before the batch was performed.
    public func status(_ index: Int) -> IOStatus {
        check(index)
        return unsafe entries[index].status
    }

    /// Moves the I/O at `index` to another place, for the next time the batch is performed.
    public mutating func setOffset(_ index: Int, _ offset: BdevOffset) {
        check(index)
        unsafe entries[index].offset = offset
    }

    /// Takes the buffer of the I/O at `index` out; nil when it had none or it is out already.
    public mutating func takeBuffer(_ index: Int) -> IOBuffer? {
        check(index)
        return unsafe entries[index].buffer.take()
    }

    /// Lends the buffer of the I/O at `index`. Traps when it has none.
    public mutating func withBuffer<Result, Failure: Error>(
        _ index: Int, _ body: (inout IOBuffer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        check(index)
        precondition(unsafe entries[index].buffer != nil, "the I/O at this index of the batch has no buffer")
        return try unsafe body(&entries[index].buffer!)
    }

    /// Empties it; buffers still in it go back to their pools.
    public mutating func removeAll() {
        for index in 0..<count { unsafe entries[index].buffer = nil }
        count = 0
    }

    private func check(_ index: Int) { precondition(index >= 0 && index < count, "a batch has no such entry") }

    // MARK: Performing

    /// Submits the entries from `first` on for as long as requests are to be had. An entry that a check refuses gets
    /// its status at once.
    ///
    /// - Returns: the first entry that was not submitted, and the first refusal by a check.
    @inline(__always)
    mutating func submit(from first: Int, to channel: EngineChannel) -> (next: Int, refusal: BdevError?) {
        var refusal: BdevError?
        let core = channel.core
        for index in first..<count {
            do {
                let slot = unsafe try slot(index, channel)
                unsafe slot.pointee.batch = control
                unsafe slot.pointee.tag = UInt64(truncatingIfNeeded: index)
                if unsafe slot.pointee.segmentCount > 0 {
                    unsafe core.start(slot, .batch)
                } else {
                    unsafe core.startOther(slot, .batch)
                }
            } catch {
                if error.code == .noMemory, core.pool.isExhausted { return (index, refusal) }
                unsafe entries[index].status = .failed
                unsafe control.pointee.remaining -= 1
                if refusal == nil { refusal = error }
            }
        }
        return (count, refusal)
    }

    /// The entries from `first` on will not be submitted.
    func giveUp(from first: Int) {
        for index in first..<count { unsafe entries[index].status = .aborted }
        unsafe control.pointee.remaining -= count - first
    }

    @inline(__always)
    private func slot(_ index: Int, _ channel: EngineChannel) throws(BdevError) -> Slot {
        let entry = unsafe entries + index
        guard let memory = unsafe IOBuffer.memory(of: entry.pointee.buffer) else {
            return unsafe try channel.prepare(entry.pointee.type, entry.pointee.offset, entry.pointee.length)
        }
        return unsafe try channel.prepare(entry.pointee.type, memory, entry.pointee.offset)
    }

    /// The status of the first entry that failed on the device.
    func firstFailure() -> (index: Int, status: IOStatus)? {
        for index in 0..<count where unsafe !entries[index].status.isSuccess {
            return (index, unsafe entries[index].status)
        }
        return nil
    }
}

/// What the requests of a batch share while it is performed.
@usableFromInline
@safe struct BatchControl {
    var remaining = 0
    /// Where the task waits, once it does.
    var spot: ParkingSpot?
    let entries: UnsafeMutablePointer<IOBatch.Entry>

    init(entries: UnsafeMutablePointer<IOBatch.Entry>) { unsafe self.entries = entries }
}

extension ChannelCore {
    @inline(__always)
    func tellBatch(_ slot: Slot) {
        // SAFETY: the batch is borrowed by `perform` until `remaining` is 0.
        let control = unsafe slot.pointee.batch!
        let channel = unsafe slot.pointee.channel!
        unsafe control.pointee.entries[Int(truncatingIfNeeded: slot.pointee.tag)].status = slot.pointee.status
        if unsafe slot.pointee.hasExtras { unsafe clearExtras(slot) }
        unsafe pool.giveBack(slot)
        unsafe control.pointee.remaining &-= 1
        if unsafe control.pointee.remaining == 0, let spot = unsafe control.pointee.spot { loop.unpark(spot) }
        unsafe channel._withUnsafeGuaranteedRef { $0.leave() }
    }
}
