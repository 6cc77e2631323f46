public import Bdev
import Reactors

/// Makes bdevs that keep nothing: writes are discarded, reads return whatever is in the buffer. For measuring
/// everything around them.
public final class NullModule: BdevModule {
    public let name = "null"
    private let host = HostSlot()

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    /// How a null bdev is made.
    public struct Options: Sendable {
        public var name: String
        /// At least 1.
        public var blockCount: UInt64
        /// In bytes: a multiple of 512.
        public var blockByteCount = 512
        /// nil: a random one.
        public var uuid: BdevUUID?
        /// Requests wait for the reactor's next turn instead of completing at once, as a device's would.
        public var completesFromPoller = false

        public init(name: String, blockCount: UInt64) {
            self.name = name
            self.blockCount = blockCount
        }
    }

    /// Makes a null bdev.
    ///
    /// - Throws: `invalidGeometry` for impossible sizes, `nameInUse`.
    public func create(_ options: Options) async throws(BdevError) {
        if options.blockByteCount <= 0 || options.blockByteCount % 512 != 0 {
            throw BdevError(
                .invalidGeometry, bdev: options.name,
                "cannot make a null bdev with blocks of \(options.blockByteCount) bytes",
                advice: "use a multiple of 512")
        }
        var properties = BdevProperties(
            name: options.name, productName: "Null disk",
            geometry: BdevGeometry(blockByteCount: options.blockByteCount, blockCount: options.blockCount),
            supportedTypes: [.read, .write, .writeZeroes, .reset])
        properties.uuid = options.uuid
        try await host.value.register(properties, driver: NullDriver(completesFromPoller: options.completesFromPoller))
    }

    /// Removes a null bdev. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when there is no null bdev of this name.
    public func delete(_ name: String) async throws(BdevError) { try await host.value.unregister(name) }
}

private final class NullDriver: BdevDriver {
    private let completesFromPoller: Bool

    init(completesFromPoller: Bool) { self.completesFromPoller = completesFromPoller }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        if !completesFromPoller { return NullChannel() }
        let poller = NullPoller()
        local.add(poller)
        return ParkedNullChannel(poller: poller, local: local)
    }
}

/// Completes inside the submit.
private final class NullChannel: BdevModuleChannel {
    override func submit(_ request: consuming IORequest) { request.complete() }
}

/// Completes in the next turn.
private final class ParkedNullChannel: BdevModuleChannel {
    private let poller: NullPoller
    private let remove: () -> Void

    init(poller: NullPoller, local: isolated LocalReactor) {
        self.poller = poller
        remove = { [loop = local.loop] in loop.remove(poller) }
    }

    override func submit(_ request: consuming IORequest) { poller.waiting.append(request) }
    override func close() async { remove() }
}

private final class NullPoller: Poller {
    let waiting = RequestQueue()
    private let batch = RequestQueue()

    init() { super.init(name: "null") }

    override func poll() -> PollResult {
        if waiting.isEmpty { return .idle }
        batch.takeAll(from: waiting)
        while let request = batch.popFirst() { request.complete() }
        return .busy
    }
}
