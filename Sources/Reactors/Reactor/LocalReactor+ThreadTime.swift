import CLinux

extension LocalReactor {
    /// How long this reactor's thread has been on a CPU since it started. clock_gettime(2), CLOCK_THREAD_CPUTIME_ID.
    ///
    /// Polling counts, sleeping does not. What a figure is divided by to be independent of what else the machine
    /// does. Cost: one system call.
    public var threadCPUTime: Duration { .nanoseconds(Int64(clamping: clinux_thread_cpu_nanoseconds())) }
}
