import Synchronization
import Testing

@testable import Reactors

@Suite("Buffers") struct BufferPoolTests {
    private func options(limit: Int = 1 << 30) -> ReactorOptions {
        var options = ReactorOptions.test
        options.memory.sizeClasses = [.init(byteCount: 4096, count: 2), .init(byteCount: 65536, count: 2)]
        options.memory.byteCountLimit = limit
        return options
    }

    private func withReactor<Result: Sendable>(
        _ options: ReactorOptions, _ body: @Sendable (isolated LocalReactor) async throws -> Result
    ) async throws -> Result {
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        return try await group.reactors[0].run(body)
    }

    @Test(arguments: [1, 511, 512, 4095, 4096, 4097, 65536, 65537, 3_000_000])
    func `a buffer has the length asked for, is aligned and is the caller's alone`(_ byteCount: Int) async throws {
        try await withReactor(options()) { local in
            guard var first = local.allocateBuffer(byteCount: byteCount),
                var second = local.allocateBuffer(byteCount: byteCount)
            else {
                Issue.record("the pool has no buffer of \(byteCount) bytes")
                return
            }
            let lengths = (first.byteCount, first.bytes.byteCount), memories = (first.memory, second.memory)
            #expect(lengths == (byteCount, byteCount))
            #expect(memories.0.isAligned(to: BufferPool.alignment) && memories.1.isAligned(to: 4096))
            first.fill(with: 1)
            second.fill(with: 2)
            let ends = unsafe (
                first.bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self),
                first.bytes.unsafeLoad(fromByteOffset: byteCount - 1, as: UInt8.self)
            )
            #expect(ends == (1, 1))
            let differ = first.contentEquals(second)
            #expect(!differ)
            second.fill(with: 1)
            let equal = first.contentEquals(second)
            #expect(equal)
        }
    }

    @Test func `a buffer that is given back is used again before the pool grows`() async throws {
        try await withReactor(options()) { local in
            for _ in 0..<100 { _ = local.allocateBuffer(byteCount: 4096) }
            let small = local.loop.pool.occupancy[0]
            #expect(small.total == 2 && small.available == 2)
        }
    }

    @Test func `a size that runs out grows by as much as it had, up to the limit of the pool`() async throws {
        try await withReactor(options(limit: 4 * 4096)) { local in
            var held: [Box] = []
            while let buffer = local.allocateBuffer(byteCount: 4096) { held.append(Box(buffer)) }
            #expect(held.count == 4)
            held.removeLast()
            let again = hasBuffer(local)
            #expect(again)
        }
    }

    @Test func `whoever waits for a buffer gets one in turn, and nobody overtakes`() async throws {
        try await withReactor(options(limit: 2 * 4096)) { local in
            var held = [Box(local.allocateBuffer(byteCount: 4096)), Box(local.allocateBuffer(byteCount: 4096))]
            let order = Order()
            let waiting = (0..<3).map { number in
                Task {
                    let buffer = await local.buffer(byteCount: 4096)
                    order.numbers.append(number)
                    await local.yield()
                    _ = consume buffer
                }
            }
            await local.yield()
            let overtakes = hasBuffer(local)
            #expect(!overtakes)
            held.removeAll()
            // Both are on their way to those who wait: a newcomer gets none.
            let newcomer = hasBuffer(local)
            #expect(!newcomer)
            for task in waiting { await task.value }
            #expect(order.numbers == [0, 1, 2])
            let small = local.loop.pool.occupancy[0]
            #expect(small.available == small.total)
        }
    }

    @Test func `who waits for a large buffer keeps nobody from small ones, and is served when one comes`() async throws
    {
        try await withReactor(options(limit: 2 * 4096 + 2 * 65536)) { local in
            var large = [Box(local.allocateBuffer(byteCount: 65536)), Box(local.allocateBuffer(byteCount: 65536))]
            let small = local.allocateBuffer(byteCount: 4096)
            let waiting = Task { await local.buffer(byteCount: 65536).byteCount }
            await local.yield()
            let hasSmall = hasBuffer(local)
            #expect(hasSmall)
            // Those who wait for small ones are not behind it either.
            let second = local.allocateBuffer(byteCount: 4096)
            let behind = Task { await local.buffer(byteCount: 4096).byteCount }
            await local.yield()
            _ = consume small
            #expect(await behind.value == 4096)
            _ = consume second
            large.removeAll()
            #expect(await waiting.value == 65536)
        }
    }

    @Test func `a buffer may be dropped on any thread, and wakes who waits for it`() async throws {
        let group = try ReactorGroup(cores: [0], options: options(limit: 2 * 4096))
        defer { group.shutDown() }
        let reactor = group.reactors[0]
        for _ in 0..<200 {
            let held = await reactor.run { local in
                [
                    SendableBox(local.allocateBuffer(byteCount: 4096)),
                    SendableBox(local.allocateBuffer(byteCount: 4096)),
                ]
            }
            async let waited = reactor.run { local in await local.buffer(byteCount: 4096).byteCount }
            await Task.detached { for box in held { box.drop() } }.value
            #expect(await waited == 4096)
        }
    }

    @Test func `buffers dropped on another thread are each given to one who waits, whoever finds them`() async throws {
        try await withReactor(options(limit: 2 * 4096 + 2 * 65_536)) { local in
            let small = (0..<2).map { _ in SendableBox(local.allocateBuffer(byteCount: 4096)) }
            let large = SendableBox(local.allocateBuffer(byteCount: 65_536))
            let waiting = Task { await local.buffer(byteCount: 4096).byteCount }
            await local.yield()
            // The reactor hears of them in its next turn only; what is dropped here looks for who waits before that.
            let isDropped = Atomic(false)
            let thread = BackgroundThread {
                for box in small { box.drop() }
                isDropped.store(true, ordering: .releasing)
            }
            defer { thread.join() }
            while !isDropped.load(ordering: .acquiring) {}
            large.drop()
            #expect(await waiting.value == 4096)
            let missing = local.bufferOccupancy.filter { $0.total != $0.available }.count
            #expect(missing == 0)
        }
    }

    @Test func `a buffer outlives the reactor it came from`() async throws {
        let group = try ReactorGroup(cores: [0], options: options())
        let box = await group.reactors[0].run { local in SendableBox(local.allocateBuffer(byteCount: 4096)) }
        await group.shutDown()
        #expect(box.fill(with: 7) == 7)
        box.drop()
    }

    @Test func `hugepages are used when there are some, and refused with advice when there are none`() throws {
        do throws(ReactorError) {
            let region = try MemoryRegion(byteCount: 1 << 20, pages: .huge)
            #expect(region.byteCount == 2 << 20 && region.pages == .huge)
        } catch {
            #expect(error.code == .resourceExhausted)
            #expect(error.description.contains("reserve 2 MiB pages (sysctl vm.nr_hugepages) or use normal pages"))
        }
    }

    @Test func `zeroing gives pages back and leaves the bytes around the range alone`() throws {
        let region = try MemoryRegion(byteCount: 1 << 20)
        for (offset, count) in [(0, 1 << 20), (1, 300_000), (4095, 262_146), (8192, 4096), (100, 7)] {
            fill(region, with: 0xAA)
            region.zero(from: offset, count: count)
            #expect(isUniform(region.memory(from: offset, count: count), 0))
            #expect(isUniform(region.memory(from: 0, count: offset), 0xAA))
            #expect(isUniform(region.memory(from: offset + count, count: (1 << 20) - offset - count), 0xAA))
        }
    }

    private func fill(_ region: MemoryRegion, with byte: UInt8) {
        let memory = region.memory(from: 0, count: region.byteCount)
        unsafe memory.base.initializeMemory(as: UInt8.self, repeating: byte, count: memory.byteCount)
    }

    private func isUniform(_ memory: IOMemory, _ byte: UInt8) -> Bool {
        (0..<memory.byteCount).allSatisfy { unsafe memory.base.load(fromByteOffset: $0, as: UInt8.self) == byte }
    }

    private func hasBuffer(_ local: isolated LocalReactor) -> Bool {
        guard let buffer = local.allocateBuffer(byteCount: 4096) else { return false }
        return buffer.byteCount == 4096
    }

    private final class Order { var numbers: [Int] = [] }

    /// Holds a buffer where an array can.
    private final class Box {
        private var buffer: IOBuffer?
        init(_ buffer: consuming IOBuffer?) { self.buffer = buffer }
    }

    private final class SendableBox: @unchecked Sendable {
        private var buffer: IOBuffer?
        init(_ buffer: consuming IOBuffer?) { self.buffer = buffer }
        func drop() { buffer = nil }
        func fill(with byte: UInt8) -> UInt8? {
            guard var held = buffer.take() else { return nil }
            held.fill(with: byte)
            let last = unsafe held.bytes.unsafeLoad(fromByteOffset: held.byteCount - 1, as: UInt8.self)
            buffer = consume held
            return last
        }
    }
}
