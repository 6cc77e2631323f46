import Bdev
import Logging
import Reactors

/// One open file behind a bdev, with its queues on all reactors.
final class UringDriver: BdevDriver {
    private let name: String
    private let blockByteCount: Int
    private let isDevice: Bool
    private let isInMemory: Bool
    private let logger: Logger
    private let didEnd: @Sendable (UringDriver) -> Void
    private let state: ThreadLock<State>

    private struct State {
        /// nil once the bdev is gone: whoever still holds a closed descriptor does not hold the file's lock.
        var file: BlockFile?
        var queues: [UringQueueReference] = []
        /// Resets that end together; not empty while one is in progress.
        var resets: [(queue: UringQueueReference, token: RequestToken)] = []
        /// Queues that still have something in flight from before the reset.
        var undrainedCount = 0
        var saysThreads = false
    }

    init(_ target: UringTarget, name: String, logger: Logger, didEnd: @escaping @Sendable (UringDriver) -> Void) {
        self.name = name
        self.logger = logger
        self.didEnd = didEnd
        blockByteCount = target.blockByteCount
        isDevice = target.file.kind == .blockDevice
        isInMemory = target.isInMemory
        state = ThreadLock(State(file: target.file))
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let (ring, refusal) = local.loop.ringOrThreads()
        if let refusal { sayThreads(refusal) }
        guard let file = state.withLock({ $0.file }) else {
            throw BdevError(.removed, bdev: name, "the file is closed")
        }
        let queue = UringQueue(
            ring: ring, file: ring.register(file.descriptor), requests: requests,
            shape: UringQueue.Shape(blockByteCount: blockByteCount, isDevice: isDevice, isInMemory: isInMemory),
            loop: local.loop)
        let reference = UringQueueReference(queue: queue, reactor: local.reactor)
        queue.isFrozen = state.withLock { state in
            state.queues.append(reference)
            return !state.resets.isEmpty
        }
        return UringChannel(reference, driver: self)
    }

    func destroy() async {
        state.withLock { $0.file = nil }
        didEnd(self)
    }

    private func sayThreads(_ refusal: RingError) {
        let isFirst = state.withLock { state in
            defer { state.saysThreads = true }
            return !state.saysThreads
        }
        if isFirst { logger.notice("\(name): files are read and written by threads: \(refusal)") }
    }

    func forget(_ reference: UringQueueReference) {
        state.withLock { state in state.queues.removeAll { $0.queue === reference.queue } }
    }

    /// In blocks, as of now.
    func currentBlockCount() throws(BdevError) -> UInt64 {
        guard let file = state.withLock({ $0.file }) else {
            throw BdevError(.removed, bdev: name, "the file is closed")
        }
        do {
            return UInt64(try file.currentByteCount()) / UInt64(blockByteCount)
        } catch {
            throw BdevError(.moduleFailed, bdev: name, "\(error)")
        }
    }

    // MARK: Reset

    // Every queue stops starting what is new, and says when what it had started is complete. When all have, the reset
    // is over and all go on. A reset that comes meanwhile ends with the first.

    func reset(_ token: RequestToken, from reference: UringQueueReference) {
        let queues: [UringQueueReference] = state.withLock { state in
            state.resets.append((reference, token))
            if state.resets.count > 1 { return [] }
            state.undrainedCount = state.queues.count
            return state.queues
        }
        for each in queues {
            each.reactor.post { _ in each.queue.freeze { self.didDrain() } }
        }
    }

    private func didDrain() {
        let (queues, resets): ([UringQueueReference], [(queue: UringQueueReference, token: RequestToken)]) =
            state.withLock { state in
                state.undrainedCount -= 1
                if state.undrainedCount > 0 { return ([], []) }
                defer { state.resets = [] }
                return (state.queues, state.resets)
            }
        for each in queues { each.reactor.post { _ in each.queue.thaw() } }
        for (reference, token) in resets {
            reference.reactor.post { _ in reference.queue.requests.request(token).complete() }
        }
    }
}

/// A queue as other reactors hold it. Unchecked Sendable: only messages to its own reactor touch the queue.
struct UringQueueReference: @unchecked Sendable {
    let queue: UringQueue
    let reactor: Reactor
}

/// The layer's view of a queue.
final class UringChannel: BdevModuleChannel {
    private let queue: UringQueue
    private let reference: UringQueueReference
    private let driver: UringDriver

    init(_ reference: UringQueueReference, driver: UringDriver) {
        self.reference = reference
        self.driver = driver
        queue = reference.queue
    }

    override func submit(_ request: consuming IORequest) {
        if request.type == .reset { return driver.reset(request.detach(), from: reference) }
        queue.submit(request)
    }

    override func abort(_ token: RequestToken) { queue.abort(token) }

    override func close() async {
        driver.forget(reference)
        queue.close()
    }
}
