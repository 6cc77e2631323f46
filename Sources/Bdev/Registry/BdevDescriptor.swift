public import Reactors

/// An open bdev. Sendable: open it anywhere, take a channel on any reactor.
public final class BdevDescriptor: Sendable {
    /// What the descriptor may be used for.
    public enum Mode: Sendable, Hashable {
        case readOnly
        case readWrite
    }

    let bdev: RegisteredBdev
    /// Whether it shows data only: the layer makes the protection information and checks it.
    public let hidesMetadata: Bool
    private let listener: EventListener?
    private let state: ThreadLock<State>

    private struct State {
        var mode: Mode
        var channels: [BdevChannel] = []
        /// Channels that are being made.
        var openingCount = 0
        var isClosed = false
        var events: AsyncStream<BdevEvent>.Continuation?
        /// Told, and taken by nobody yet.
        var mediaEventCount = 0
        var timeout: TimeoutRule?
    }

    /// The most media events that are under way to one descriptor.
    private static let mediaEventLimit = 64

    init(bdev: RegisteredBdev, mode: Mode, listener: EventListener? = nil, hidesMetadata: Bool = false) {
        self.bdev = bdev
        self.hidesMetadata = hidesMetadata
        self.listener = listener
        state = ThreadLock(State(mode: mode))
    }

    /// What it may be used for now: a claim can make a read-only descriptor writable.
    public var mode: Mode { state.withLock { $0.mode } }
    /// The bdev's name.
    public var name: String { bdev.name }
    /// Bytes in a block.
    public var blockByteCount: Int { geometry.blockByteCount }
    /// Blocks on the bdev now.
    public var blockCount: UInt64 { bdev.blockCount }
    /// Sizes and limits as of now.
    public var geometry: BdevGeometry {
        var geometry = hidesMetadata ? bdev.geometry.withoutMetadata : bdev.geometry
        geometry.blockCount = bdev.blockCount
        return geometry
    }
    /// Whether the bdev does this kind of I/O, itself or with the layer's help.
    public func supports(_ type: IOType) -> Bool { bdev.supportedTypes.withEmulated.contains(type) }
    /// Whether the bdev itself does this kind of I/O, without the layer's help.
    public func supportsNatively(_ type: IOType) -> Bool { bdev.supportedTypes.contains(type) }

    // MARK: Channels

    /// A channel on `reactor`. Close it when done; closing the descriptor closes it too.
    ///
    /// Cost: control work. Keep the channel; do not open one for each I/O.
    ///
    /// - Throws: `closed`, `removed`, and what the module's `makeChannel` throws.
    public func channel(on reactor: Reactor) async throws(BdevError) -> BdevChannel {
        if bdev.isRemoved && !isClosed {
            throw BdevError(.removed, bdev: name, "cannot open a channel: the bdev is being removed")
        }
        try beginOpening()
        let channel: BdevChannel
        do throws(BdevError) {
            channel = try await reactor.local.openChannel(self)
        } catch {
            await endOpening()
            throw error
        }
        let isLate = state.withLock { state in
            if !state.isClosed { state.channels.append(channel) }
            return state.isClosed
        }
        if isLate { await channel.close() }
        await endOpening()
        if isLate { throw refuseClosed() }
        // A claim may have made the descriptor writable after the channel was made and before it was listed.
        await channel.adoptMode()
        if timeout != nil { await channel.adoptTimeout() }
        return channel
    }

    /// Channels that are being made.
    var openingCount: Int { state.withLock { $0.openingCount } }

    private func beginOpening() throws(BdevError) {
        let isClosed = state.withLock { state in
            if !state.isClosed { state.openingCount += 1 }
            return state.isClosed
        }
        if isClosed { throw refuseClosed() }
    }

    private func endOpening() async {
        let isLate = state.withLock { state in
            state.openingCount -= 1
            return state.isClosed
        }
        if isLate { await bdev.lateOpeningEnded() }
    }

