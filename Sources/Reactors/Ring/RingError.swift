public import SystemPackage

/// Why there is no io_uring ring.
public struct RingError: Error, Sendable, CustomStringConvertible {
    /// What was asked of the kernel.
    public let attempt: String
    /// Its answer.
    public let cause: Errno
    /// Why it said so, as far as the system tells.
    public let reason: String
    /// What to do about it.
    public let advice: String

    package init(attempt: String, cause: Errno, reason: String, advice: String) {
        self.attempt = attempt
        self.cause = cause
        self.reason = reason
        self.advice = advice
    }

    /// One line: what, why, what to do.
    public var description: String { "\(attempt): \(cause) (\(reason)); \(advice)" }
}

extension RingError {
    /// What an errno of io_uring_setup(2) means on this machine.
    static func explain(_ cause: Errno, attempt: String) -> RingError {
        let otherwise = "or go on without: files are then read and written by threads"
        func error(_ reason: String, _ advice: String) -> RingError {
            RingError(attempt: attempt, cause: cause, reason: reason, advice: "\(advice), \(otherwise)")
        }
        switch cause {
        case .notPermitted, .permissionDenied:
            switch FileCalls.integer(at: "/proc/sys/kernel/io_uring_disabled") {
            case 2: return error("kernel.io_uring_disabled is 2", "have it allowed (sysctl kernel.io_uring_disabled=0)")
            case 1:
                return error(
                    "kernel.io_uring_disabled is 1 and this process is not in the group of kernel.io_uring_group",
                    "join that group, have it allowed (sysctl kernel.io_uring_disabled=0)")
            default:
                return error(
                    hasSystemCallFilter ? "a system call filter (seccomp) forbids it" : "the kernel forbids it",
                    "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile")
            }
        case .noFunction:
            return error(
                hasSystemCallFilter
                    ? "a system call filter (seccomp) hides it, or the kernel is built without it"
                    : "the kernel is built without it",
                "allow io_uring in the container's seccomp profile, use a kernel with CONFIG_IO_URING")
        case .noMemory:
            return error(
                "the ring does not fit the limit on locked memory", "raise it (ulimit -l), ask for fewer entries")
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
            return error("no descriptor is left", "raise the limit on open files (ulimit -n)")
        case .notSupported:
            return error("the kernel is older than 5.11", "use Linux 5.11 or newer")
        case .invalidArgument:
            return error("the kernel knows no such ring", "ask for a power of two of at most 4,096 entries")
        default:
            return error("the kernel gives no further reason", "look at the kernel's log")
        }
    }

    private static var hasSystemCallFilter: Bool {
        FileCalls.text(at: "/proc/self/status")?.split(separator: "\n").contains {
            $0.hasPrefix("Seccomp:") && $0.hasSuffix("2")
        } ?? false
    }
}
