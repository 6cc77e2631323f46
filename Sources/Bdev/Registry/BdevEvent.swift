import Reactors

/// What may happen to an open bdev. More may be added.
public enum BdevEvent: Sendable, Hashable {
    /// It is being removed: close the descriptor, or the removal waits for ever.
    case removed
    /// It has this many blocks now.
    case resized(blockCount: UInt64)
    /// The device asks that what lies in these blocks be moved or rewritten. Told to one descriptor only, the first of
    /// those that may write.
    case mediaManagement([MediaEvent])
}

/// A stretch of blocks that a device has something to say about (SPDK: `spdk_bdev_media_event`).
public struct MediaEvent: Sendable, Hashable {
    public var startBlock: UInt64
    public var blockCount: UInt64

    public init(startBlock: UInt64, blockCount: UInt64) {
        self.startBlock = startBlock
        self.blockCount = blockCount
    }
}

/// The events of one descriptor, for one consumer. Ends when the descriptor is closed; what has happened and was not
/// looked at by then is not told any more.
public struct BdevEvents: AsyncSequence, Sendable {
    public typealias Element = BdevEvent
    public typealias Failure = Never

    let stream: AsyncStream<BdevEvent>
    let descriptor: BdevDescriptor

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(base: stream.makeAsyncIterator(), descriptor: descriptor)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        var base: AsyncStream<BdevEvent>.AsyncIterator
        let descriptor: BdevDescriptor

        /// Cancellation ends the sequence.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> BdevEvent? {
            guard let event = await base.next(isolation: actor) else { return nil }
            return descriptor.mayDeliver(event) ? event : nil
        }

        public mutating func next() async -> BdevEvent? { await next(isolation: #isolation) }
    }
}

/// A synchronous handler and the reactor it runs on.
struct EventListener: Sendable {
    let reactor: Reactor
    let body: @Sendable (isolated LocalReactor, BdevEvent) -> Void

    /// Sends `event` there. It is dropped if the descriptor is closed when it arrives.
    func send(_ event: BdevEvent, of descriptor: BdevDescriptor) {
        reactor.post { local in
            if descriptor.mayDeliver(event) { local.assumeIsolated { body($0, event) } }
        }
    }
}

extension BdevModuleHost {
    /// Tells the first descriptor that may write of a bdev of this module's that its device wants blocks moved.
    ///
    /// A descriptor has at most 64 of them under way: told and not yet taken by its handler or its events' consumer.
    ///
    /// - Returns: how many of `events`, from the front, were taken: 0 when the descriptor does not listen.
    /// - Throws: `noSuchBdev` when this module has none of that name, and when nobody has it open for writing.
    public func pushMediaEvents(_ events: [MediaEvent], of name: String) async throws(BdevError) -> Int {
        try await engine.pushMediaEvents(events, of: name, module: module)
    }
}
