/// What a ring has in force: granted by the kernel, dropped on the way, or done otherwise.
public struct RingFeatures: Sendable, CustomStringConvertible {
    /// Who does the work.
    public enum Engine: String, Sendable { case kernel = "io_uring", threads = "threads", simulation = "simulation" }

    public var engine: Engine
    /// Entries of the submission queue.
    public var entries = 0
    /// Operations that may be outstanding.
    public var completionEntries = 0
    /// IORING_SETUP_SUBMIT_ALL: a bad operation does not hold up those behind it.
    public var submitsAll = false
    /// IORING_SETUP_COOP_TASKRUN: completions do not interrupt the thread.
    public var isCooperative = false
    /// IORING_SETUP_SINGLE_ISSUER: the kernel knows that one thread uses the ring.
    public var isSingleIssuer = false
    /// IORING_SETUP_DEFER_TASKRUN: completions are finished when the reactor looks.
    public var defersCompletions = false
    /// IORING_SETUP_IOPOLL.
    public var pollsCompletions = false
    /// IORING_SETUP_SQPOLL.
    public var pollsSubmissions = false
    /// Discards go through the ring (Linux 6.12); else a thread does them.
    public var discardsInKernel = false
    /// Files can be registered.
    public var registersFiles = false
    /// Memory can be registered.
    public var registersBuffers = false
    /// Bytes registered so far.
    public var registeredByteCount = 0
    /// Why the last registration of files or memory was refused.
    public var refusal: String?
    /// Threads that do what the kernel's ring cannot.
    public var threads = 0

    public init(engine: Engine) { self.engine = engine }

    /// One line, for people.
    public var description: String {
        var parts = ["\(engine.rawValue)"]
        if entries > 0 { parts.append("\(entries) entries") }
        if completionEntries > 0 { parts.append("\(completionEntries) outstanding") }
        let flags = [
            (defersCompletions, "DEFER_TASKRUN"), (isSingleIssuer, "SINGLE_ISSUER"), (isCooperative, "COOP_TASKRUN"),
            (submitsAll, "SUBMIT_ALL"), (pollsCompletions, "IOPOLL"), (pollsSubmissions, "SQPOLL"),
            (registersFiles, "registered files"), (registersBuffers, "registered buffers"),
            (discardsInKernel, "discard"),
        ]
        parts += flags.filter(\.0).map(\.1)
        if threads > 0 { parts.append("\(threads) threads") }
        if let refusal { parts.append(refusal) }
        return parts.joined(separator: ", ")
    }
}
