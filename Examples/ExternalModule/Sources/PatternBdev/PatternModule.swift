import Bdev
import Reactors

/// Makes bdevs on which every block holds its own number: what is read can be checked, and only the right data can be
/// written.
public final class PatternModule: BdevModule {
    public let name = "pattern"
    private let host = HostSlot()

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    public func create(name: String, blockCount: UInt64) async throws(BdevError) {
        let properties = BdevProperties(
            name: name, productName: "Pattern disk",
            geometry: BdevGeometry(blockByteCount: 512, blockCount: blockCount), supportedTypes: [.read, .write])
        try await host.value.register(properties, driver: PatternDriver())
    }
}

final class PatternDriver: BdevDriver {
    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { PatternChannel() }
}

final class PatternChannel: BdevModuleChannel {
    override func submit(_ request: consuming IORequest) {
        var block = request.startBlock, offset = 0, matches = true
        func next() -> UInt8 {
            defer { (block, offset) = offset == 511 ? (block + 1, 0) : (block, offset + 1) }
            return UInt8(truncatingIfNeeded: block >> UInt64(offset % 8 * 8))
        }
        for segment in 0..<request.segmentCount {
            if request.type == .read {
                request.withMutableBytes(ofSegment: segment) { bytes in
                    for index in 0..<bytes.byteCount {
                        bytes.storeBytes(of: next(), toByteOffset: index, as: UInt8.self)
                    }
                }
            } else {
                request.withBytes(ofSegment: segment) { bytes in
                    for index in 0..<bytes.byteCount
                    where bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) != next() {
                        matches = false
                    }
                }
            }
        }
        request.complete(matches ? .success : IOStatus(.miscompare))
    }
}
