/// The reactors of a process: one pinned thread for each core it was given.
///
/// End it with `shutDown()`. A group that is let go without it is shut down all the same, at the time its last
/// reference goes, on that thread; from a reactor of the group itself, where nobody may wait for the thread, on a
/// thread of its own.
public final class ReactorGroup: Sendable {
    /// In the order of the cores given.
    public let reactors: [Reactor]
    /// The machine as it was when the group was made.
    public let topology: Topology
    private let crew: ReactorCrew

    /// Starts one reactor on each of `cores`; on the first core the process may use when none are given.
    ///
    /// Before any thread starts, every core is looked up, held against the process's affinity and locked
    /// (``CoreLock``). When one cannot be had or one thread does not start, everything is undone.
    ///
    /// - Throws: ``ReactorError`` that names the core: `invalidCoreList`, `coreUnavailable`, `coreInUse`,
    ///   `resourceExhausted` or
    ///   `topologyUnreadable`.
    public init(cores: CoreList = .first, options: ReactorOptions = ReactorOptions()) throws(ReactorError) {
        topology = try Topology()
        let numbers = try cores.resolve(in: topology)
        var locks: [CoreLock] = []
        if options.locksCores {
            for core in numbers { locks.append(try CoreLock(core: core, directory: options.coreLockDirectory)) }
        }
        var made: [Reactor] = []
        for (index, core) in numbers.enumerated() {
            made.append(
                Reactor(
                    core: core, node: topology.core(core)!.node, index: index, backend: try KernelBackend(),
                    options: options))
        }
        reactors = made
        crew = try ReactorCrew(reactors: made, locks: locks)
    }

    /// The same with the numbers of the cores.
    public convenience init(cores: [Int], options: ReactorOptions = ReactorOptions()) throws(ReactorError) {
        try self.init(cores: CoreList(cores), options: options)
    }

    /// One reactor on each physical core that the process may use.
    public static func onePerCore(options: ReactorOptions = ReactorOptions()) throws(ReactorError) -> ReactorGroup {
        try ReactorGroup(cores: .onePerCore, options: options)
    }

    deinit {
        let crew = self.crew
        if !crew.isOnOneOfItsThreads {
            crew.shutDown()
        } else {
            do { try startDetachedThread { crew.shutDown() } } catch { crew.abandon() }
        }
    }

    /// Runs `body` on each reactor, one after another in the order of ``reactors``. The first error ends it.
    public func forEach<Failure: Error>(
        _ body: @Sendable (isolated LocalReactor) async throws(Failure) -> Void
    ) async throws(Failure) {
        for reactor in reactors { try await reactor.run(body) }
    }

    /// The first reactor on a core of this NUMA node, or nil.
    public func reactor(onNode node: Int) -> Reactor? { reactors.first { $0.node == node } }

    /// Watches the reactors from a thread of its own until `shutDown()`: a reactor that does not finish a turn in
    /// `threshold` is reported once for each such stall, with what holds it. `report` runs on that thread and must not
    /// block for long nor end the group.
    ///
    /// Cost: nothing on the reactors; a wake-up of the watching thread four times in a threshold, at most 1,000 a
    /// second.
    public func startWatchdog(
        threshold: Duration, report: @escaping @Sendable (StallReport) -> Void
    ) throws(ReactorError) {
        try crew.add(StallWatchdog(reactors: reactors, threshold: threshold, report: report))
    }

    /// Stops every reactor after what is queued anywhere in the group has run, in the order of ``reactors``, and waits
    /// for the threads.
    ///
    /// Work that goes on for ever holds it up: close gates and end tasks first. Tasks that still wait on a reactor when
    /// it has ended are a programming error and trap, as does work sent to it afterwards. Calling it again does
    /// nothing; a second caller returns when the first one's work is done. Blocks; must not be called on one of the
    /// reactors.
    public func shutDown() {
        precondition(!crew.isOnOneOfItsThreads, "a reactor cannot wait for its own thread to end")
        crew.shutDown()
    }

    /// The same without blocking the calling thread. From any task that does not run on one of the reactors.
    public func shutDown() async {
        precondition(!crew.isOnOneOfItsThreads, "a reactor cannot wait for its own thread to end")
        let crew = self.crew
        // SAFETY: resumed once: by the thread, or below when there is none.
        await unsafe withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let end: @Sendable () -> Void = {
                crew.shutDown()
                unsafe continuation.resume()
            }
            do {
                try startDetachedThread(end)
            } catch {
                // No thread to be had: blocking is better than not ending.
                end()
            }
        }
    }
}
