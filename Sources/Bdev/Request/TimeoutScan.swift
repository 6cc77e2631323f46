public import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and only its thread, on which this runs, touches
// them; channels are compared by address while one of the two is alive.

/// An I/O that is not complete after the time its descriptor allows (``BdevDescriptor/setTimeout(_:onTimeout:)``).
public struct TimedOutIO: Sendable, CustomStringConvertible {
    /// The bdev's name.
    public let bdev: String
    public let type: IOType
    /// The first block.
    public let startBlock: UInt64
    public let blockCount: UInt64
    /// Since it was submitted, or since it no longer waits for somebody who held it up.
    public let age: Duration
    /// Where it was submitted, and where the handler is called.
    public let reactor: Reactor
    /// The number it was submitted with, of an I/O with a handler; otherwise without meaning.
    public let tag: UInt64
    /// The same in all calls for one I/O, and of no other one on this reactor that is outstanding at the same time.
    public let id: UInt64

    public var description: String {
        "\(type) of \(blockCount) blocks at block \(startBlock) of '\(bdev)' on \(reactor.name), for \(age) so far"
    }
}

/// What a descriptor allows its I/Os, and who is told of those that take longer.
struct TimeoutRule: Sendable {
    let limit: Duration
    let handler: @Sendable (TimedOutIO) -> Void
}

/// A slot, and what it was in use for.
@safe private struct SlotInUse {
    let slot: Slot
    let submitTick: UInt64
    private let generation: UInt16

    init(_ slot: Slot) {
        unsafe self.slot = slot
        unsafe submitTick = slot.pointee.submitTick
        unsafe generation = slot.pointee.generation
    }

    var isOutstanding: Bool { unsafe slot.pointee.generation == generation && slot.pointee.phase != .done }
}

/// Looks every second for I/Os of one channel that take too long. On its reactor.
final class TimeoutScan: Poller {
    private static let period = Duration.seconds(1)
    private weak var channel: EngineChannel?
    private let core: ChannelCore
    private let rule: TimeoutRule
    private let limit: UInt64

    init(_ channel: EngineChannel, _ rule: TimeoutRule) {
        self.channel = channel
        core = channel.core
        self.rule = rule
        limit = core.clock.ticks(rule.limit)
        super.init(name: "bdev timeouts")
        core.loop.add(self, period: Self.period)
    }

    func end() { core.loop.remove(self) }

    override func poll() -> PollResult {
        // A channel that nobody closed is gone.
        guard let channel else {
            end()
            return .idle
        }
        let now = core.clock.now()
        let late = outstanding(of: channel).filter { now &- $0.submitTick >= limit }
        // A handler may end others, and this scan.
        for io in late.sorted(by: { $0.submitTick < $1.submitTick }) where isRegistered && io.isOutstanding {
            unsafe rule.handler(describe(io.slot, now))
        }
        return .idle
    }

    /// Parts of I/Os are of no channel.
    private func outstanding(of channel: EngineChannel) -> [SlotInUse] {
        var found: [SlotInUse] = []
        unsafe core.forEachOutstanding { slot in
            let owner = unsafe slot.pointee.channel?.toOpaque()
            if unsafe owner == Unmanaged.passUnretained(channel).toOpaque() { unsafe found.append(SlotInUse(slot)) }
        }
        return found
    }

    private func describe(_ slot: Slot, _ now: UInt64) -> TimedOutIO {
        unsafe TimedOutIO(
            bdev: core.bdev.name, type: slot.pointee.type, startBlock: slot.pointee.startBlock,
            blockCount: slot.pointee.blockCount, age: core.clock.duration(ticks: now &- slot.pointee.submitTick),
            reactor: core.pool.reactor, tag: slot.pointee.tag,
            id: UInt64(slot.pointee.index) | UInt64(slot.pointee.generation) << 32)
    }
}

extension EngineChannel {
    /// Obeys `rule` in the place of the one before; nil: there is no limit. A closed channel has no I/O.
    func watch(_ rule: TimeoutRule?) {
        timeoutScan?.end()
        timeoutScan = rule.flatMap { isClosed && inFlight == 0 ? nil : TimeoutScan(self, $0) }
    }
}

extension BdevChannel {
    /// Follows its descriptor, whose limit has changed.
    func adoptTimeout() { parts.face.watch(descriptor.timeout) }
}

extension BdevDescriptor {
    /// Has `onTimeout` called for each I/O of this descriptor that is not complete within `limit`, and again each
    /// second until it is (SPDK: `spdk_bdev_set_timeout`). Takes the place of the limit before; nil ends it.
    ///
    /// All channels of the descriptor are looked through once a second, so an I/O is reported up to a second late.
    /// Those reported are what the user submitted, resets among them, also while they wait in the layer; not the parts
    /// that the layer made of them. `onTimeout` runs on the I/O's reactor, oldest I/O first, between the reactor's
    /// other jobs, and must not block. It is called until the channel has been closed, which waits for its I/O. Nothing
    /// is done to the I/O.
    ///
    /// Cost: nothing for an I/O; once a second a look at each request of each reactor with a channel.
    ///
    /// - Parameters:
    ///   - limit: more than 0.
    ///   - onTimeout: is told of each I/O.
    /// - Throws: `closed`; `invalidArgument` for a limit of 0 or less.
    public func setTimeout(
        _ limit: Duration?, onTimeout: @escaping @Sendable (TimedOutIO) -> Void = { _ in }
    ) async throws(BdevError) {
        if let limit, limit <= .zero {
            throw BdevError(
                .invalidArgument, bdev: name, "cannot allow an I/O \(limit)",
                advice: "use more than 0, or nil for no limit")
        }
        for channel in try change(timeout: limit.map { TimeoutRule(limit: $0, handler: onTimeout) }) {
            await channel.adoptTimeout()
        }
    }
}
