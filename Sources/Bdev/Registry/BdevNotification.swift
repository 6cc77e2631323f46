import Reactors

/// What has happened to the bdevs of an engine. More may be added.
public enum BdevNotification: Sendable, Hashable {
    /// There is a bdev of this name, and every module has examined it.
    case registered(String)
    /// There is none of this name any more. Told of bdevs that ``registered(_:)`` was told of.
    case unregistered(String)
    /// The bdev of this name has so many blocks now.
    case resized(String, blockCount: UInt64)
    /// So many notifications before the next are forgotten, for they were not taken in time: ``BdevEngine/list()`` has
    /// what there is.
    case missed(Int)
}

/// What happens to the bdevs of an engine from ``BdevEngine/notifications`` on, for one consumer. Ends when the engine
/// has stopped.
///
/// At most 1,024 notifications wait to be taken; then the oldest are forgotten, and the consumer is told how many.
public struct BdevNotifications: AsyncSequence, Sendable {
    public typealias Element = BdevNotification
    public typealias Failure = Never

    let queue: NotificationQueue

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(queue: queue, news: queue.news.makeAsyncIterator())
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let queue: NotificationQueue
        var news: AsyncStream<Void>.AsyncIterator

        /// Cancellation ends the sequence.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> BdevNotification? {
            while true {
                if let first = queue.popFirst() { return first }
                if await news.next(isolation: actor) == nil { return queue.popFirst() }
            }
        }

        public mutating func next() async -> BdevNotification? { await next(isolation: #isolation) }
    }
}

/// What one consumer has not taken yet.
final class NotificationQueue: Sendable {
    private static let capacity = 1024

    private struct State {
        var waiting: [BdevNotification] = []
        var missedCount = 0
    }

    private let state = ThreadLock(State())
    /// Says that there is something.
    let news: AsyncStream<Void>
    private let teller: AsyncStream<Void>.Continuation

    init() { (news, teller) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    func append(_ notification: BdevNotification) {
        state.withLock { state in
            if state.waiting.count == Self.capacity {
                state.waiting.removeFirst()
                state.missedCount += 1
            }
            state.waiting.append(notification)
        }
        teller.yield()
    }

    func popFirst() -> BdevNotification? {
        state.withLock { state in
            if state.missedCount > 0 {
                defer { state.missedCount = 0 }
                return .missed(state.missedCount)
            }
            return state.waiting.isEmpty ? nil : state.waiting.removeFirst()
        }
    }

    func finish() { teller.finish() }
}

/// The consumers of an engine's notifications.
final class NotificationHub: Sendable {
    private struct Entry {
        weak var queue: NotificationQueue?
    }

    private struct State {
        var entries: [Entry] = []
        var isFinished = false
    }

    private let state = ThreadLock(State())

    func subscribe() -> NotificationQueue {
        let queue = NotificationQueue()
        let isFinished = state.withLock { state in
            state.entries.removeAll { $0.queue == nil }
            if !state.isFinished { state.entries.append(Entry(queue: queue)) }
            return state.isFinished
        }
        if isFinished { queue.finish() }
        return queue
    }

    func send(_ notification: BdevNotification) {
        for queue in queues { queue.append(notification) }
    }

    func finish() {
        for queue in queues { queue.finish() }
        state.withLock { $0.isFinished = true }
    }

    private var queues: [NotificationQueue] { state.withLock { $0.entries.compactMap(\.queue) } }
}

extension BdevEngine {
    /// What happens to bdevs from now on: who asks for this first and for ``list()`` then misses nothing. From
    /// anywhere.
    public nonisolated var notifications: BdevNotifications { BdevNotifications(queue: hub.subscribe()) }
}
