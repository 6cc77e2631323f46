public import Reactors

// SAFETY (below): a slot is this channel's from `prepare` until it is given back; the channel outlives
// it, because closing waits for `inFlight` to become 0.

/// The synchronous face of a channel: submit now, be told later.
///
/// For code that lives on the reactor and does not want a task for each I/O: modules stacked on modules, exports,
/// benchmarks. Not Sendable: it is got from a ``BdevChannel`` on its reactor and cannot leave it. Every submit checks
/// permission, support, range and alignment before anything is queued; a check that fails throws, and nothing is ever
/// told about it.
@safe public final class EngineChannel {
    let core: ChannelCore
    /// Whether the descriptor may write. It can become so: a claim sees to it.
    public private(set) var isWritable: Bool
    private(set) var inFlight = 0
    /// Everyone who ever submitted here, until the channel is closed.
    private var handlers: [IOHandler] = []
    private var handlerLimit = 64
    private var isForgetting = false
    private(set) var isClosed = false
    /// What is submitted here is what requests of a bdev above wait for.
    var isOfModule = false
    var timeoutScan: TimeoutScan?
    /// What the descriptor may do; nothing once the channel is closed.
    private var permitted: IOTypes
    private var drained: ParkingSpot?

    init(core: ChannelCore, isWritable: Bool) {
        self.core = core
        self.isWritable = isWritable
        permitted = IOTypes(IOType.allCases.filter { isWritable || !$0.needsWritableDescriptor }.map(IOTypes.init))
    }

    /// The descriptor has become writable.
    func permitWrites() {
        if isWritable || isClosed { return }
        isWritable = true
        permitted = IOTypes(IOType.allCases.map(IOTypes.init))
    }

    deinit { dismissHandlers() }

    /// The bdev's name.
    public var name: String { core.bdev.name }
    /// Bytes in a block.
    public var blockByteCount: Int { Int(core.shape.blockByteCount) }
    /// Blocks on the bdev now.
    public var blockCount: UInt64 { core.blockCount }

    // MARK: Submitting

    /// Reads into all of `buffer` from `offset`. On success the request has taken the buffer, and the handler's
    /// completion gives it back; after an error it is where it was.
    ///
    /// - Throws: `readOnly`, `notSupported`, `misaligned`, `outOfRange`, `closed`, or `noMemory` when 65,536 requests
    ///   are outstanding on this reactor.
    public func read(
        into buffer: inout IOBuffer?, at offset: BdevOffset, tag: UInt64 = 0, handler: IOHandler
    ) throws(BdevError) {
        try submit(.read, &buffer, offset, tag, handler)
    }

    /// Writes all of `buffer` at `offset`. The buffer goes and comes as with ``read(into:at:tag:handler:)``, and so do
    /// the errors.
    public func write(
        from buffer: inout IOBuffer?, at offset: BdevOffset, tag: UInt64 = 0, handler: IOHandler
    ) throws(BdevError) {
        try submit(.write, &buffer, offset, tag, handler)
    }

    @inline(__always)
    private func submit(
        _ type: IOType, _ buffer: inout IOBuffer?, _ offset: BdevOffset, _ tag: UInt64, _ handler: IOHandler
    ) throws(BdevError) {
        guard let memory = IOBuffer.memory(of: buffer) else { preconditionFailure("a read or write needs a buffer") }
        let slot = unsafe try prepare(type, memory, offset)
        // A slot out of the pool holds no buffer: nothing to destroy first.
        unsafe withUnsafeMutablePointer(to: &slot.pointee.buffer) { unsafe $0.initialize(to: buffer.take()) }
        unsafe assign(slot, tag, handler)
        unsafe core.start(slot, .handler)
    }

    /// An I/O that is a range of blocks and no more: unmap, write zeroes, flush, reset, write uncorrectable. Traps for
    /// other kinds.
    ///
    /// - Throws: as for ``read(into:at:tag:handler:)``.
    public func submit(
        _ type: IOType, at offset: BdevOffset, count: BdevLength, tag: UInt64 = 0, handler: IOHandler
    ) throws(BdevError) {
        precondition(type.isRangeOnly, "a \(type) I/O is more than a range of blocks: use its own call")
        let slot = unsafe try prepare(type, offset, count)
        unsafe assign(slot, tag, handler)
        unsafe core.startOther(slot, .handler)
    }

    @inline(__always)
    private func assign(_ slot: Slot, _ tag: UInt64, _ handler: IOHandler) {
        unsafe slot.pointee.handler = Unmanaged.passUnretained(handler)
        unsafe slot.pointee.tag = tag
        if handler.keeper != ObjectIdentifier(self) { keep(handler) }
    }

    /// The requests of a handler refer to it without counting.
    @inline(never)
    private func keep(_ handler: IOHandler) {
        handler.keeper = ObjectIdentifier(self)
        if handlers.contains(where: { $0 === handler }) { return }
        handlers.append(handler)
        if handlers.count >= handlerLimit, !isForgetting {
            isForgetting = true
            // Between turns: a handler that submits here from its own completion must not go while it runs.
            _ = core.loop.schedule(after: .zero) { [weak self] in self?.forgetIdleHandlers() }
        }
    }

    private func dismissHandlers() {
        // Another channel may come to lie where this one was.
        for handler in handlers where handler.keeper == ObjectIdentifier(self) { handler.keeper = nil }
        handlers = []
    }

