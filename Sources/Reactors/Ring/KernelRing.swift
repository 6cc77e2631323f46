import CLinux
import SystemPackage

/// io_uring(7).
@safe final class KernelRing: Ring {
    // SAFETY: made in init, freed by `releaseResources`, and left alone if operations were abandoned. Used on the
    // thread that made it.
    private let handle: OpaquePointer
    private let wakeEvent: WakeEvent
    private let batch = CompletionBatch()
    private let setup: UInt32

    private var isWatching = false
    private var usesMultishot = true
    /// The eventfd was signalled, and nobody has returned from `wait` for it yet.
    private var wasWoken = false

    private var freeSlots: [Int32] = []
    private var regions: [MemoryRegion] = []
    private let bufferSlots: Int
    /// Made when first needed.
    private var helper: RingWorkers?
    private var operationsInKernel: Int { outstanding - (helper?.outstanding ?? 0) }

    /// Of the completion queue, kept for the eventfd's completions.
    private static let reserve = 4

    /// - Throws: `RingError` when the kernel has no io_uring, or forbids it.
    init(options: Options, wakeEvent: WakeEvent) throws(RingError) {
        let attempt = "cannot make an io_uring ring of \(options.entries) entries"
        if options.isForbidden {
            throw RingError(
                attempt: attempt, cause: .notPermitted, reason: "Ring.Options.isForbidden is set",
                advice: "unset it, or go on without: files are then read and written by threads")
        }
        var wanted: UInt32 = 1 | 2 | 4 | 8
        if options.pollsCompletions { wanted |= CLINUX_RING_POLLS_COMPLETIONS.rawValue }
        if options.pollsSubmissions { wanted |= CLINUX_RING_POLLS_SUBMISSIONS.rawValue }
        var made: OpaquePointer?
        // SAFETY: the ring is ours alone from here.
        let result = unsafe clinux_ring_create(
            &made, UInt32(clamping: options.entries), UInt32(clamping: options.completionEntries), wanted)
        guard result == 0, let made = unsafe made else {
            throw RingError.explain(Errno(rawValue: -result), attempt: attempt)
        }
        unsafe handle = made
        self.wakeEvent = wakeEvent
        setup = unsafe clinux_ring_setup(made)
        bufferSlots = options.bufferSlots
        let completions = unsafe Int(clinux_ring_completion_entries(made))
        var features = RingFeatures(engine: .kernel)
        features.entries = unsafe Int(clinux_ring_entries(made))
        features.completionEntries = completions
        super.init(features: features, capacity: max(1, completions - Self.reserve))
        describeSetup()
        makeTables(fileSlots: options.fileSlots)
    }

    deinit {
        precondition(outstanding == 0, "a ring was destroyed with operations outstanding: close it first")
        // SAFETY: a closed ring is freed already.
        if !isClosed { unsafe clinux_ring_destroy(handle) }
    }

    private func has(_ flag: clinux_ring_setup) -> Bool { setup & flag.rawValue != 0 }

    private func describeSetup() {
        features.submitsAll = has(CLINUX_RING_SUBMIT_ALL)
        features.isCooperative = has(CLINUX_RING_COOPERATIVE)
        features.isSingleIssuer = has(CLINUX_RING_SINGLE_ISSUER)
        features.defersCompletions = has(CLINUX_RING_DEFERRED)
        features.pollsCompletions = has(CLINUX_RING_POLLS_COMPLETIONS)
        features.pollsSubmissions = has(CLINUX_RING_POLLS_SUBMISSIONS)
        features.discardsInKernel = clinux_ring_can_discard() && !features.pollsCompletions
    }

    private func makeTables(fileSlots: Int) {
        // SAFETY: the handle lives as long as self.
        if fileSlots > 0 {
            let result = unsafe clinux_ring_create_file_table(handle, UInt32(fileSlots))
            features.registersFiles = result == 0
            if result == 0 { freeSlots = (0..<Int32(fileSlots)).reversed() } else { refuse("registered files", result) }
        }
        if bufferSlots > 0 {
            let result = unsafe clinux_ring_create_buffer_table(handle, UInt32(bufferSlots))
            features.registersBuffers = result == 0
            if result != 0 { refuse("registered buffers", result) }
        }
    }

    private func refuse(_ what: String, _ result: Int32) {
        features.refusal = "no \(what): \(Errno(rawValue: -result))"
    }

    // MARK: Operations

    override func prepare(_ operation: RingOperation) -> Bool {
        if needsHelper(operation) { return prepareInHelper(operation) }
        // SAFETY: the operation is copied into the submission queue; the handle lives as long as self.
        var raw = unsafe operation.raw
        return unsafe clinux_ring_prepare(handle, &raw)
    }

    /// A discard on an old kernel; and on a polled ring whatever is not a read, a write or a nop, which the kernel
    /// refuses there.
    @inline(__always)
    private func needsHelper(_ operation: RingOperation) -> Bool {
        switch operation.kind {
        case .nop, .read, .write, .readVector, .writeVector: false
        case .discard: !features.discardsInKernel
        case .synchronize, .allocate, .poll, .cancel: features.pollsCompletions
        }
    }

