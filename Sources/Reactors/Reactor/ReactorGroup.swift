import CLinux
import Synchronization
import SystemPackage

/// The reactors of a process: one pinned thread for each core it was given.
public final class ReactorGroup: Sendable {
    /// In the order of the cores given.
    public let reactors: [Reactor]
    private let threads: Mutex<[UInt64]>

    /// Starts one reactor on each of `cores`.
    public init(cores: [Int], options: ReactorOptions = ReactorOptions()) throws(ReactorError) {
        precondition(!cores.isEmpty, "a reactor group needs at least one core")
        var made: [Reactor] = []
        for (index, core) in cores.enumerated() {
            made.append(Reactor(core: core, index: index, backend: try KernelBackend(), options: options))
        }
        reactors = made
        threads = Mutex([])
        for reactor in made { try start(reactor) }
    }

    private func start(_ reactor: Reactor) throws(ReactorError) {
        var thread: UInt64 = 0
        // SAFETY: the thread takes the reference back exactly once, when it begins.
        let context = unsafe Unmanaged.passRetained(reactor)
        let result = unsafe clinux_start_pinned_thread(
            &thread, UInt32(reactor.core),
            { context in
                unsafe Unmanaged<Reactor>.fromOpaque(context).takeRetainedValue().runThread()
            }, context.toOpaque())
        if result < 0 {
            unsafe context.release()
            throw ReactorError(
                .coreUnavailable, "cannot start a reactor on core \(reactor.core)", cause: Errno(rawValue: -result),
                advice: "choose a core this process may run on")
        }
        threads.withLock { $0.append(thread) }
    }

    /// Stops every reactor after what is queued there has run, and waits for the threads. Must not be called on one of them.
    /// Calling it again does nothing.
    public func shutDown() {
        precondition(!reactors.contains(where: \.isCurrent), "a reactor cannot wait for its own thread to end")
        for reactor in reactors { reactor.requestStop() }
        let ended = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in ended { clinux_join_thread(thread) }
    }
}

extension Reactor {
    /// The body of the reactor's thread.
    func runThread() {
        unsafe clinux_name_thread(name)
        asCurrent { loop.run() }
    }
}