    private func refuseClosed() -> BdevError {
        BdevError(.closed, bdev: name, "cannot open a channel: the descriptor is closed")
    }

    /// Runs `body` on `reactor` with a channel there, and closes the channel afterwards.
    ///
    /// Inside, `channel` is isolated: its async calls do not hop, and its synchronous face can be used without `await`.
    public func withChannel<Result: Sendable>(
        on reactor: Reactor, _ body: @Sendable (isolated BdevChannel) async throws -> Result
    ) async throws -> Result {
        let channel = try await channel(on: reactor)
        do {
            let result = try await channel.perform(body)
            await channel.close()
            return result
        } catch {
            await channel.close()
            throw error
        }
    }

    func forget(_ channel: BdevChannel) {
        state.withLock { state in state.channels.removeAll { $0 === channel } }
    }

    /// Makes it writable. Its channels, which have to follow.
    func promote() -> [BdevChannel] {
        state.withLock { state in
            if state.mode == .readWrite { return [] }
            state.mode = .readWrite
            return state.channels
        }
    }

    /// What its I/Os are allowed; nil: any time.
    var timeout: TimeoutRule? { state.withLock { $0.timeout } }

    /// The channels that have to follow.
    func change(timeout: TimeoutRule?) throws(BdevError) -> [BdevChannel] {
        let channels: [BdevChannel]? = state.withLock { state in
            if state.isClosed { return nil }
            state.timeout = timeout
            return state.channels
        }
        if let channels { return channels }
        throw BdevError(.closed, bdev: name, "cannot set a timeout: the descriptor is closed")
    }

    // MARK: Closing

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Closes every channel, waiting for the I/O in flight and for channels that are being made, ends a claim and lets
    /// go of the bdev. Calling it again does nothing. No event is told after it returns.
    public func close() async {
        let channels: [BdevChannel]? = state.withLock { state in
            if state.isClosed { return nil }
            state.isClosed = true
            state.events?.finish()
            defer { state.channels = [] }
            return state.channels
        }
        guard let channels else { return }
        for channel in channels { await channel.close() }
        // The handler may be running there now.
        if let listener { await listener.reactor.run { _ in } }
        await bdev.didClose(self)
    }

    // MARK: Events

    /// What happens to the bdev while it is open. One consumer; a second call ends the first one's stream. Ends when
    /// the descriptor is closed.
    public var events: BdevEvents {
        let stream = AsyncStream<BdevEvent> { continuation in
            state.withLock { state in
                state.events?.finish()
                if listener == nil { state.mediaEventCount = 0 }
                if state.isClosed { continuation.finish() } else { state.events = continuation }
            }
        }
        return BdevEvents(stream: stream, descriptor: self)
    }

    /// Tells those who listen.
    func send(_ event: BdevEvent) {
        let isClosed = state.withLock { state in
            if !state.isClosed { state.events?.yield(event) }
            return state.isClosed
        }
        if !isClosed { listener?.send(event, of: self) }
    }

    /// Tells the handler, or where there is none the consumer, of as many of `events` as there is room for. How many.
    func sendMedia(_ events: [MediaEvent]) -> Int {
        let count = state.withLock { state in
            if state.isClosed || (listener == nil && state.events == nil) { return 0 }
            let count = min(events.count, Self.mediaEventLimit - state.mediaEventCount)
            state.mediaEventCount += count
            if count > 0, listener == nil { state.events?.yield(.mediaManagement(Array(events.prefix(count)))) }
            return count
        }
        if count > 0 { listener?.send(.mediaManagement(Array(events.prefix(count))), of: self) }
        return count
    }

    /// An event has come to where it is looked at: false when it is too late for it.
    func mayDeliver(_ event: BdevEvent) -> Bool {
        state.withLock { state in
            if case .mediaManagement(let list) = event {
                state.mediaEventCount = max(0, state.mediaEventCount - list.count)
            }
            return !state.isClosed
        }
    }
}
