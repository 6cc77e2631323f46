import CLinux
import SystemPackage

/// Starts a thread that runs `body`, pinned to `core` if there is one, to be joined with `clinux_join_thread`.
func startThread(onCore core: Int? = nil, _ body: @escaping @Sendable () -> Void) throws(ReactorError) -> UInt64 {
    var thread: UInt64 = 0
    // SAFETY: the thread takes the reference back exactly once, when it begins.
    let context = unsafe Unmanaged.passRetained(Message(body))
    let run: @convention(c) (UnsafeMutableRawPointer) -> Void = { context in
        unsafe Unmanaged<Message>.fromOpaque(context).takeRetainedValue().body()
    }
    let result =
        if let core {
            unsafe clinux_start_pinned_thread(&thread, UInt32(core), run, context.toOpaque())
        } else {
            unsafe clinux_start_thread(&thread, run, context.toOpaque())
        }
    if result == 0 { return thread }
    unsafe context.release()
    if let core, result == -Errno.invalidArgument.rawValue {
        throw ReactorError(
            .coreUnavailable, "cannot start a thread on core \(core)", cause: .invalidArgument,
            advice: "choose a core this process may run on")
    }
    throw ReactorError(
        .resourceExhausted, "cannot start a thread", cause: Errno(rawValue: -result),
        advice: "raise the limit on threads (ulimit -u, pids.max)")
}

/// The same for a thread that nobody joins.
func startDetachedThread(_ body: @escaping @Sendable () -> Void) throws(ReactorError) {
    clinux_detach_thread(try startThread(body))
}
