import Bdev
import MallocBdev
import NullBdev
import Reactors
import SimulatedReactors
import Testing

/// Blocks and their metadata, as RAM disks and null bdevs can have them.
struct BlockShape: Sendable, CustomTestStringConvertible {
    var dataByteCount: Int
    var metadata: BlockMetadata

    var isInterleaved: Bool { metadata.isInterleaved }
    var blockByteCount: Int { dataByteCount + (isInterleaved ? metadata.byteCount : 0) }

    /// Makes and checks the protection information; nil when there is none.
    var protection: BlockProtection? { protection(isInterleaved: isInterleaved) }

    func protection(isInterleaved: Bool) -> BlockProtection? {
        metadata.protection.map {
            BlockProtection(
                $0, dataByteCount: dataByteCount, metadataByteCount: metadata.byteCount, isInterleaved: isInterleaved)
        }
    }

    var testDescription: String {
        let place = isInterleaved ? "interleaved" : "separate"
        let what = metadata.protection.map { "\($0.type), \($0.format), \($0.placement)" } ?? "no protection"
        return "\(dataByteCount) + \(metadata.byteCount) bytes, \(place), \(what)"
    }

    /// Every type with every format, in metadata of its least length and of a longer one.
    static func protected(isInterleaved: Bool) -> [BlockShape] {
        var shapes: [BlockShape] = []
        for type in ProtectionInformation.ProtectionType.allCases {
            for format in ProtectionInformation.Format.allCases {
                let isLong = type == .type2
                let information = ProtectionInformation(
                    type, format: format, placement: isLong ? .head : .tail, checks: .all)
                shapes.append(
                    BlockShape(
                        dataByteCount: format == .guard16 ? 512 : 4096,
                        metadata: BlockMetadata(
                            byteCount: isLong ? 64 : format.byteCount, isInterleaved: isInterleaved,
                            protection: information)))
            }
        }
        return shapes
    }

    static let allProtected = protected(isInterleaved: true) + protected(isInterleaved: false)

    static let unprotected = [true, false].map {
        BlockShape(dataByteCount: 512, metadata: BlockMetadata(byteCount: 8, isInterleaved: $0))
    }
}

extension IOBuffer {
    /// Puts `bytes` at the start.
    mutating func store(_ bytes: [UInt8]) {
        precondition(bytes.count <= byteCount, "more bytes than the buffer has room for")
        // SAFETY: the bound is checked, and the buffer is exclusively ours. Byte by byte it takes seconds in debug
        // builds.
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe memory.base.copyMemory(from: start, byteCount: source.count)
        }
    }

    /// Inverts a bit of the byte at `place`.
    mutating func flip(_ place: Int) { store(load(UInt8.self, at: place) ^ 0x10, at: place) }
}

/// Simulates `body` with an engine that has null and malloc, stops the engine, and checks that nothing is left behind.
func simulateLeaves(
    seed: UInt64 = 1, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (isolated LocalReactor, BdevEngine, NullModule, MallocModule) async throws -> Void
) throws {
    let simulation = Simulation(seed: seed, reactorCount: 1)
    try simulation.run { here in
        let engine = BdevEngine(reactors: simulation.reactors)
        let null = NullModule(), malloc = MallocModule()
        try await engine.start([null, malloc])
        try await body(here, engine, null, malloc)
        await engine.stop()
    }
    #expect(simulation.parkedTaskCount == 0, "seed \(seed)", sourceLocation: sourceLocation)
}

extension BdevEngine {
    /// Runs `body` with a channel of a bdev.
    nonisolated func withChannel<Result: Sendable>(
        _ name: String, on reactor: Reactor, mode: BdevDescriptor.Mode = .readWrite,
        _ body: @Sendable (isolated BdevChannel) async throws -> Result
    ) async throws -> Result {
        let descriptor = try await open(name, mode: mode)
        do {
            let result = try await descriptor.withChannel(on: reactor, body)
            await descriptor.close()
            return result
        } catch {
            await descriptor.close()
            throw error
        }
    }
}

/// The status that `body` ends with.
nonisolated(nonsending) func status(_ body: nonisolated(nonsending) () async throws -> Void) async -> IOStatus {
    do {
        try await body()
        return .success
    } catch {
        return (error as? BdevError)?.status ?? .failed
    }
}

extension IOStatus {
    static let guardError = IOStatus(.nvmeError, detail: 0x282)
    static let applicationTagError = IOStatus(.nvmeError, detail: 0x283)
    static let referenceTagError = IOStatus(.nvmeError, detail: 0x284)
}
