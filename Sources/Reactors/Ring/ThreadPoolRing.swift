import CLinux
import SystemPackage

/// The same operations done by a few threads with preadv2(2) and its like, for machines without io_uring.
@safe final class ThreadPoolRing: Ring {
    private let workers: RingWorkers
    private let wakeEvent: WakeEvent
    private let batch = CompletionBatch()
    /// Descriptors somebody waits for: those are polled on the reactor's own thread, since they may take for ever.
    private var watches: [clinux_watch] = []
    /// Watches that were cancelled, and cancellations themselves.
    private var ended: [(userData: UInt64, result: Int32)] = []
    private var needsPublishing = false

    /// Memory for its capacity is needed: there is no room for error on a machine that has already refused one ring.
    init(options: Options, wakeEvent: WakeEvent) {
        let capacity = min(max(options.completionEntries, 1), 32768)
        var features = RingFeatures(engine: .threads)
        features.threads = max(1, options.threads)
        features.completionEntries = capacity
        workers = RingWorkers(threads: features.threads, capacity: capacity, event: wakeEvent.fileDescriptor)
        self.wakeEvent = wakeEvent
        super.init(features: features, capacity: capacity)
    }

    override func prepare(_ operation: RingOperation) -> Bool {
        switch operation.kind {
        case .poll:
            if watches.count == Self.watchLimit { return false }
            watches.append(
                clinux_watch(
                    user_data: operation.userData, descriptor: operation.descriptor, events: operation.flags,
                    result: 0))
            return true
        case .cancel:
            cancel(operation.offset)
            ended.append((operation.userData, 0))
            return true
        case .nop, .read, .write, .readVector, .writeVector, .synchronize, .allocate, .discard:
            needsPublishing = true
            return workers.prepare(operation)
        }
    }

    private static let watchLimit = 64

    private func cancel(_ userData: UInt64) {
        if let index = watches.firstIndex(where: { $0.user_data == userData }) {
            watches.remove(at: index)
            ended.append((userData, -Errno.canceled.rawValue))
        } else {
            _ = workers.cancel(userData)
        }
    }

    override func turn() -> PollResult {
        if outstanding == 0, !hasWaitingClients { return .idle }
        var result = PollResult.idle
        if needsPublishing {
            needsPublishing = !workers.publish()
            result = needsPublishing ? .pending : .busy
        }
        if workers.deliver(to: self, batch) { result = .busy }
        if !watches.isEmpty {
            look(nanoseconds: 0, event: -1)
            collectWatches()
        }
        if !ended.isEmpty {
            let done = ended
            ended.removeAll(keepingCapacity: true)
            for each in done { deliver(userData: each.userData, result: each.result) }
            result = .busy
        }
        serveWaiting()
        return result
    }

    private func look(nanoseconds: Int64, event: Int32) {
        // SAFETY: the array's own bounds.
        unsafe watches.withUnsafeMutableBufferPointer {
            unsafe clinux_poll_watches($0.baseAddress, Int32($0.count), event, nanoseconds)
        }
    }

    private func collectWatches() {
        watches.removeAll { watch in
            if watch.result != 0 { ended.append((watch.user_data, watch.result)) }
            return watch.result != 0
        }
    }

    override var yieldsCore: Bool { outstanding > 0 }

    override func wait(nanoseconds: UInt64?) {
        if needsPublishing { needsPublishing = !workers.publish() }
        if !ended.isEmpty || !workers.beginWait() { return }
        var limit = nanoseconds.map { Int64(clamping: $0) } ?? -1
        if needsPublishing { limit = limit < 0 ? 1_000_000 : min(limit, 1_000_000) }
        look(nanoseconds: limit, event: wakeEvent.fileDescriptor)
        workers.endWait()
        wakeEvent.drain()
        collectWatches()
    }
}
