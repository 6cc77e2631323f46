public import Reactors

/// A bdev that a module makes on another, its *base*.
public struct StackedBdev: Sendable {
    public var properties: BdevProperties
    public var driver: any BdevDriver
    /// How many blocks it has when its base has so many; nil: it keeps its size when the base is resized.
    public var blockCount: (@Sendable (UInt64) -> UInt64)?

    /// - Parameters:
    ///   - properties: what it is; see ``BdevProperties/init(name:passingOnTo:productName:)``.
    ///   - driver: what does its I/O. It may keep the base's descriptor, which stays open until the driver has been
    ///     destroyed, and does not close it.
    ///   - blockCount: as the property.
    public init(
        _ properties: BdevProperties, driver: any BdevDriver, blockCount: (@Sendable (UInt64) -> UInt64)? = { $0 }
    ) {
        self.properties = properties
        self.driver = driver
        self.blockCount = blockCount
    }
}

/// A module whose bdevs stand on one other bdev each. What is left to write is a method that calls
/// ``StackedBdevs/create(_:on:make:)``, and the driver: see <doc:WritingAVirtualModule>.
public protocol StackedBdevModule: VirtualBdevModule {
    /// A new one, in a stored property.
    var stacked: StackedBdevs { get }
}

extension StackedBdevModule {
    public func start(_ host: BdevModuleHost) async throws(BdevError) { stacked.start(host) }

    public func examineConfiguration(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {
        try await stacked.examine(bdev)
    }

    public func willStop() async { await stacked.stop() }
}

/// A channel over the base's on the same reactor: hands everything on. Subclass it and override `submit`, and for
/// requests forwarded with `observed: true` ``BdevModuleChannel/forwardCompleted(_:_:)``.
open class StackedChannel: BdevModuleChannel {
    /// The bdev below.
    public final let base: EngineChannel
    private let channel: BdevChannel

    /// Takes `channel` over: it is closed with this one.
    public init(over channel: BdevChannel, on local: isolated LocalReactor) {
        self.channel = channel
        base = local.engine(of: channel)
        base.isOfModule = true
        super.init()
    }

    open override func submit(_ request: consuming IORequest) { base.forward(request) }

    /// An override calls this last.
    open override func close() async { await channel.close() }

    /// Memory for a copy of a request's data; nil when none is free: complete the request with `.noMemory` then, and
    /// it comes again. Called on the reactor.
    public final func allocateBuffer(byteCount: Int) -> IOBuffer? {
        base.core.loop.allocateBuffer(byteCount: byteCount)
    }
}

/// The channels of one bdev on all reactors, for what concerns all of them: a reset, a setting. Kept by its driver.
public final class ModuleChannels<Channel: BdevModuleChannel>: Sendable {
    private struct Entry: Sendable {
        let reactor: Reactor
        let channel: ReactorConfined<Channel>
    }

    private let entries = ThreadLock<[Entry]>([])

    public init() {}

    /// Adds a channel of this reactor.
    public func add(_ channel: Channel, on local: isolated LocalReactor) {
        let entry = Entry(reactor: local.reactor, channel: ReactorConfined(channel))
        entries.withLock { $0.append(entry) }
    }

    /// Takes a channel out. Called on its reactor, when it is closed.
    public func remove(_ channel: Channel) {
        let channel = ReactorConfined(channel)
        entries.withLock { entries in entries.removeAll { $0.channel.value === channel.value } }
    }

    /// Calls `body` with each channel, on its reactor, one after another. Those that are closed meanwhile are left out.
    public func visit(_ body: @Sendable (isolated LocalReactor, Channel) -> Void) async {
        for entry in entries.withLock({ $0 }) {
            await entry.reactor.run { local in
                if contains(entry) { body(local, entry.channel.value) }
            }
        }
    }

    private func contains(_ entry: Entry) -> Bool {
        entries.withLock { entries in entries.contains { $0.channel.value === entry.channel.value } }
    }
}

extension BdevDescriptor {
    /// The bdev's UUID.
    public var uuid: BdevUUID { bdev.uuid }
    /// What the bdev does itself, without the layer's help.
    public var nativeTypes: IOTypes { bdev.supportedTypes }
}

extension IOTypes {
    /// Commands of an NVMe device, into which the layer does not look: what changes blocks, or knows where they are,
    /// cannot hand them on.
    public static let nvmeCommands: IOTypes = [
        .nvmeAdmin, .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector, .nvmeSubsystemReset,
    ]
}
