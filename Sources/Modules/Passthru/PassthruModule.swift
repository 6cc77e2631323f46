public import Bdev
import Reactors

/// Makes bdevs that hand everything on to another bdev: the template of a module that stands on others. Copy it.
public final class PassthruModule: StackedBdevModule {
    public let name = "passthru"
    public let stacked = StackedBdevs()

    public init() {}

    /// Makes a bdev that hands everything on to `base`: now if the base is there, or whenever it comes.
    ///
    /// - Parameters:
    ///   - name: of the new bdev.
    ///   - base: its name, an alias or its UUID.
    ///   - uuid: nil: one that follows from the base's.
    /// - Returns: whether the bdev is there now.
    /// - Throws: as `StackedBdevs.create(_:on:make:)`.
    @discardableResult
    public func create(_ name: String, on base: String, uuid: BdevUUID? = nil) async throws(BdevError) -> Bool {
        try await stacked.create(name, on: base) { base throws(BdevError) in
            var properties = BdevProperties(name: name, passingOnTo: base, productName: "passthru")
            properties.uuid = uuid ?? BdevUUID(of: "passthru", in: base.uuid)
            return [StackedBdev(properties, driver: PassthruDriver(base))]
        }
    }

    /// Removes a bdev, and forgets one that waits for its base. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when this module has not been asked for any of that name, `busy` when it is being deleted
    ///   already.
    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }
}

private final class PassthruDriver: BdevDriver {
    private let base: BdevDescriptor

    init(_ base: BdevDescriptor) { self.base = base }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        PassthruChannel(over: try await base.channel(on: local.reactor), on: local)
    }

    func details() async -> [String: DriverValue] {
        ["passthru": .fields(["base_bdev_name": .text(base.name)])]
    }
}

/// On each reactor that uses the bdev. A module that does something to the I/O does it here.
private final class PassthruChannel: StackedChannel {
    override func submit(_ request: consuming IORequest) { base.forward(request) }
}
