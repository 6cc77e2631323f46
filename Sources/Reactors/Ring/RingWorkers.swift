import CLinux

// SAFETY (below): the handle lives as long as the object.

/// Threads that do operations one at a time, for a ring that cannot.
@safe final class RingWorkers {
    // SAFETY: freed in deinit unless operations are outstanding; used on the ring's thread.
    private let handle: OpaquePointer
    private(set) var outstanding = 0
    private let capacity: Int

    /// - Parameter event: signalled when a result arrives during `beginWait()` … `endWait()`.
    init(threads: Int, capacity: Int, event: Int32) {
        guard let handle = unsafe clinux_workers_create(UInt32(threads), UInt32(capacity), event) else {
            preconditionFailure("no memory for a ring's threads")
        }
        unsafe self.handle = handle
        self.capacity = capacity
    }

    deinit {
        // A thread that is still inside an operation is left to it, with everything it may touch.
        // SAFETY: nothing is outstanding, so every thread is waiting for work.
        if outstanding == 0 { unsafe clinux_workers_destroy(handle) }
    }

    func prepare(_ operation: RingOperation) -> Bool {
        if outstanding == capacity { return false }
        // SAFETY: the operation is copied.
        var raw = unsafe operation.raw
        if unsafe !clinux_workers_prepare(handle, &raw) { return false }
        outstanding += 1
        return true
    }

    /// False: no thread can be started at present.
    func publish() -> Bool { unsafe clinux_workers_publish(handle) == 0 }

    var isReady: Bool { unsafe clinux_workers_ready(handle) }

    /// Delivers what is ready to `ring`. Whether anything was.
    func deliver(to ring: Ring, _ completions: borrowing CompletionBatch) -> Bool {
        var delivered = false
        while isReady {
            // SAFETY: the batch has room for its capacity.
            let count = unsafe clinux_workers_take(handle, completions.base, Int32(CompletionBatch.capacity))
            outstanding -= Int(count)
            for index in 0..<Int(count) {
                let completion = completions[index]
                ring.deliver(userData: completion.user_data, result: completion.result)
            }
            delivered = true
        }
        return delivered
    }

    func cancel(_ userData: UInt64) -> Bool { unsafe clinux_workers_cancel(handle, userData) }

    /// False: a result is ready already.
    func beginWait() -> Bool { unsafe clinux_workers_begin_wait(handle) }
    func endWait() { unsafe clinux_workers_end_wait(handle) }
}

/// Room for completions on their way from C to the clients.
@safe struct CompletionBatch: ~Copyable {
    static let capacity = 64
    // SAFETY: `capacity` initialized entries, freed in deinit.
    let base: UnsafeMutablePointer<clinux_completion>

    init() {
        unsafe base = .allocate(capacity: Self.capacity)
        unsafe base.initialize(repeating: clinux_completion(), count: Self.capacity)
    }

    deinit { unsafe base.deallocate() }

    @inline(__always)
    subscript(index: Int) -> clinux_completion {
        assert(index >= 0 && index < Self.capacity)
        // SAFETY: within the allocation.
        return unsafe base[index]
    }
}
