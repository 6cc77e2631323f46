import Bdev
import BdevConformance
import MallocBdev
import NullBdev
import Reactors
import Testing

@Suite("Bdevs with metadata pass the conformance suite", .serialized)
struct MetadataConformanceTests {
    /// 8 MiB.
    private static let byteCount: UInt64 = 8 << 20

    private func check(_ bench: Bench, _ shape: BlockShape, keepsData: Bool) async throws {
        var options = ConformanceSuite.Options()
        options.keepsData = keepsData
        options.zeroesUnmappedBlocks = keepsData
        // Data that comes without its metadata gets that of its own.
        options.hidesMetadata = shape.isInterleaved && shape.protection != nil
        options.seed = UInt64.random(in: 1...UInt64.max)
        options.operationCount = 50
        try await ConformanceSuite(engine: bench.engine, bdev: "B", options: options).run()
    }

    @Test(arguments: BlockShape.allProtected + BlockShape.unprotected) func malloc(_ shape: BlockShape) async throws {
        try await Bench.run { bench in
            var options = MallocModule.Options(
                name: "B", blockCount: Self.byteCount / UInt64(shape.dataByteCount),
                blockByteCount: shape.dataByteCount)
            options.metadata = shape.metadata
            options.optimalBoundaryBlockCount = 24
            try await bench.malloc.create(options)
            try await check(bench, shape, keepsData: true)
        }
    }

    @Test(
        arguments: (BlockShape.protected(isInterleaved: true) + BlockShape.unprotected.filter(\.isInterleaved)),
        [false, true])
    func null(_ shape: BlockShape, completesFromPoller: Bool) async throws {
        try await Bench.run { bench in
            var options = NullModule.Options(
                name: "B", blockCount: Self.byteCount / UInt64(shape.dataByteCount))
            options.blockByteCount = shape.dataByteCount
            options.metadata = shape.metadata
            options.completesFromPoller = completesFromPoller
            try await bench.null.create(options)
            try await check(bench, shape, keepsData: false)
        }
    }
}
