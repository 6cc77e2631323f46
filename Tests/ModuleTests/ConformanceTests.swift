import Bdev
import BdevConformance
import MallocBdev
import NullBdev
import Reactors
import TestSupport
import Testing
import UringBdev

@Suite("Every bdev passes the conformance suite", .serialized)
struct ConformanceTests {
    /// 8 MiB.
    private static let byteCount: UInt64 = 8 << 20

    private func check(_ bench: Bench, _ name: String, keepsData: Bool = true, zeroesUnmappedBlocks: Bool = false)
        async throws
    {
        var options = ConformanceSuite.Options()
        options.keepsData = keepsData
        options.zeroesUnmappedBlocks = zeroesUnmappedBlocks
        options.seed = UInt64.random(in: 1...UInt64.max)
        try await ConformanceSuite(engine: bench.engine, bdev: name, options: options).run()
    }

    @Test(arguments: [false, true])
    func `null, completing at once and from its poller`(completesFromPoller: Bool) async throws {
        try await Bench.run { bench in
            var options = NullModule.Options(name: "Null0", blockCount: Self.byteCount / 512)
            options.completesFromPoller = completesFromPoller
            try await bench.null.create(options)
            try await check(bench, "Null0", keepsData: false)
        }
    }

    @Test(arguments: [512, 4096, 1536])
    func `malloc, with small, large and odd blocks`(blockByteCount: Int) async throws {
        try await Bench.run { bench in
            let count = Self.byteCount / UInt64(blockByteCount)
            try await bench.malloc.create(.init(name: "M", blockCount: count, blockByteCount: blockByteCount))
            try await check(bench, "M", zeroesUnmappedBlocks: true)
        }
    }

    @Test func `malloc, split at a boundary`() async throws {
        try await Bench.run { bench in
            var options = MallocModule.Options(name: "M", blockCount: Self.byteCount / 512)
            options.optimalBoundaryBlockCount = 32
            try await bench.malloc.create(options)
            try await check(bench, "M", zeroesUnmappedBlocks: true)
        }
    }

    @Test(arguments: [UringModule.TransferMode.automatic, .ring])
    func `uring, on a file in memory`(mode: UringModule.TransferMode) async throws {
        try await Bench.run { bench in
            let file = ScratchPath()
            var options = UringModule.Options(name: "U", path: file.path)
            options.byteCount = Self.byteCount
            options.transferMode = mode
            try await bench.uring.create(options)
            try await check(bench, "U", zeroesUnmappedBlocks: true)
        }
    }

    @Test(arguments: [true, false])
    func `uring, on a file on disk, past the page cache and through it`(usesDirectIO: Bool) async throws {
        try await Bench.run { bench in
            let file = ScratchPath(in: ".")
            var options = UringModule.Options(name: "U", path: file.path)
            options.byteCount = Self.byteCount
            options.usesDirectIO = usesDirectIO
            try await bench.uring.create(options)
            try await check(bench, "U", zeroesUnmappedBlocks: true)
        }
    }

    @Test(arguments: [UringModule.TransferMode.automatic, .ring])
    func `uring, over threads where io_uring is forbidden`(mode: UringModule.TransferMode) async throws {
        var reactors = ReactorOptions()
        reactors.ring.isForbidden = true
        try await Bench.run(options: reactors) { bench in
            let file = ScratchPath()
            var options = UringModule.Options(name: "U", path: file.path)
            options.byteCount = Self.byteCount
            options.transferMode = mode
            try await bench.uring.create(options)
            try await check(bench, "U", zeroesUnmappedBlocks: true)
            #expect(bench.notices.all.contains { $0.contains("by threads") })
        }
    }

    @Test(.enabled(if: isRoot, "only root can set up a loop device: the device part of uring is not tested"))
    func `uring, on a block device`() async throws {
        try await Bench.run { bench in
            let device = try LoopDevice(byteCount: Int64(Self.byteCount))
            try await bench.uring.create(UringModule.Options(name: "U", path: device.path))
            try await check(bench, "U")
            try await bench.uring.delete("U")
        }
    }
}
