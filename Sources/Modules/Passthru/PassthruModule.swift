public import Bdev
import Reactors

/// Makes bdevs that hand everything on to another bdev: the template of a module that stands on others. Copy it.
public final class PassthruModule: BdevModule {
    public let name = "passthru"
    private let host = HostSlot()

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    /// Makes a bdev that hands everything on to `base`.
    ///
    /// `uuid`: nil: a random one.
    /// - Throws: `noSuchBdev` without such a base, `nameInUse`.
    public func create(_ name: String, on base: String, uuid: BdevUUID? = nil) async throws(BdevError) {
        let host = host.value
        let below = try await host.engine.open(base, mode: .readWrite)
        var properties = BdevProperties(name: name, passingOnTo: below, productName: "passthru")
        properties.uuid = uuid
        do {
            try await host.register(properties, driver: PassthruDriver(below))
        } catch {
            await below.close()
            throw error
        }
        Task {
            for await event in below.events where event == .removed { try? await host.unregister(name) }
        }
    }

    /// Removes a bdev. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when this module has none of that name.
    public func delete(_ name: String) async throws(BdevError) { try await host.value.unregister(name) }
}

private final class PassthruDriver: BdevDriver {
    private let below: BdevDescriptor

    init(_ below: BdevDescriptor) { self.below = below }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = try await below.channel(on: local.reactor)
        return PassthruChannel(channel, engine: local.engine(of: channel))
    }

    func destroy() async { await below.close() }
}

private final class PassthruChannel: BdevModuleChannel {
    private let below: BdevChannel
    private let engine: EngineChannel

    init(_ below: BdevChannel, engine: EngineChannel) {
        self.below = below
        self.engine = engine
    }

    override func submit(_ request: consuming IORequest) { engine.forward(request) }
    override func close() async { await below.close() }
}
