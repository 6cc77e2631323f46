import Bdev
import Reactors

/// The same disk written the easy way: one async function, which here also takes its time.
public final class SlowPatternModule: BdevModule {
    public let name = "slow-pattern"
    private let host = HostSlot()

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    public func create(name: String, blockCount: UInt64) async throws(BdevError) {
        let properties = BdevProperties(
            name: name, productName: "Slow pattern disk",
            geometry: BdevGeometry(blockByteCount: 512, blockCount: blockCount), supportedTypes: [.read])
        try await host.value.register(properties, driver: SlowDriver())
    }
}

final class SlowDriver: BdevDriver {
    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { SlowChannel(on: local) }
}

final class SlowChannel: AsyncModuleChannel {
    private let local: LocalReactor

    init(on local: isolated LocalReactor) {
        self.local = local
        super.init(on: local, concurrency: 4)
    }

    override func perform(_ request: borrowing IORequest) async throws(BdevError) {
        await local.yield()
        for segment in 0..<request.segmentCount {
            request.withMutableBytes(ofSegment: segment) { bytes in
                for index in 0..<bytes.byteCount { bytes.storeBytes(of: 0x5A, toByteOffset: index, as: UInt8.self) }
            }
        }
    }
}
