import Bdev
import DelayBdev
import ErrorBdev
import LogBdev
import Logging
import MallocBdev
import NullBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import SplitBdev
import Synchronization
import ZoneBlockBdev

/// A bdev of memory, of nothing or of a slow disk, and up to three bdevs on it. What they are follows from a seed.
final class Tower: Sendable {
    enum Ground: String, CaseIterable { case malloc, null, disk }
    enum Kind: String { case passthru, split, delay, error, zoneBlock, log }

    struct Layer: Sendable {
        let kind: Kind
        /// What stands on it has this one below.
        let name: String
        let base: String
        /// Of a part, whatever size the base has when it is made again.
        let blockCount: UInt64
    }

    static let blockCount: UInt64 = 4096
    /// To which the ground may grow.
    static let room: UInt64 = 8192
    static let base = "ground"

    let engine: BdevEngine
    let ground: Ground
    let layers: [Layer]
    /// Those that nobody has claimed, with blocks that no other of them has.
    let tops: [String]
    let claims = ClaimingModule()
    private let malloc = MallocModule(), null = NullModule(), disk = QueueDiskModule()
    private let passthru = PassthruModule()
    private let split = SplitModule(logger: Logger(label: "stress") { _ in SwiftLogNoOpLogHandler() })
    let delay = DelayModule(), error = ErrorModule()
    private let zoneBlock = ZoneBlockModule()
    let log = LogModule()
    private let hosted: [String: HostedModule]
    private let groundCount = Atomic<UInt64>(0)
    private let seed: UInt64

    init(_ engine: BdevEngine, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        self.engine = engine
        self.seed = seed
        ground = Ground.allCases.randomElement(using: &random)!
        var below = Self.base, layers: [Layer] = [], others: [String] = [], size = Self.blockCount
        for index in 0..<Int.random(in: 0...3, using: &random) {
            var kinds: [Kind] = [.passthru, .delay, .error, .split, .zoneBlock, .log]
            // What does not come back by itself stands on top of all.
            if layers.last.map({ $0.kind == .zoneBlock || $0.kind == .log }) == true { break }
            if ground == .null { kinds.removeAll { $0 == .zoneBlock } }
            let kind = kinds.randomElement(using: &random)!
            let name: String
            switch kind {
            case .split:
                name = "\(below)p0"
                size /= 2
                others.append("\(below)p1")
            case .error: name = ErrorModule.name(on: below)
            default: name = "\(kind.rawValue)\(index)"
            }
            layers.append(Layer(kind: kind, name: name, base: below, blockCount: size))
            below = name
        }
        self.layers = layers
        tops = [below] + others
        let plain: [any BdevModule] = [malloc, null, zoneBlock, log]
        let virtual: [any VirtualBdevModule] = [passthru, split, delay, error]
        let wrapped = plain.map { HostedModule($0) } + virtual.map { HostedVirtualModule($0) }
        hosted = Dictionary(uniqueKeysWithValues: wrapped.map { ($0.name, $0) })
    }

    var description: String { (["\(ground)"] + layers.map { "\($0.kind)" }).joined(separator: " < ") }
    var isZoned: Bool { layers.last?.kind == .zoneBlock }
    /// Whether what was written can be read.
    var keepsData: Bool { ground != .null }
    /// All bdevs, the ground first.
    var names: [String] { [Self.base] + layers.map(\.name) + tops.dropFirst() }

    /// The host of the module that a bdev is of.
    func host(of name: String) -> BdevModuleHost {
        if let layer = layers.first(where: { $0.name == name || (tops.contains(name) && name == "\($0.base)p1") }) {
            return hosted[Self.moduleName(layer.kind)]!.host.value
        }
        return ground == .disk ? disk.host.value : hosted[ground.rawValue]!.host.value
    }

    private static func moduleName(_ kind: Kind) -> String { kind == .zoneBlock ? "zone_block" : kind.rawValue }

    // MARK: Building

    func build() async throws {
        try await engine.start(hosted.keys.sorted().map { hosted[$0]! } + [disk, claims])
        try await makeGround()
        for layer in layers { try await make(layer) }
    }

    func makeGround() async throws {
        switch ground {
        case .malloc:
            try await malloc.create(MallocModule.Options(name: Self.base, blockCount: Self.blockCount))
        case .null:
            var options = NullModule.Options(name: Self.base, blockCount: Self.blockCount)
            options.completesFromPoller = seed % 2 == 0
            try await null.create(options)
        case .disk:
            let count = groundCount.add(1, ordering: .relaxed).newValue
            try await disk.create(
                Self.base, blockCount: Self.blockCount, room: Self.room, seed: seed &+ count)
        }
    }

    func make(_ layer: Layer) async throws {
        switch layer.kind {
        case .passthru: try await passthru.create(layer.name, on: layer.base)
        case .split: try await split.create(on: layer.base, count: 2, partByteCount: layer.blockCount * 512)
        case .delay:
            var options = DelayModule.Options(name: layer.name, base: layer.base)
            options.averageRead = .microseconds(5)
            options.p99Read = .microseconds(80)
            options.p99Write = .microseconds(40)
            options.seed = seed
            try await delay.create(options)
        case .error: try await error.create(on: layer.base)
        case .zoneBlock:
            try await zoneBlock.create(
                ZoneBlockModule.Options(name: layer.name, base: layer.base, zoneCapacity: 60))
        case .log:
            try await log.create(
                LogModule.Options(name: layer.name, base: layer.base, log: .memory(byteCount: 8 << 20)))
        }
    }

    // MARK: Taking away

    func removeGround() async throws {
        switch ground {
        case .malloc: try await malloc.delete(Self.base)
        case .null: try await null.delete(Self.base)
        case .disk: try await disk.host.value.unregister(Self.base)
        }
    }

    func remove(_ layer: Layer) async throws {
        switch layer.kind {
        case .passthru: try await passthru.delete(layer.name)
        case .split: try await split.delete(on: layer.base)
        case .delay: try await delay.delete(layer.name)
        case .error: try await error.delete(layer.name)
        case .zoneBlock: try await zoneBlock.delete(layer.name)
        case .log: try await log.delete(layer.name)
        }
    }
}
