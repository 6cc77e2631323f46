import Glibc
import Synchronization

@testable import Reactors

/// What a contract test's task finds on its reactor.
final class ContractScene: Sendable {
    let reactor: Reactor
    let waiters: Waiters
    let neighbour: Neighbour
    let behind: any Callable
    let wrong: WrongLot

    init(on local: isolated LocalReactor) {
        reactor = local.reactor
        waiters = Waiters(local.loop)
        local.add(waiters)
        neighbour = Neighbour(reactor)
        behind = Neighbour(reactor)
        wrong = WrongLot(reactor)
    }

    protocol Callable: Actor { func call() async -> Int }

    actor Neighbour: Callable {
        private let reactor: Reactor
        private var calls = 0
        nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reactor.asUnownedSerialExecutor() }

        init(_ reactor: Reactor) { self.reactor = reactor }

        @inline(never) func call() -> Int {
            calls += 1
            return calls
        }
    }

    /// Wakes on its next visit what waits, as a device's completions would.
    @safe final class Waiters: Poller, @unchecked Sendable {
        // SAFETY: touched on its reactor only; each continuation is resumed once.
        private var continuations: [UnsafeContinuation<Void, Never>] = unsafe []
        private var spots: [ParkingSpot] = []
        private let loop: ReactorLoop
        let spot: ParkingSpot

        init(_ loop: ReactorLoop) {
            self.loop = loop
            spot = loop.makeSpot()
            super.init(name: "waiters")
        }

        func add(_ continuation: UnsafeContinuation<Void, Never>) { unsafe continuations.append(continuation) }
        func wakeSpot() { spots.append(spot) }

        override func poll() -> PollResult {
            let resumed = unsafe continuations, woken = spots
            unsafe continuations = []
            spots = []
            for index in unsafe resumed.indices { unsafe resumed[index].resume() }
            for spot in woken { loop.unpark(spot) }
            return .pending
        }
    }

    /// An actor whose jobs are run as if they had come through the task executor: the wrong call for a task without a
    /// preference.
    actor WrongLot {
        private final class Executor: SerialExecutor, @unchecked Sendable {
            // SAFETY: immutable.
            let reactor: Reactor
            init(_ reactor: Reactor) { self.reactor = reactor }
            func enqueue(_ job: consuming ExecutorJob) { reactor.loop.push(Arrival(UnownedJob(job), .preference)) }
        }

        private let executor: Executor
        nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe executor.asUnownedSerialExecutor() }

        init(_ reactor: Reactor) { executor = Executor(reactor) }
        func visit() {}
    }
}

/// Counts what reactor threads hand to the global pool, through the runtime's own hook.
enum GlobalPool {
    private typealias Enqueue = @convention(c) (UnsafeMutableRawPointer) -> Void
    private typealias Hook = @convention(c) (UnsafeMutableRawPointer, Enqueue) -> Void

    /// The address of the reactor whose thread is watched; 0 for none.
    private static let watched = Atomic<UInt>(0)
    private static let counted = Atomic<Int>(0)

    /// False when the runtime has no such hook any more.
    static let isHooked: Bool = {
        // SAFETY: a variable of this type in the runtime since Swift 5.5; the hook passes every job on.
        guard let symbol = unsafe dlsym(nil, "swift_task_enqueueGlobal_hook") else { return false }
        let hook: Hook = { job, enqueue in
            if let reactor = Reactor.current, GlobalPool.address(reactor) == GlobalPool.watched.load(ordering: .relaxed)
            {
                GlobalPool.counted.add(1, ordering: .relaxed)
            }
            unsafe enqueue(job)
        }
        unsafe symbol.assumingMemoryBound(to: Hook?.self).pointee = hook
        return true
    }()

    private static func address(_ reactor: Reactor) -> UInt {
        // SAFETY: an address to compare, never followed.
        unsafe UInt(bitPattern: Unmanaged.passUnretained(reactor).toOpaque())
    }

    static func watch(_ reactor: Reactor) {
        watched.store(address(reactor), ordering: .relaxed)
        counted.store(0, ordering: .relaxed)
    }

    static var jobs: Int { counted.load(ordering: .relaxed) }
}