    /// Lets go of the handlers that have nothing outstanding, so that a handler for each I/O does not fill the memory.
    private func forgetIdleHandlers() {
        isForgetting = false
        var busy: Set<UInt> = []
        unsafe core.pool.forEachSlot { slot in
            guard unsafe slot.pointee.phase != .free, unsafe slot.pointee.sink == .handler,
                let handler = unsafe slot.pointee.handler
            else { return }
            unsafe busy.insert(UInt(bitPattern: handler.toOpaque()))
        }
        func isIdle(_ handler: IOHandler) -> Bool { !busy.contains(UInt(bitPattern: ObjectIdentifier(handler))) }
        for handler in handlers where isIdle(handler) { handler.keeper = nil }
        handlers.removeAll(where: isIdle)
        handlerLimit = max(64, handlers.count * 2)
    }

    // MARK: Checks

    /// A slot for a read or write of all of `memory`, checked.
    @inline(__always)
    func prepare(_ type: IOType, _ memory: IOMemory, _ offset: BdevOffset) throws(BdevError) -> Slot {
        guard let count = core.shape.blocks(bytes: UInt64(memory.byteCount)), count > 0 else {
            throw refuseLength(type, UInt64(memory.byteCount))
        }
        let slot = unsafe try prepare(type, offset, count)
        unsafe slot.pointee.memory = memory
        unsafe slot.pointee.segments = nil
        unsafe slot.pointee.segmentCount = 1
        return unsafe slot
    }

    /// A slot for a read or write of several segments, `byteCount` bytes in all, checked.
    func prepare(
        _ type: IOType, _ segments: UnsafePointer<IOMemory>, _ segmentCount: Int, byteCount: Int, _ offset: BdevOffset
    ) throws(BdevError) -> Slot {
        guard let count = core.shape.blocks(bytes: UInt64(byteCount)), count > 0 else {
            throw refuseLength(type, UInt64(byteCount))
        }
        let slot = unsafe try prepare(type, offset, count)
        unsafe slot.pointee.segments = segments
        unsafe slot.pointee.segmentCount = segmentCount
        return unsafe slot
    }

    /// A slot for an I/O without data, checked.
    func prepare(_ type: IOType, _ offset: BdevOffset, _ length: BdevLength) throws(BdevError) -> Slot {
        var count = length.value
        if length.isBytes {
            guard let blocks = core.shape.blocks(bytes: length.value) else { throw refuseLength(type, length.value) }
            count = blocks
        }
        let slot = unsafe try prepare(type, offset, count)
        unsafe slot.pointee.segments = nil
        unsafe slot.pointee.segmentCount = 0
        return unsafe slot
    }

    /// The first block of a second range of the I/O, checked.
    func blocks(of offset: BdevOffset, for type: IOType, count: BdevLength) throws(BdevError) -> UInt64 {
        if !mayDo(type) { throw refuse(type) }
        guard let start = offset.isBytes ? core.shape.blocks(bytes: offset.value) : offset.value else {
            throw refuseOffset(type, offset)
        }
        guard let blocks = count.isBytes ? core.shape.blocks(bytes: count.value) : count.value else {
            throw refuseLength(type, count.value)
        }
        let (end, overflow) = start.addingReportingOverflow(blocks)
        if overflow || end > core.blockCount { throw refuseRange(type, start, blocks) }
        return start
    }

    /// How long the memory of an I/O has to be, checked as the I/O itself.
    func byteCount(_ type: IOType, at offset: BdevOffset, _ count: BdevLength) throws(BdevError) -> Int {
        let start = try blocks(of: offset, for: type, count: count)
        let blocks = count.isBytes ? count.value / core.shape.blockByteCount : count.value
        if blocks == 0 { throw refuseLength(type, 0) }
        guard let byteCount = Int(exactly: core.bytes(blocks)) else { throw refuseRange(type, start, blocks) }
        return byteCount
    }

    @inline(__always)
    private func prepare(_ type: IOType, _ offset: BdevOffset, _ count: UInt64) throws(BdevError) -> Slot {
        if !mayDo(type) { throw refuse(type) }
        var start = offset.value
        if offset.isBytes {
            guard let blocks = core.shape.blocks(bytes: offset.value) else { throw refuseOffset(type, offset) }
            start = blocks
        }
        let (end, overflow) = start.addingReportingOverflow(count)
        if overflow || end > core.blockCount { throw refuseRange(type, start, count) }
        guard let slot = unsafe core.pool.take(core, forLayer: isOfModule) else { throw refuseMemory(type) }
        unsafe slot.pointee.type = type
        unsafe slot.pointee.startBlock = start
        unsafe slot.pointee.blockCount = count
        unsafe slot.pointee.channel = Unmanaged.passUnretained(self)
        enter()
        return unsafe slot
    }

    @inline(__always)
    func mayDo(_ type: IOType) -> Bool {
        core.accepted.rawValue & permitted.rawValue & (1 << UInt32(type.rawValue)) != 0
    }

    /// Gives a prepared slot back unused.
    func abandon(_ slot: Slot) {
        unsafe core.pool.giveBack(slot)
        leave()
    }

    // MARK: Closing

    @inline(__always)
    func enter() { inFlight &+= 1 }

    @inline(__always)
    func leave() {
        inFlight &-= 1
        if inFlight == 0, let spot = drained { wake(spot) }
    }

    @inline(never)
    private func wake(_ spot: ParkingSpot) {
        drained = nil
        core.loop.unpark(spot)
    }

    /// Refuses what comes from now on and waits for what is in flight.
    /// Whether this call is the one that closed it.
    nonisolated(nonsending) func close() async -> Bool {
        if isClosed { return false }
        isClosed = true
        permitted = []
        if inFlight > 0 {
            let spot = core.loop.makeSpot()
            drained = spot
            await core.pool.reactor.park(at: spot)
            core.loop.release(spot)
        }
        dismissHandlers()
        watch(nil)
        return true
    }
}
