import Bdev
import DequeModule
import Reactors
import SystemPackage

/// The requests of one bdev on one reactor, between the layer and the ring.
///
/// Nothing here allocates for an I/O once as many operations have been made as there ever were at once.
final class UringQueue: RingClient {
    struct Shape {
        let blockByteCount: Int
        let isDevice: Bool
        let isInMemory: Bool
    }

    let requests: RequestTable
    private let ring: Ring
    private let file: RingFile
    private let shape: Shape
    private let loop: ReactorLoop
    private var operations: ContiguousArray<UringOperation> = []
    private var free: ContiguousArray<UringOperation> = []
    /// Operations that have not been started, or have to be started again, in order: the ring has no room, the turn
    /// has had its share, or a reset is in progress.
    private var waiting = Deque<UringOperation>()
    /// Operations that have been started and are not complete.
    private var inFlight = 0
    private var plain: PlainCalls
    private var turnPoller: TurnPoller?
    /// The file system cannot zero ranges: holes read as zeros too.
    private var zeroesByHoles = false

    /// A reset is in progress: nothing new is started.
    var isFrozen = false
    private var drained: (() -> Void)?

    init(ring: Ring, file: RingFile, requests: RequestTable, shape: Shape, loop: ReactorLoop) {
        self.ring = ring
        self.file = file
        self.requests = requests
        self.shape = shape
        self.loop = loop
        plain = PlainCalls(isOn: shape.isInMemory, clock: loop.clock)
        super.init()
        ring.add(self)
        if shape.isInMemory {
            let poller = TurnPoller(queue: self)
            turnPoller = poller
            loop.add(poller, period: nil)
        }
    }

    func close() {
        if let turnPoller { loop.remove(turnPoller) }
        turnPoller = nil
        ring.remove(self)
        ring.unregister(file)
    }

    // MARK: Going down

    func submit(_ request: consuming IORequest) {
        let operation = free.popLast() ?? makeOperation()
        operation.fill(request)
        if isFrozen || !waiting.isEmpty || !start(operation) { waiting.append(operation) }
    }

    private func makeOperation() -> UringOperation {
        let operation = UringOperation(index: operations.count)
        operations.append(operation)
        free.reserveCapacity(operations.count)
        return operation
    }

    /// False: there is no room now, and nothing has happened.
    private func start(_ operation: UringOperation) -> Bool {
        switch operation.type {
        case .read, .write:
            if plain.takes(operation.byteCount) { return startPlain(operation) }
            if !startTransfer(operation) { return false }
        case .flush:
            if !ring.synchronize(file, token: UInt64(operation.index), for: self) { return false }
        case .unmap:
            if !startUnmap(operation) { return false }
        case .writeZeroes:
            operation.isHole = zeroesByHoles
            if !startAllocation(operation, zeroesByHoles ? .punchHole : .zero) { return false }
        default: preconditionFailure("a \(operation.type) request does not go to the ring")
        }
        markStarted(operation)
        return true
    }

    @inline(__always)
    private func markStarted(_ operation: UringOperation) {
        if operation.isInFlight { return }
        operation.isInFlight = true
        inFlight += 1
    }

    private func startTransfer(_ operation: UringOperation) -> Bool {
        let (token, offset) = (UInt64(operation.index), operation.offset + Int64(operation.done))
        if let memory = operation.rest {
            return operation.type == .read
                ? ring.read(file, at: offset, into: memory, token: token, for: self)
                : ring.write(file, at: offset, from: memory, token: token, for: self)
        }
        let vectors = operation.gather(from: requests)
        return operation.type == .read
            ? ring.read(file, at: offset, into: vectors, token: token, for: self)
            : ring.write(file, at: offset, from: vectors, token: token, for: self)
    }

    private func startUnmap(_ operation: UringOperation) -> Bool {
        if !shape.isDevice { return startAllocation(operation, .punchHole) }
        return ring.discard(
            file, at: operation.offset, byteCount: operation.rangeByteCount, token: UInt64(operation.index), for: self)
    }

    private func startAllocation(_ operation: UringOperation, _ mode: AllocationMode) -> Bool {
        ring.allocate(
            file, at: operation.offset, byteCount: operation.rangeByteCount, mode: mode, token: UInt64(operation.index),
            for: self)
    }

    // MARK: Plain calls

