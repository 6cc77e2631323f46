public import Bdev
import Reactors

/// Makes bdevs that are slower than their bases: what a read or write has come to is told after a latency. One I/O in a
/// hundred, chosen at random, takes another, longer one.
public final class DelayModule: StackedBdevModule {
    public let name = "delay"
    public let stacked = StackedBdevs()

    public init() {}

    /// Which I/O a latency is of.
    public enum LatencyKind: Int, Sendable, Hashable, CaseIterable {
        case averageRead
        /// Of one read in a hundred.
        case p99Read
        case averageWrite
        /// Of one write in a hundred.
        case p99Write
    }

    /// How a delay bdev is made.
    public struct Options: Sendable {
        public var name: String
        /// A name, an alias or a UUID.
        public var base: String
        /// nil: one that follows from the base's.
        public var uuid: BdevUUID?
        /// What is added to the time the base takes. At most a day; the p99 of a direction is at least its average.
        public var averageRead = Duration.zero
        public var p99Read = Duration.zero
        public var averageWrite = Duration.zero
        public var p99Write = Duration.zero
        /// Each I/O takes so much more or less than its latency, evenly spread; never less than nothing.
        public var jitter = Duration.zero
        /// Which I/O are the slow ones, and what jitter adds, follows from it; nil: from the reactor's randomness.
        public var seed: UInt64?

        public init(name: String, base: String) {
            self.name = name
            self.base = base
        }

        func latency(_ kind: LatencyKind) -> Duration {
            switch kind {
            case .averageRead: averageRead
            case .p99Read: p99Read
            case .averageWrite: averageWrite
            case .p99Write: p99Write
            }
        }
    }

    /// Makes a slower bdev: now if the base is there, or whenever it comes.
    ///
    /// - Returns: whether the bdev is there now.
    /// - Throws: `invalidArgument` for a latency out of range or a p99 below its average; as
    ///   `StackedBdevs.create(_:on:make:)`.
    @discardableResult
    public func create(_ options: Options) async throws(BdevError) -> Bool {
        let settings = try DelaySettings(options)
        return try await stacked.create(options.name, on: options.base) { base throws(BdevError) in
            var properties = BdevProperties(name: options.name, passingOnTo: base, productName: "delay")
            properties.uuid = options.uuid ?? BdevUUID(of: "delay", in: base.uuid)
            return [StackedBdev(properties, driver: DelayDriver(base, settings))]
        }
    }

    /// Changes a latency. I/O that waits already keeps the one it has.
    ///
    /// - Throws: `noSuchBdev` when no such bdev is there, `invalidArgument` when the latency is out of range or a p99
    ///   would be below its average.
    public func setLatency(_ kind: LatencyKind, of name: String, to latency: Duration) async throws(BdevError) {
        try await stacked.driver(of: name, as: DelayDriver.self).settings.set(kind, to: latency, name)
    }

    /// Removes a bdev, and forgets one that waits for its base. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when this module has not been asked for any of that name, `busy` when it is being deleted
    ///   already.
    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }
}

private final class DelayDriver: BdevDriver {
    let settings: DelaySettings
    private let base: BdevDescriptor
    private let channels = ModuleChannels<DelayChannel>()

    init(_ base: BdevDescriptor, _ settings: DelaySettings) {
        self.base = base
        self.settings = settings
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let below = try await base.channel(on: local.reactor)
        let channel = DelayChannel(over: below, on: local, requests: requests, settings, channels)
        channels.add(channel, on: local)
        return channel
    }

    /// Latencies are in microseconds.
    func details() async -> [String: DriverValue] {
        func latency(_ kind: DelayModule.LatencyKind) -> DriverValue { .number(settings.latency(kind) / 1000) }
        return [
            "delay": .fields([
                "base_bdev_name": .text(base.name), "avg_read_latency": latency(.averageRead),
                "p99_read_latency": latency(.p99Read), "avg_write_latency": latency(.averageWrite),
                "p99_write_latency": latency(.p99Write),
            ])
        ]
    }
}
