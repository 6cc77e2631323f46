import Bdev
import Reactors

/// Makes bdevs whose blocks are those of another in the opposite order: the first is the last.
public final class MirrorModule: StackedBdevModule {
    public let name = "mirror"
    public let stacked = StackedBdevs()

    public init() {}

    /// Now if `base` is there, or whenever it comes. Whether the bdev is there now.
    @discardableResult
    public func create(_ name: String, on base: String) async throws(BdevError) -> Bool {
        try await stacked.create(name, on: base) { base throws(BdevError) in
            var properties = BdevProperties(name: name, passingOnTo: base, productName: "Mirror disk")
            properties.uuid = BdevUUID(of: "mirror", in: base.uuid)
            // One block at a time has its place at the other end; the layer takes everything else to pieces.
            properties.geometry.transferBlockCountLimit = 1
            properties.supportedTypes = base.nativeTypes.intersection([.read, .write, .flush, .reset])
            // A mirror of a bdev that has grown is another bdev: this one keeps its size.
            return [StackedBdev(properties, driver: MirrorDriver(base), blockCount: nil)]
        }
    }

    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }
}

final class MirrorDriver: BdevDriver {
    private let base: BdevDescriptor
    private let blockCount: UInt64

    init(_ base: BdevDescriptor) {
        self.base = base
        blockCount = base.blockCount
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        MirrorChannel(over: try await base.channel(on: local.reactor), on: local, blockCount: blockCount)
    }
}

final class MirrorChannel: StackedChannel {
    private let blockCount: UInt64

    init(over channel: BdevChannel, on local: isolated LocalReactor, blockCount: UInt64) {
        self.blockCount = blockCount
        super.init(over: channel, on: local)
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read, .write:
            let place = blockCount - 1 - request.startBlock
            base.forward(request, at: place)
        default: base.forward(request)
        }
    }
}