    /// Does the transfer on this thread, now. False: this turn has done its share.
    private func startPlain(_ operation: UringOperation) -> Bool {
        if !plain.hasRoom { return false }
        let begin = plain.start()
        guard let result = transferNow(operation) else {
            plain.turnOff()
            return start(operation)
        }
        plain.end(operation.byteCount, since: begin)
        markStarted(operation)
        completed(operation, result)
        return true
    }

    private func transferNow(_ operation: UringOperation) -> Int? {
        let offset = operation.offset + Int64(operation.done)
        if let memory = operation.rest {
            return operation.type == .read
                ? ring.readNow(file, at: offset, into: memory) : ring.writeNow(file, at: offset, from: memory)
        }
        let vectors = operation.gather(from: requests)
        return operation.type == .read
            ? ring.readNow(file, at: offset, into: vectors) : ring.writeNow(file, at: offset, from: vectors)
    }

    fileprivate func beginTurn() -> PollResult {
        plain.beginTurn()
        if waiting.isEmpty { return .idle }
        pump()
        return .busy
    }

    // MARK: Coming back

    override func ringCompleted(token: UInt64, result: Int32) { completed(operations[Int(token)], Int(result)) }

    @inline(__always)
    private func completed(_ operation: UringOperation, _ result: Int) {
        if result >= 0 {
            operation.done += result
            if operation.done == operation.byteCount || operation.byteCount == 0 { return finish(operation, .success) }
            return goOn(operation, result)
        }
        failed(operation, Errno(rawValue: Int32(-result)))
    }

    private func finish(_ operation: UringOperation, _ status: IOStatus) {
        let token = operation.token!
        operation.token = nil
        if operation.isInFlight { inFlight -= 1 }
        operation.isInFlight = false
        free.append(operation)
        requests.request(token).complete(status)
        if isFrozen, inFlight == 0 { sayDrained() }
    }

    /// The system moved less than it was asked to: goes on where it stopped, in whole blocks, since direct I/O knows
    /// no others.
    private func goOn(_ operation: UringOperation, _ moved: Int) {
        let rest = operation.done % shape.blockByteCount
        operation.done -= rest
        if operation.type == .read, moved == 0 || rest > 0 {
            // The file ends here: it was truncated. What the buffer holds beyond is not the file's.
            return finish(operation, .system(.ioError))
        }
        if moved == 0 || moved < shape.blockByteCount {
            // The next attempt says what is wrong, usually that there is no space. If it does not, nothing will.
            if operation.hasStalled { return finish(operation, .system(.ioError)) }
            operation.hasStalled = true
        }
        // A free place in front of all that has not been started: this one has.
        waiting.prepend(operation)
        pump()
    }

    private func failed(_ operation: UringOperation, _ errno: Errno) {
        switch errno {
        case .canceled: finish(operation, .aborted)
        case .resourceTemporarilyUnavailable, .interrupted, .noBufferSpace:
            // The system lacks something for the moment: the layer tries again, in order.
            finish(operation, .noMemory)
        case .notSupported where operation.type == .writeZeroes && !shape.isDevice && !operation.isHole:
            zeroesByHoles = true
            waiting.prepend(operation)
            pump()
        default: finish(operation, .system(errno))
        }
    }

    // MARK: Waiting

    override func ringHasRoom() { pump() }

    /// Starts what waits, in order, until there is no room. During a reset only what had been started before.
    private func pump() {
        while let operation = waiting.first, !isFrozen || operation.isInFlight {
            waiting.removeFirst()
            if !start(operation) { return waiting.prepend(operation) }
        }
    }

    func abort(_ token: RequestToken) {
        guard let operation = operations.first(where: { $0.token == token }) else { return }
        if !operation.isInFlight, let place = waiting.firstIndex(where: { $0 === operation }) {
            waiting.remove(at: place)
            finish(operation, .aborted)
        } else {
            // No room to ask: it ends by itself.
            _ = ring.cancel(token: UInt64(operation.index), for: self)
        }
    }

    // MARK: Reset

    /// Starts nothing new, and calls `drained` when all that was started is complete.
    func freeze(drained: @escaping () -> Void) {
        isFrozen = true
        self.drained = drained
        if inFlight == 0 { sayDrained() }
    }

    private func sayDrained() {
        let tell = drained
        drained = nil
        tell?()
    }

    func thaw() {
        isFrozen = false
        pump()
    }
}

/// Tells a queue that the reactor has begun another turn.
private final class TurnPoller: Poller {
    private unowned let queue: UringQueue

    init(queue: UringQueue) {
        self.queue = queue
        super.init(name: "uring")
    }

    override func poll() -> PollResult { queue.beginTurn() }
}
