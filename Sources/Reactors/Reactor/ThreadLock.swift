import CLinux

// SAFETY (below): the mutex lives as long as its lock.

/// A pthread mutex around a value that threads share on control paths. Unlike `Synchronization.Mutex`, a thread
/// sanitizer sees it.
@safe final class ThreadLock<Value>: @unchecked Sendable {
    // SAFETY: the mutex lives as long as self; `value` is touched with it held only.
    private let mutex: UnsafeMutableRawPointer
    private var value: Value

    init(_ value: sending Value) {
        unsafe mutex = clinux_mutex_create()
        self.value = value
    }

    deinit { unsafe clinux_mutex_destroy(mutex) }

    func withLock<Result>(_ body: (inout Value) throws -> sending Result) rethrows -> sending Result {
        unsafe clinux_mutex_lock(mutex)
        defer { unsafe clinux_mutex_unlock(mutex) }
        return try body(&value)
    }
}
