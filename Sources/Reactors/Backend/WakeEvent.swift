import CLinux
import SystemPackage

/// An eventfd that ends a reactor's sleep. Signalled from any thread.
final class WakeEvent: Sendable {
    let fileDescriptor: Int32

    init() throws(ReactorError) {
        let descriptor = clinux_event_create()
        if descriptor < 0 {
            throw ReactorError(
                .resourceExhausted, "cannot create the eventfd that wakes a reactor",
                cause: Errno(rawValue: -descriptor), advice: "raise the limit on open files (ulimit -n)")
        }
        fileDescriptor = descriptor
    }

    deinit { clinux_close(fileDescriptor) }

    func signal() { clinux_event_signal(fileDescriptor) }
    func drain() { clinux_event_drain(fileDescriptor) }

    /// - Parameter nanoseconds: at most this long; nil: until signalled.
    func wait(nanoseconds: UInt64?) {
        clinux_event_wait(fileDescriptor, nanoseconds.map { Int64(clamping: $0) } ?? -1)
    }
}
