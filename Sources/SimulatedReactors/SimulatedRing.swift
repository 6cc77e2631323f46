import Reactors
import SystemPackage

/// A ring whose operations end at a virtual instant that the seed decides, and so in any order. They are done then, on
/// the calling thread, by the system calls that are the same.
final class SimulatedRing: Ring {
    private struct Pending {
        let operation: RingOperation
        var due: UInt64
        /// What it ends with instead of being done.
        let failure: Errno?
    }

    private let world: World
    /// The next to end last.
    private var pending: [Pending] = []

    init(world: World, options: Options) {
        self.world = world
        var features = RingFeatures(engine: .simulation)
        features.entries = options.entries
        features.completionEntries = options.completionEntries
        super.init(features: features, capacity: options.completionEntries)
    }

    /// When the next operation ends; `.max`: none is outstanding.
    var nextDue: UInt64 { pending.last?.due ?? .max }

    private func insert(_ operation: RingOperation, due: UInt64, failure: Errno? = nil) {
        var low = 0, high = pending.count
        while low < high {
            let middle = (low + high) / 2
            if pending[middle].due > due { low = middle + 1 } else { high = middle }
        }
        pending.insert(Pending(operation: operation, due: due, failure: failure), at: low)
    }

    override func prepare(_ operation: RingOperation) -> Bool {
        let now = world.clock.now()
        switch operation.kind {
        case .cancel:
            cancel(operation.offset)
            insert(operation, due: now)
        case .nop, .read, .write, .readVector, .writeVector, .synchronize, .allocate, .discard, .poll:
            insert(operation, due: now + world.latency())
        }
        return true
    }

    /// What has not ended yet ends now, undone. One that has begun cannot be stopped, as the seed says.
    private func cancel(_ userData: UInt64) {
        guard let index = pending.firstIndex(where: { $0.operation.userData == userData }) else { return }
        if world.chance(0.5) { return }
        insert(pending.remove(at: index).operation, due: world.clock.now(), failure: .canceled)
    }

    override func turn() -> PollResult {
        if outstanding == 0, !hasWaitingClients { return .idle }
        let now = world.clock.now()
        var ended: [Pending] = []
        while let last = pending.last, last.due <= now { ended.append(pending.removeLast()) }
        if !ended.isEmpty {
            ended.shuffle(using: &world.random)
            for each in ended { deliver(userData: each.operation.userData, result: result(each)) }
        }
        serveWaiting()
        return ended.isEmpty ? .idle : .busy
    }

    private func result(_ each: Pending) -> Int32 {
        if let failure = each.failure { return -failure.rawValue }
        let behavior = world.ringBehavior, operation = each.operation
        switch operation.kind {
        case .nop, .cancel: return 0
        case .poll: return Int32(operation.flags & 1)
        case .read, .write, .readVector, .writeVector:
            if world.chance(behavior.interruptedFraction) {
                return -(world.chance(0.5) ? Errno.interrupted : .resourceTemporarilyUnavailable).rawValue
            }
            if let failure = world.injectedFailure() { return -failure.rawValue }
            return (world.chance(behavior.shortFraction) ? shortened(operation) : operation).perform()
        case .synchronize:
            if let failure = world.injectedFailure() { return -failure.rawValue }
            return operation.perform()
        case .allocate, .discard: return operation.perform()
        }
    }

    private func shortened(_ operation: RingOperation) -> RingOperation {
        let unit: UInt64 = operation.kind == .read || operation.kind == .write ? 512 : 1
        let most = Int((operation.length - 1) / unit)
        if most == 0 { return operation }
        return operation.shortened(to: unit * UInt64(1 + world.random.index(below: most)))
    }

    /// Time is the world's to move: a ring that is closed ends what is outstanding at once.
    override func wait(nanoseconds: UInt64?) {
        for index in pending.indices { pending[index].due = world.clock.now() }
    }
}
