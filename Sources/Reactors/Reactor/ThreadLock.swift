import CLinux

// SAFETY (below): the mutex lives as long as its lock.

/// A pthread mutex around a value that threads share on control paths. Unlike `Synchronization.Mutex`, a thread
/// sanitizer sees it.
@safe public final class ThreadLock<Value>: @unchecked Sendable {
    // SAFETY: the mutex lives as long as self; `value` is touched with it held only.
    private let mutex: UnsafeMutableRawPointer
    private var value: Value

    /// Takes `value` over: from here on it is touched with the lock held only.
    public init(_ value: sending Value) {
        unsafe mutex = clinux_mutex_create()
        self.value = value
    }

    deinit { unsafe clinux_mutex_destroy(mutex) }

    /// Runs `body` with the lock held. From any thread; blocks while another holds it, so never on the path of an I/O.
    /// Taking it again inside `body` never returns.
    public func withLock<Result>(_ body: (inout Value) throws -> sending Result) rethrows -> sending Result {
        unsafe clinux_mutex_lock(mutex)
        defer { unsafe clinux_mutex_unlock(mutex) }
        return try body(&value)
    }
}
