public import Bdev
import Reactors

/// Makes bdevs that keep nothing: writes are discarded, reads return whatever is in the buffer. For measuring
/// everything around them.
///
/// With protection information in the blocks, what is written is checked, and what is read has it.
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
        /// Bytes of data in a block: a multiple of 512.
        public var blockByteCount = 512
        /// nil: the blocks have none. Always interleaved.
        public var metadata: BlockMetadata?
        /// A multiple of 512; 0: as many bytes as a block has data.
        public var physicalBlockByteCount = 0
        /// What the bdev says would suit it best.
        public var preferences = IOPreferences()
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
    /// - Throws: `invalidGeometry` for impossible sizes, or metadata that is not interleaved; `nameInUse`.
    public func create(_ options: Options) async throws(BdevError) {
        var geometry = try BdevGeometry(
            of: "a null bdev", name: options.name, dataByteCount: options.blockByteCount,
            blockCount: options.blockCount, metadata: options.metadata,
            physicalBlockByteCount: options.physicalBlockByteCount)
        if let metadata = options.metadata, !metadata.isInterleaved {
            throw BdevError(
                .invalidGeometry, bdev: options.name, "cannot make a null bdev with metadata apart from the data",
                advice: "let the metadata be interleaved")
        }
        geometry.preferences = options.preferences
        var properties = BdevProperties(
            name: options.name, productName: "Null disk", geometry: geometry,
            supportedTypes: [.read, .write, .writeZeroes, .reset, .abort])
        properties.uuid = options.uuid
        try await host.value.register(
            properties,
            driver: NullDriver(geometry.blockProtection, completesFromPoller: options.completesFromPoller))
    }

    /// Gives a null bdev another size. It grows at any time, and shrinks while nobody has it open.
    ///
    /// - Throws: `noSuchBdev` when there is no null bdev of this name, `busy` when it would shrink under somebody,
    ///   `invalidGeometry` for no blocks or more than 2^64 bytes.
    public func resize(_ name: String, blockCount: UInt64) async throws(BdevError) {
        try await host.value.resize(name, blockCount: blockCount)
    }

    /// Removes a null bdev. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when there is no null bdev of this name.
    public func delete(_ name: String) async throws(BdevError) { try await host.value.unregister(name) }
}

private final class NullDriver: BdevDriver {
    private let protection: BlockProtection?
    private let completesFromPoller: Bool

    init(_ protection: BlockProtection?, completesFromPoller: Bool) {
        self.protection = protection
        self.completesFromPoller = completesFromPoller
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        if completesFromPoller { return ParkedNullChannel(protection, on: local, requests) }
        if let protection { return ProtectedNullChannel(protection) }
        return NullChannel()
    }
}
