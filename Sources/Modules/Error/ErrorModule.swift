public import Bdev
import Reactors

/// Makes bdevs that fail when they are told to, and hand everything on otherwise: `EE_<base>`.
public final class ErrorModule: StackedBdevModule {
    public let name = "error"
    public let stacked = StackedBdevs()

    public init() {}

    /// The name of the bdev that is made on a base.
    public static func name(on base: String) -> String { "EE_\(base)" }

    /// Makes a bdev on `base`: now if the base is there, or whenever it comes.
    ///
    /// - Parameters:
    ///   - base: its name, an alias or its UUID.
    ///   - uuid: nil: one that follows from the base's.
    /// - Returns: whether the bdev is there now.
    /// - Throws: as `StackedBdevs.create(_:on:make:)`.
    @discardableResult
    public func create(on base: String, uuid: BdevUUID? = nil) async throws(BdevError) -> Bool {
        let name = Self.name(on: base)
        return try await stacked.create(name, on: base) { base throws(BdevError) in
            var properties = BdevProperties(name: name, passingOnTo: base, productName: "Error Injection Disk")
            properties.uuid = uuid ?? BdevUUID(of: "error", in: base.uuid)
            properties.supportedTypes = base.nativeTypes.subtracting(.nvmeCommands)
            return [StackedBdev(properties, driver: ErrorDriver(base))]
        }
    }

    /// Has I/O fail from now on, in place of what was injected before for the same operation and blocks.
    ///
    /// - Throws: `noSuchBdev` when no such bdev is there; `invalidArgument` for a count or queue depth below 0, a
    ///   corruption that inverts nothing, a status code type above 7.
    public func inject(_ injection: ErrorInjection, into name: String) async throws(BdevError) {
        func refuse(_ what: String) -> BdevError { BdevError(.invalidArgument, bdev: name, "cannot inject \(what)") }
        if injection.count < 0 { throw refuse("an error \(injection.count) times") }
        if injection.queueDepth < 0 { throw refuse("an error at a queue depth of \(injection.queueDepth)") }
        switch injection.effect {
        case .corruption(_, bits: 0): throw refuse("a corruption that inverts no bit")
        case .nvmeFailure(let type, _) where type > 7: throw refuse("an NVMe status of type \(type)")
        default: break
        }
        try await driver(of: name).plan.add(injection)
    }

    /// Ends all injections. I/O that is kept stays so.
    ///
    /// - Throws: `noSuchBdev` when no such bdev is there.
    public func clear(_ name: String) async throws(BdevError) { try await driver(of: name).plan.clear() }

    /// Lets I/O that is kept go on to the base, in the order it came on each reactor.
    ///
    /// - Throws: `noSuchBdev` when no such bdev is there.
    public func resumePending(of name: String) async throws(BdevError) {
        try await driver(of: name).channels.visit { _, channel in channel.resumePending() }
    }

    private func driver(of name: String) async throws(BdevError) -> ErrorDriver {
        try await stacked.driver(of: name, as: ErrorDriver.self)
    }

    /// Removes a bdev, and forgets one that waits for its base. Waits until everyone has closed it; I/O that is kept is
    /// given up.
    ///
    /// - Throws: `noSuchBdev` when this module has not been asked for any of that name, `busy` when it is being deleted
    ///   already.
    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }
}

private final class ErrorDriver: BdevDriver {
    let plan = ErrorPlan()
    let channels = ModuleChannels<ErrorChannel>()
    private let base: BdevDescriptor

    init(_ base: BdevDescriptor) { self.base = base }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let below = try await base.channel(on: local.reactor)
        let channel = ErrorChannel(over: below, on: local, requests: requests, plan, channels)
        channels.add(channel, on: local)
        return channel
    }

    func details() async -> [String: DriverValue] { ["error_disk": .text(base.name)] }

    func removalBegan() async { await channels.visit { _, channel in channel.abortPending() } }
}
