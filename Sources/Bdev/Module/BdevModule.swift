public import Reactors

/// A kind of bdev: null, RAM disk, file. Registered with an engine, which starts and stops it.
public protocol BdevModule: AnyObject, Sendable {
    /// What errors and statistics call it; one module of a name in an engine.
    var name: String { get }
    /// Called once, when the engine takes the module in, on the engine's reactor. Bdevs may be registered through
    /// `host` from here on.
    func start(_ host: BdevModuleHost) async throws(BdevError)
    /// Called once, after every bdev of the module is gone, on the engine's reactor.
    func stop() async
}

extension BdevModule {
    public func stop() async {}
}

/// What a module asks of its engine.
public struct BdevModuleHost: Sendable {
    public let engine: BdevEngine
    let module: String

    /// Makes a bdev known under its name. Visible to others only when this returns.
    ///
    /// - Throws: `nameInUse`, `invalidGeometry`, `invalidArgument` for an empty name; nothing is left behind then.
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
    /// The last call: no channel is left and nobody has it open. Gives back what the bdev held. On the engine's
    /// reactor.
    func destroy() async
}

extension BdevDriver {
    public func destroy() async {}
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
