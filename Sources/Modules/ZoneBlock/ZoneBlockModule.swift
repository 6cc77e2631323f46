public import Bdev
import Reactors

/// Makes bdevs with zones out of bdevs without: for trying out what is written for zoned storage.
///
/// The zones follow the state machine of the Zoned Namespace Command Set Specification 1.1, section 2.1.1: written at
/// their write pointer only, by writes and appends of all reactors, opened by the first of them if nobody does. They
/// lie on the base where they lie here, and what they hold survives; what state they are in does not: a new bdev's
/// zones are all full, can be read, and are to be reset before they are written.
///
/// What is beyond a write pointer reads as the base has it: zeros after a reset, if the base zeroes what is unmapped. A
/// write that fails leaves the write pointer where it began, to be tried again, unless it has filled the zone or others
/// have got the blocks behind it meanwhile; its blocks hold anything then.
///
/// While a zone is being reset, what is to be written to it or done to it waits, in the layer and with it what comes
/// after it on the same reactor. Cost of a write: two atomic operations on its zone's word.
public final class ZoneBlockModule: StackedBdevModule {
    public let name = "zone_block"
    /// The block a write begins at.
    public let requestScratchByteCount = 8
    public let stacked = StackedBdevs()

    public init() {}

    /// How a bdev with zones is made.
    public struct Options: Sendable {
        public var name: String
        /// The bdev it is made of: its name, an alias or its UUID. It has no zones itself, and nobody else writes to
        /// it.
        public var base: String
        /// Blocks that can be written in each zone: at least 1. Zones begin at multiples of the next power of two.
        public var zoneCapacity: UInt64
        /// How many open zones are best, for whoever asks: at least 1.
        public var optimalOpenCount: Int
        /// The most zones that may be open at once; 0 for no limit.
        public var openLimit = 0
        /// The most zones that may be open or closed at once; 0 for no limit. Not less than `openLimit`.
        public var activeLimit = 0
        /// nil: a random one.
        public var uuid: BdevUUID?

        public init(name: String, base: String, zoneCapacity: UInt64, optimalOpenCount: Int = 1) {
            self.name = name
            self.base = base
            self.zoneCapacity = zoneCapacity
            self.optimalOpenCount = optimalOpenCount
        }
    }

    /// Makes a bdev with zones. What does not fill a zone at the end of the base is not used; a base that grows later
    /// makes no further zones. When the base is removed, the bdev is: one that comes back knows nothing of its zones.
    ///
    /// - Throws: `invalidArgument` for impossible options and a base that has zones, `invalidGeometry` for a base
    ///   smaller than a zone; as `StackedBdevs.createOnce(_:on:make:)`.
    public func create(_ options: Options) async throws(BdevError) {
        try Self.check(options)
        try await stacked.createOnce(options.name, on: options.base) { base throws(BdevError) in
            let table = try Self.makeTable(options, base)
            let driver = ZoneBlockDriver(base, table)
            return [StackedBdev(Self.properties(options, base, table), driver: driver, blockCount: nil)]
        }
    }

    /// Removes a bdev. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when this module has none of that name, `busy` when it is on its way out already.
    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }

    private static func check(_ options: Options) throws(BdevError) {
        func refuse(_ what: String, _ advice: String) -> BdevError {
            BdevError(.invalidArgument, bdev: options.name, "cannot make zones \(what)", advice: advice)
        }
        if options.zoneCapacity == 0 || options.zoneCapacity > ZoneWord.offsetLimit >> 1 {
            throw refuse(
                "of \(options.zoneCapacity) blocks", "use a capacity of 1 to \(ZoneWord.offsetLimit >> 1) blocks")
        }
        if options.optimalOpenCount <= 0 {
            throw refuse("of which \(options.optimalOpenCount) are best open", "use at least 1")
        }
        if options.openLimit < 0 || options.activeLimit < 0 {
            throw refuse("of which less than none may be open or active", "use 0 for no limit")
        }
        if options.activeLimit > 0 && options.openLimit > options.activeLimit {
            throw refuse(
                "of which \(options.openLimit) may be open and \(options.activeLimit) active",
                "an open zone is active: let the second be no less than the first")
        }
    }

    private static func makeTable(_ options: Options, _ base: BdevDescriptor) throws(BdevError) -> ZoneTable {
        if base.geometry.zones != nil {
            throw BdevError(.invalidArgument, bdev: options.name, "cannot make zones of \(base.name): it has zones")
        }
        let size = nextPowerOfTwo(options.zoneCapacity)
        let count = base.blockCount / size
        if count == 0 {
            throw BdevError(
                .invalidGeometry, bdev: options.name,
                "\(base.name) has \(base.blockCount) blocks, less than a zone of \(size)",
                advice: "use smaller zones or a larger bdev")
        }
        guard let count = Int32(exactly: count) else {
            throw BdevError(
                .invalidGeometry, bdev: options.name, "\(base.name) has \(count) zones of \(size) blocks, too many",
                advice: "use larger zones")
        }
        return ZoneTable(
            count: Int(count), zoneBlockCount: size, capacity: options.zoneCapacity, openLimit: options.openLimit,
            activeLimit: options.activeLimit)
    }

    private static func nextPowerOfTwo(_ value: UInt64) -> UInt64 { 1 << UInt64(64 - (value - 1).leadingZeroBitCount) }

    private static func properties(_ options: Options, _ base: BdevDescriptor, _ table: ZoneTable) -> BdevProperties {
        var properties = BdevProperties(name: options.name, passingOnTo: base, productName: "zone_block")
        var zones = ZoneGeometry(blockCount: table.zoneBlockCount)
        zones.openLimit = options.openLimit
        zones.activeLimit = options.activeLimit
        zones.optimalOpenCount = options.optimalOpenCount
        properties.geometry.zones = zones
        properties.geometry.blockCount = UInt64(table.count) * table.zoneBlockCount
        properties.uuid = options.uuid
        // Only what keeps to the write pointers; zeroes are written there as data is.
        var types: IOTypes = [.read, .write, .zoneAppend, .zoneManagement, .zoneInfo]
        for type in [IOType.writeZeroes, .flush, .reset, .compare] where base.supportsNatively(type) {
            types.insert(IOTypes(type))
        }
        properties.supportedTypes = types
        return properties
    }
}

private final class ZoneBlockDriver: BdevDriver {
    private let base: BdevDescriptor
    private let table: ZoneTable

    init(_ base: BdevDescriptor, _ table: ZoneTable) {
        self.base = base
        self.table = table
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = try await base.channel(on: local.reactor)
        return ZoneBlockChannel(
            table, unmaps: base.supportsNatively(.unmap), on: local, below: channel, requests: requests)
    }
}