    private func prepareInHelper(_ operation: RingOperation) -> Bool {
        if helper == nil {
            helper = RingWorkers(threads: 1, capacity: capacity, event: wakeEvent.fileDescriptor)
            features.threads = 1
        }
        guard operation.kind == .cancel else { return helper!.prepare(operation) }
        _ = helper!.cancel(operation.offset)
        var nop = operation
        nop.kind = .nop
        return helper!.prepare(nop)
    }

    // MARK: The turn

    override func turn() -> PollResult {
        if outstanding == 0, !hasWaitingClients { return .idle }
        var result = PollResult.idle
        if let helper, helper.outstanding > 0 {
            if !helper.publish() { result = .pending }
            if helper.deliver(to: self, batch) { result = .busy }
        }
        if operationsInKernel > 0 { reap(&result) }
        serveWaiting()
        return result
    }

    private func reap(_ result: inout PollResult) {
        var taken = 0
        repeat {
            var submitted: Int32 = 0
            // SAFETY: the batch has room for its capacity; the handle lives as long as self.
            let count = unsafe clinux_ring_turn(handle, batch.base, Int32(CompletionBatch.capacity), &submitted)
            if count > 0 || submitted > 0 { result = .busy }
            for index in 0..<Int(count) {
                let completion = batch[index]
                if completion.user_data == UInt64(CLINUX_WAKE_USER_DATA) {
                    noteWake(ended: completion.flags & 2 == 0, refused: completion.result < 0)
                } else {
                    deliver(userData: completion.user_data, result: completion.result)
                }
            }
            taken = Int(count)
        } while taken == CompletionBatch.capacity
        if result == .idle, features.pollsCompletions, operationsInKernel > 0 { result = .pending }
    }

    private func noteWake(ended: Bool, refused: Bool) {
        wasWoken = true
        if ended { isWatching = false }
        // Before 5.13 the kernel does not know multishot.
        if refused { usesMultishot = false }
    }

    override var yieldsCore: Bool { outstanding > 0 && !features.pollsCompletions }

    // MARK: Waiting

    override func wait(nanoseconds: UInt64?) {
        if wasWoken {
            wasWoken = false
            wakeEvent.drain()
            return
        }
        if let helper, helper.outstanding > 0 {
            _ = helper.publish()
            if !helper.beginWait() { return }
        }
        if features.pollsCompletions { waitPolled(nanoseconds) } else { waitInKernel(nanoseconds) }
        helper?.endWait()
    }

    private func waitInKernel(_ nanoseconds: UInt64?) {
        // SAFETY: the handle lives as long as self.
        if !isWatching { isWatching = unsafe clinux_ring_watch(handle, wakeEvent.fileDescriptor, usesMultishot) }
        // The submission queue is full and the kernel takes nothing: look again soon, rather than sleep without a way
        // to be woken.
        var limit = nanoseconds.map { Int64(clamping: $0) } ?? -1
        if !isWatching { limit = limit < 0 ? 1_000_000 : min(limit, 1_000_000) }
        unsafe clinux_ring_wait(handle, limit)
        let wakes = unsafe clinux_ring_take_wakes(handle)
        if wakes != 0 {
            noteWake(ended: wakes & 2 != 0, refused: wakes & 4 != 0)
            wasWoken = false
            wakeEvent.drain()
        }
    }

    /// A polled ring cannot watch the eventfd, and nobody would see its completions during a wait.
    private func waitPolled(_ nanoseconds: UInt64?) {
        if operationsInKernel > 0 { return }
        wakeEvent.wait(nanoseconds: nanoseconds)
        wakeEvent.drain()
    }

    override func releaseResources() {
        // SAFETY: nothing is outstanding, and the ring is closed: the handle is not used again.
        unsafe clinux_ring_destroy(handle)
        helper = nil
    }

    // MARK: Files and buffers

    override func register(_ descriptor: FileDescriptor) -> RingFile {
        guard let slot = freeSlots.popLast() else { return RingFile(descriptor) }
        let result = unsafe clinux_ring_set_file(handle, UInt32(slot), descriptor.rawValue)
        if result == 0 { return RingFile(descriptor, slot: slot) }
        refuse("registered file", result)
        freeSlots.append(slot)
        return RingFile(descriptor)
    }

    override func unregister(_ file: RingFile) {
        if file.slot < 0 || isClosed { return }
        // SAFETY: the handle lives until the ring is closed.
        _ = unsafe clinux_ring_set_file(handle, UInt32(file.slot), -1)
        freeSlots.append(file.slot)
    }

    override func register(_ region: MemoryRegion) -> Bool {
        guard features.registersBuffers, !isClosed, regions.count < bufferSlots, buffers.canHold(region.arena) else {
            return false
        }
        if buffers.index(of: region.arena) >= 0 { return true }
        let index = regions.count
        // SAFETY: the region is kept in `regions` as long as the ring, longer than the kernel knows its address.
        let result = unsafe clinux_ring_set_buffer(handle, UInt32(index), region.base, region.byteCount)
        if result != 0 {
            refuse("registered buffer of \(region.byteCount) bytes", result)
            return false
        }
        regions.append(region)
        buffers.set(region.arena, to: index)
        features.registeredByteCount += region.byteCount
        return true
    }
}
