import Bdev
import CMallocCount
import NullBdev
import Reactors
import Testing

/// The steady state of an I/O allocates nothing, through every face.
@Suite(.serialized, .enabled(if: malloc_count_is_possible(), "a sanitizer has an allocator of its own"))
struct AllocationTests {
    #if DEBUG
    /// Unoptimized code takes ten times as long.
    static let count = 100_000
    #else
    static let count = 1_000_000
    #endif
    static let warmUp = 2000

    /// What `body` says it allocated, on a reactor with a null bdev.
    private static func onNull(
        parks: Bool, _ body: @escaping @Sendable (isolated BdevChannel) async throws -> UInt
    ) async throws -> (allocated: UInt, elapsed: Duration) {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(cores: [0], options: options)
        let engine = BdevEngine(group: group), null = NullModule()
        try await engine.register(null)
        var made = NullModule.Options(name: "Null0", blockCount: 1 << 20)
        made.completesFromPoller = parks
        try await null.create(made)
        let descriptor = try await engine.open("Null0", mode: .readWrite)
        let start = ContinuousClock.now
        let allocated = try await descriptor.withChannel(on: group.reactors[0], body)
        let elapsed = ContinuousClock.now - start
        await descriptor.close()
        await engine.stop()
        await group.shutDown()
        return (allocated, elapsed)
    }

    @Test func `a counted allocation is counted`() {
        malloc_count_begin()
        let array = Array(repeating: UInt8(1), count: count())
        let first = malloc_count_end()
        #expect(first >= 1)
        #expect(array.count == 100_000)
        malloc_count_begin()
        #expect(malloc_count_end() == 0)
    }

    private func count() -> Int { 100_000 }

    @Test(arguments: [false, true])
    func `an async read allocates nothing`(parks: Bool) async throws {
        let (allocated, elapsed) = try await Self.onNull(parks: parks) { channel in
            var buffer = try channel.allocateBuffer(byteCount: 4096)
            for index in 0..<Self.warmUp + Self.count {
                if index == Self.warmUp { malloc_count_begin() }
                try await channel.read(at: .block(UInt64(index % 1000) * 8), into: &buffer)
            }
            return malloc_count_end()
        }
        #expect(allocated <= Self.tolerance(elapsed))
    }

    @Test(arguments: [false, true])
    func `a read of the synchronous face allocates nothing`(parks: Bool) async throws {
        let (allocated, elapsed) = try await Self.onNull(parks: parks) { channel in
            let handler = Chain(channel.engine, length: Self.warmUp + Self.count)
            handler.submit(try channel.allocateBuffer(byteCount: 4096))
            while handler.left > Self.count { await channel.reactor.local.yield() }
            malloc_count_begin()
            while handler.left > 0 { await channel.reactor.local.yield() }
            return malloc_count_end()
        }
        #expect(allocated <= Self.tolerance(elapsed))
    }

    @Test(arguments: [false, true])
    func `a batch allocates nothing`(parks: Bool) async throws {
        let (allocated, elapsed) = try await Self.onNull(parks: parks) { channel in
            var batch = IOBatch(capacity: 32)
            for _ in 0..<32 { batch.read(into: try channel.allocateBuffer(byteCount: 4096), at: .block(0)) }
            for index in 0..<(Self.warmUp + Self.count) / 32 {
                if index == Self.warmUp / 32 { malloc_count_begin() }
                try await channel.perform(&batch)
            }
            return malloc_count_end()
        }
        #expect(allocated <= Self.tolerance(elapsed))
    }

    /// Nothing for an I/O. A task or the loop may make room for itself once; and the timer that looks for
    /// cancelled tasks
    /// while one is parked is made anew every 10 ms, with up to four allocations.
    private static func tolerance(_ elapsed: Duration) -> UInt { 2 + 4 * UInt(elapsed / .milliseconds(10)) }
}
