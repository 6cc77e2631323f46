public import Reactors

/// An open bdev. Sendable: open it anywhere, take a channel on any reactor.
public final class BdevDescriptor: Sendable {
    /// What the descriptor may be used for.
    public enum Mode: Sendable, Hashable {
        case readOnly
        case readWrite
    }

    let bdev: RegisteredBdev
    public let mode: Mode
    private let state = ThreadLock(State())

    private struct State {
        var channels: [BdevChannel] = []
        var isClosed = false
        var events: AsyncStream<BdevEvent>.Continuation?
    }

    init(bdev: RegisteredBdev, mode: Mode) {
        self.bdev = bdev
        self.mode = mode
    }

    /// The bdev's name.
    public var name: String { bdev.name }
    /// Bytes in a block.
    public var blockByteCount: Int { bdev.geometry.blockByteCount }
    /// Blocks on the bdev now.
    public var blockCount: UInt64 { bdev.blockCount }
    /// Sizes and limits as of now.
    public var geometry: BdevGeometry {
        var geometry = bdev.geometry
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
        if isClosed { throw BdevError(.closed, bdev: name, "cannot open a channel: the descriptor is closed") }
        if bdev.isRemoved { throw BdevError(.removed, bdev: name, "cannot open a channel: the bdev is being removed") }
        let channel = try await reactor.local.openChannel(self)
        let isLate = state.withLock { state in
            if !state.isClosed { state.channels.append(channel) }
            return state.isClosed
        }
        if isLate {
            await channel.close()
            throw BdevError(.closed, bdev: name, "cannot open a channel: the descriptor is closed")
        }
        return channel
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

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    // MARK: Closing

    /// Closes every channel, waiting for the I/O in flight, and lets go of the bdev. Calling it again does nothing.
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
        await bdev.didClose(self)
    }

    // MARK: Events

    /// What happens to the bdev while it is open. One consumer; a second call ends the first one's stream. Ends when
    /// the descriptor is closed.
    public var events: AsyncStream<BdevEvent> {
        AsyncStream { continuation in
            state.withLock { state in
                state.events?.finish()
                if state.isClosed { continuation.finish() } else { state.events = continuation }
            }
        }
    }

    func bdevWillBeRemoved() { _ = state.withLock { $0.events?.yield(.removed) } }
    func bdevWasResized(to blockCount: UInt64) {
        _ = state.withLock { $0.events?.yield(.resized(blockCount: blockCount)) }
    }
}

/// What may happen to an open bdev. More may be added.
public enum BdevEvent: Sendable, Hashable {
    /// It is being removed: close the descriptor, or the removal waits for ever.
    case removed
    /// It has this many blocks now.
    case resized(blockCount: UInt64)
}
