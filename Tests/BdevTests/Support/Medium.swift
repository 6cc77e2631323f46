import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Makes one bdev in memory that completes at once, or after a while, and uses its scratch while it waits.
final class MediumModule: BdevModule {
    let name = "medium"
    let requestScratchByteCount = 24
    private let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(
        _ name: String, _ geometry: BdevGeometry, types: IOTypes, delay: Duration? = nil
    ) async throws(BdevError) -> Medium {
        let medium = try Medium(geometry, delay)
        try await host.value.register(
            BdevProperties(name: name, productName: "Medium", geometry: geometry, supportedTypes: types),
            driver: medium)
        return medium
    }
}

final class Medium: BdevDriver, @unchecked Sendable {
    let region: MemoryRegion
    let metadata: MemoryRegion
    let geometry: BdevGeometry
    fileprivate let delay: Duration?
    /// What reached it, in order.
    var log: [String] = []
    var lent = 0

    fileprivate init(_ geometry: BdevGeometry, _ delay: Duration?) throws(BdevError) {
        self.geometry = geometry
        self.delay = delay
        do {
            region = try MemoryRegion(byteCount: Int(geometry.byteCount))
            metadata = try MemoryRegion(byteCount: max(1, Int(geometry.blockCount) * geometry.metadataByteCount))
        } catch {
            throw BdevError(.noMemory, "\(error)")
        }
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        MediumChannel(self, local.loop, requests)
    }
}

private final class MediumChannel: BdevModuleChannel {
    private let medium: Medium
    private let loop: ReactorLoop
    private let requests: RequestTable

    init(_ medium: Medium, _ loop: ReactorLoop, _ requests: RequestTable) {
        self.medium = medium
        self.loop = loop
        self.requests = requests
    }

    override func submit(_ request: consuming IORequest) {
        guard let delay = medium.delay else { return perform(request) }
        let mark = request.startBlock
        request.withScratch { scratch in scratch.storeBytes(of: mark, toByteOffset: 16, as: UInt64.self) }
        let token = request.detach()
        _ = loop.schedule(after: delay) { [self] in perform(requests.request(token)) }
    }

    private func perform(_ request: consuming IORequest) {
        if medium.delay != nil {
            let mark = request.withScratch { unsafe $0.bytes.unsafeLoad(fromByteOffset: 16, as: UInt64.self) }
            if mark != request.startBlock { medium.log.append("the scratch of another request") }
        }
        medium.log.append("\(request.type) \(request.startBlock)+\(request.blockCount)")
        var offset = Int(request.byteOffset)
        switch request.type {
        case .read, .write:
            for index in 0..<request.segmentCount {
                let memory = request.memory(index)
                let stored = medium.region.memory(from: offset, count: memory.byteCount)
                if request.type == .read { memory.copy(from: stored) } else { stored.copy(from: memory) }
                offset += memory.byteCount
            }
            if request.metadataSegmentCount > 0 {
                let memory = request.metadataMemory(0), size = medium.geometry.metadataByteCount
                let stored = medium.metadata.memory(from: Int(request.startBlock) * size, count: memory.byteCount)
                if request.type == .read { memory.copy(from: stored) } else { stored.copy(from: memory) }
            }
        case .zeroCopy:
            switch request.zeroCopyPhase {
            case .start, .startPopulated:
                medium.lent += 1
                request.lend(medium.region.memory(from: offset, count: Int(request.byteCount)))
            case .end, .commit: medium.lent -= 1
            }
        default: break
        }
        request.complete()
    }
}

/// Simulates `body` with a medium named "medium".
func simulateMedium(
    _ geometry: BdevGeometry, types: IOTypes = [.read, .write, .unmap, .flush, .reset], delay: Duration? = nil,
    _ body: @escaping @Sendable (isolated LocalReactor, BdevEngine, Medium) async throws -> Void
) throws {
    let simulation = Simulation(seed: 1, reactorCount: 2)
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors), module = MediumModule()
        try await engine.register(module)
        let medium = try await module.create("medium", geometry, types: types, delay: delay)
        try await body(here, engine, medium)
        await engine.stop()
        #expect(!medium.log.contains("the scratch of another request"))
        #expect(medium.lent == 0)
    }
}
