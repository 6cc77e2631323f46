public import Reactors

/// A kind of bdev: null, RAM disk, file. Registered with an engine, which starts and stops it.
///
/// All of it is called on the engine's reactor, and the engine holds nothing while it runs: a module may register,
/// remove, open and claim from inside.
public protocol BdevModule: AnyObject, Sendable {
    /// What errors and statistics call it; one module of a name in an engine.
    var name: String { get }
    /// Bytes that the module wants in every request for itself. Read once, before the first request.
    var requestScratchByteCount: Int { get }
    /// Called once, when the engine takes the module in. Bdevs may be registered through `host` from here on. What it
    /// did before it throws is its own to undo, but for bdevs it has registered: the engine removes them.
    func start(_ host: BdevModuleHost) async throws(BdevError)
    /// Called once, when all modules that are started together have been, and every examination is over (SPDK:
    /// `init_complete`).
    func startCompleted() async
    /// Called once, before any bdev is removed, in the reverse order of the starts (SPDK: `fini_start`). No bdev can be
    /// registered any more; a module that holds claims or descriptors for bdevs it has not made yet lets them go here.
    func willStop() async
    /// Called once, after every bdev of the module is gone, in the reverse order of the starts.
    func stop() async
}

extension BdevModule {
    public var requestScratchByteCount: Int { 0 }
    public func startCompleted() async {}
    public func willStop() async {}
    public func stop() async {}
}

/// A module whose bdevs stand on other bdevs: it is shown every bdev that can be read, and takes those it knows.
///
/// Started before the modules that are not virtual. A bdev that is there when the module starts is shown then.
public protocol VirtualBdevModule: BdevModule {
    /// Looks at what the bdev is: its name, UUID, sizes. No I/O; the module may open and claim the bdev, and register
    /// others on it. The first module to claim it has it.
    ///
    /// The bdev stays until this returns. What is thrown is logged, and keeps no other module from looking.
    func examineConfiguration(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError)
    /// Looks at what is on the bdev, in a task of its own; called after every module's
    /// ``examineConfiguration(_:host:)``, unless other modules than this one have claimed the bdev by then.
    ///
    /// The bdev is listed, and ``BdevEngine/waitForExamine()`` returns, when this has returned. What is thrown is
    /// logged.
    func examineDisk(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError)
}

extension VirtualBdevModule {
    public func examineConfiguration(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {}
    public func examineDisk(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {}
}

/// What a module asks of its engine.
public struct BdevModuleHost: Sendable {
    public let engine: BdevEngine
    let module: String

    /// Makes a bdev known under its name, and has it examined. Returns when every module's `examineConfiguration` has;
    /// the bdev is listed when their `examineDisk`s have as well.
    ///
    /// - Throws: `nameInUse`, `invalidGeometry`, `invalidArgument` for an empty name, `closed` when the engine or the
    ///   module is being stopped; nothing is left behind then.
    public func register(_ properties: BdevProperties, driver: any BdevDriver) async throws(BdevError) {
        try await engine.add(properties, driver: driver, module: module)
    }

    /// Takes a bdev of this module away: refuses new opens, tells those who have it open, waits until they have closed
    /// it.
    ///
    /// - Throws: `noSuchBdev` when this module has none of that name, `busy` when it is on its way out already.
    public func unregister(_ name: String) async throws(BdevError) {
        try await engine.remove(name, module: module)
    }

    /// Tells the engine and everyone who has the bdev open that it has another size now.
    ///
    /// - Throws: `noSuchBdev`; `busy` when it would shrink while somebody has it open.
    public func resize(_ name: String, blockCount: UInt64) async throws(BdevError) {
        try await engine.resize(name, module: module, blockCount: blockCount)
    }
}

/// What there is behind one bdev: made by a module, asked by the layer for a channel on each reactor that uses it.
public protocol BdevDriver: AnyObject, Sendable {
    /// The module's part of this bdev on one reactor. Called there, once for each reactor until its last user is gone.
    ///
    /// `requests` turns the tokens of detached requests back into requests.
    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel
    /// The bdev is going: no I/O comes any more, and those who have it open are about to be told. What would not end by
    /// itself is given up here. On the engine's reactor.
    func removalBegan() async
    /// The last call: no channel is left and nobody has it open. Gives back what the bdev held. On the engine's
    /// reactor.
    func destroy() async
    /// What there is to say about the bdev besides what every bdev has, by name (SPDK: `dump_info_json`). On the
    /// engine's reactor.
    func details() async -> [String: DriverValue]
    /// What the driver counts itself, by name (SPDK: `dump_device_stat_json`). On the engine's reactor.
    func statistics() async -> [String: DriverValue]
    /// Begins what the driver counts anew (SPDK: `reset_device_stat`). On the engine's reactor.
    func resetStatistics(_ reset: StatisticsReset) async
}

extension BdevDriver {
    public func removalBegan() async {}
    public func destroy() async {}
    public func details() async -> [String: DriverValue] { [:] }
    public func statistics() async -> [String: DriverValue] { [:] }
    public func resetStatistics(_ reset: StatisticsReset) async {}
}

/// Sixteen bytes that name a bdev wherever it goes.
public struct BdevUUID: Hashable, Sendable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    /// From 128 random bits; version and variant are set as RFC 9562, section 5.4 says.
    public init(random high: UInt64, _ low: UInt64) {
        self.high = high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        self.low = low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// From `8-4-4-4-12` hexadecimal digits, in either case; nil for anything else.
    public init?(_ text: String) {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        guard groups.map(\.count) == [8, 4, 4, 4, 12] else { return nil }
        let digits = groups.joined()
        guard digits.allSatisfy(\.isHexDigit), let high = UInt64(digits.prefix(16), radix: 16),
            let low = UInt64(digits.suffix(16), radix: 16)
        else { return nil }
        self.high = high
        self.low = low
    }

    /// `8-4-4-4-12` lower-case hexadecimal digits.
    public var description: String {
        func hex(_ value: UInt64, _ digits: Int) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
        }
        let first = hex(high, 16), second = hex(low, 16)
        let groups = [
            first.prefix(8), first.dropFirst(8).prefix(4), first.suffix(4), second.prefix(4), second.suffix(12),
        ]
        return groups.joined(separator: "-")
    }
}

/// What a bdev is: given when it is registered.
public struct BdevProperties: Sendable {
    /// Its name: not empty, used by no other bdev as a name or alias.
    public var name: String
    /// Further names.
    public var aliases: [String] = []
    /// nil: a random one is made. Its text is an alias.
    public var uuid: BdevUUID?
    /// What kind of thing it is, for people.
    public var productName: String
    public var geometry: BdevGeometry
    /// How long a reset waits for what the device has to end by itself; the device is not told of the reset then. Zero:
    /// not at all, the device is reset at once.
    public var resetDrainTimeout = Duration.zero
    /// What the module itself does. Write zeroes is offered wherever write is.
    public var supportedTypes: IOTypes

    public init(name: String, productName: String, geometry: BdevGeometry, supportedTypes: IOTypes) {
        self.name = name
        self.productName = productName
        self.geometry = geometry
        self.supportedTypes = supportedTypes
    }
}
