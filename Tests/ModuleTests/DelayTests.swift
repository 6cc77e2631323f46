import Bdev
import CMallocCount
import DelayBdev
import NullBdev
import Reactors
import SimulatedReactors
import Testing

@Suite("Delay")
struct DelayTests {
    private static func options(
        _ read: Int64, _ p99Read: Int64, _ write: Int64, _ p99Write: Int64, seed: UInt64? = nil
    ) -> DelayModule.Options {
        var options = DelayModule.Options(name: "D", base: "disk")
        options.averageRead = .microseconds(read)
        options.p99Read = .microseconds(p99Read)
        options.averageWrite = .microseconds(write)
        options.p99Write = .microseconds(p99Write)
        options.seed = seed
        return options
    }

    /// How long each of `count` I/Os takes, one after another, in virtual time.
    private static func durations(
        _ stage: Stage, _ count: Int, isWrite: Bool
    ) async throws -> [Duration] {
        try await stage.withChannel("D") { channel in
            var result: [Duration] = []
            var buffer = try channel.allocateBuffer(byteCount: 512)
            for _ in 0..<count {
                let start = stage.simulation.now
                if isWrite {
                    try await channel.write(from: buffer, at: .block(0))
                } else {
                    try await channel.read(at: .block(0), into: &buffer)
                }
                result.append(stage.simulation.now - start)
            }
            return result
        }
    }

    @Test(arguments: [false, true])
    func `one I/O in a hundred takes the p99 latency, the others the average`(isWrite: Bool) throws {
        try stack(seed: 5) { _, stage in
            try await stage.disks.create("disk")
            try await stage.delay.create(Self.options(10, 500, 20, 900))
            let durations = try await Self.durations(stage, 5000, isWrite: isWrite)
            let (average, p99): (Duration, Duration) =
                isWrite ? (.microseconds(20), .microseconds(900)) : (.microseconds(10), .microseconds(500))
            let slow = durations.count { $0 == p99 }
            #expect(durations.count { $0 == average } == 5000 - slow)
            // 50 are expected, and 7 are one standard deviation.
            #expect(slow > 20 && slow < 80, "\(slow)")
        }
    }

    @Test func `what is neither read nor written is not delayed, and no latency is none`() throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            try await stage.delay.create(Self.options(0, 0, 0, 0))
            #expect(try await Self.durations(stage, 10, isWrite: true).allSatisfy { $0 == .zero })
            try await stage.delay.delete("D")
            try await stage.delay.create(Self.options(100, 100, 100, 100))
            try await stage.withChannel("D") { channel in
                let start = stage.simulation.now
                try await channel.flush()
                try await channel.unmap(at: .block(0), count: .blocks(1))
                try await channel.writeZeroes(at: .block(0), count: .blocks(1))
                #expect(stage.simulation.now == start)
            }
        }
    }

    @Test(
        arguments: [(11, 10, 0, 0), (0, 0, 11, 10), (-1, 0, 0, 0), (0, 90_000_000_000, 0, 0)]
            as [(Int64, Int64, Int64, Int64)])
    func `latencies that make no sense are refused`(_ latencies: (Int64, Int64, Int64, Int64)) throws {
        try stack { _, stage in
            try await stage.disks.create("disk")
            let (a, b, c, d) = latencies
            #expect(await stage.code { try await stage.delay.create(Self.options(a, b, c, d)) } == .invalidArgument)
            #expect(await stage.names() == ["disk"])
        }
    }

    @Test func `a latency is changed while I/O waits, which keeps its own`() throws {
        try stack(seed: 2) { here, stage in
            try await stage.disks.create("disk")
            try await stage.delay.create(Self.options(1000, 1000, 1000, 1000))
            #expect(
                await stage.code { try await stage.delay.setLatency(.averageRead, of: "D", to: .microseconds(1001)) }
                    == .invalidArgument)
            #expect(
                await stage.code { try await stage.delay.setLatency(.p99Read, of: "D", to: .microseconds(999)) }
                    == .invalidArgument)
            #expect(await stage.code { try await stage.delay.setLatency(.p99Read, of: "X", to: .zero) } == .noSuchBdev)
            let first = stage.spawn {
                let durations = try await Self.durations(stage, 1, isWrite: false)
                #expect(durations == [.microseconds(1000)])
            }
            try await here.sleep(for: .microseconds(100))
            try await stage.delay.setLatency(.averageRead, of: "D", to: .microseconds(10))
            try await stage.delay.setLatency(.p99Read, of: "D", to: .microseconds(10))
            let start = stage.simulation.now
            // First in, first out: it is ready before the one ahead of it is.
            _ = try await Self.durations(stage, 1, isWrite: false)
            #expect(stage.simulation.now - start == .microseconds(900))
            try await first.value
            #expect(try await Self.durations(stage, 3, isWrite: false).allSatisfy { $0 == .microseconds(10) })
        }
    }

    @Test func `I/O of one kind comes back in its order, whatever jitter adds`() throws {
        try stack(seed: 3) { _, stage in
            try await stage.disks.create("disk")
            var options = Self.options(100, 100, 100, 100, seed: 9)
            options.jitter = .microseconds(80)
            try await stage.delay.create(options)
            try await stage.withChannel("D") { channel in
                let handler = OrderHandler()
                for tag in 0..<32 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    // Averages and p99s wait apart: all of these are of two classes.
                    try channel.engine.read(into: &buffer, at: .block(0), tag: UInt64(tag), handler: handler)
                }
                while handler.tags.count < 32 { try await channel.reactor.local.sleep(for: .microseconds(10)) }
                #expect(handler.tags.count == 32)
                let inversions = zip(handler.tags, handler.tags.dropFirst()).count { $0 > $1 }
                #expect(inversions <= 2, "at most one I/O in a hundred is of the other class: \(handler.tags)")
            }
        }
    }

    @Test func `jitter spreads evenly about the latency, and a seed repeats it`() throws {
        let runs = try [UInt64(1), 1, 2].map { seed in
            let result = Shared<[Duration]>([])
            // The order of the simulation does not matter.
            try stack(seed: seed + UInt64(result.value.count)) { _, stage in
                try await stage.disks.create("disk")
                var options = Self.options(100, 100, 100, 100, seed: seed)
                options.jitter = .microseconds(50)
                try await stage.delay.create(options)
                result.value = try await Self.durations(stage, 1000, isWrite: false)
            }
            return result.value
        }
        #expect(runs[0] == runs[1])
        #expect(runs[0] != runs[2])
        #expect(runs[0].allSatisfy { $0 >= .microseconds(50) && $0 <= .microseconds(150) })
        let mean = runs[0].reduce(.zero, +) / 1000
        #expect(mean > .microseconds(95) && mean < .microseconds(105), "\(mean)")
    }

    @Test func `an I/O that waits is given up when its task is cancelled`() throws {
        try stack { here, stage in
            try await stage.disks.create("disk")
            try await stage.delay.create(Self.options(5_000_000, 5_000_000, 0, 0))
            let read = stage.spawn { _ = try await Self.durations(stage, 1, isWrite: false) }
            try await here.sleep(for: .milliseconds(1))
            read.cancel()
            #expect(await stage.code { try await read.value } == .aborted)
            #expect(stage.simulation.now < .milliseconds(30))
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a reset gives up what waits on every reactor, and resets the base`(seed: UInt64) throws {
        try stack(seed: seed, reactorCount: 2) { here, stage in
            let disk = try await stage.disks.create("disk")
            try await stage.delay.create(Self.options(5_000_000, 5_000_000, 0, 0))
            let reads = [0, 1, 1].map { index in
                stage.spawn {
                    try await stage.withChannel("D", on: index) { channel in
                        var buffer = try channel.allocateBuffer(byteCount: 512)
                        try await channel.read(at: .block(0), into: &buffer)
                    }
                }
            }
            while disk.types(.read) < 3 { await here.yield() }
            // One is still with the base when the reset comes.
            disk.isHeld = true
            let late = stage.spawn { _ = try await Self.durations(stage, 1, isWrite: false) }
            while disk.heldCount < 1 { await here.yield() }
            try await stage.withChannel("D") { channel in try await channel.reset() }
            #expect(disk.types(.reset) == 1, "seed \(seed)")
            for read in reads { #expect(await stage.code { try await read.value } == .aborted, "seed \(seed)") }
            // What the base ended before its reset is told at once.
            try await late.value
            #expect(stage.simulation.now < .seconds(1), "seed \(seed)")
            // And the latencies are back.
            try await stage.delay.setLatency(.averageRead, of: "D", to: .microseconds(30))
            try await stage.delay.setLatency(.p99Read, of: "D", to: .microseconds(30))
            #expect(try await Self.durations(stage, 1, isWrite: false) == [.microseconds(30)], "seed \(seed)")
        }
    }

    @Test func `a failure of the base is delayed as well, and told`() throws {
        try stack { _, stage in
            let disk = try await stage.disks.create("disk")
            disk.answer = { _ in IOStatus(.nvmeError, detail: 0x281) }
            try await stage.delay.create(Self.options(40, 40, 0, 0))
            let code = await stage.code { _ = try await Self.durations(stage, 1, isWrite: false) }
            #expect(code == .deviceFailed)
            #expect(stage.simulation.now == .microseconds(40))
        }
    }

    @Test(.enabled(if: malloc_count_is_possible(), "a sanitizer has an allocator of its own"))
    func `an I/O that waits allocates nothing`() async throws {
        try await Bench.run { bench in
            try await bench.null.create(.init(name: "disk", blockCount: 1024))
            try await bench.delay.create(Self.options(1, 2, 1, 2))
            try await bench.withChannel("D") { channel in
                let handler = LoopHandler(channel.engine, warmUp: 2000, count: 50_000)
                for _ in 0..<LoopHandler.depth { handler.submit(try channel.allocateBuffer(byteCount: 512)) }
                while handler.left > 0 { try await channel.reactor.local.sleep(for: .milliseconds(20)) }
                #if DEBUG
                // Unoptimized, the heap of timers allocates for each that goes off, which lets several I/O go.
                let limit: UInt = 40_000
                #else
                // The sleeps of this task.
                let limit: UInt = 2000
                #endif
                #expect(handler.allocated < limit, "\(handler.allocated)")
            }
        }
    }
}

private final class OrderHandler: IOHandler {
    private(set) var tags: [UInt64] = []
    override func ioCompleted(_ completion: consuming IOCompletion) { tags.append(completion.tag) }
}

/// Reads again and again, several at once, and counts what that allocates after a while.
private final class LoopHandler: IOHandler {
    static let depth = 8
    private let engine: EngineChannel
    private(set) var left: Int
    private let counted: Int
    private(set) var allocated: UInt = 0

    init(_ engine: EngineChannel, warmUp: Int, count: Int) {
        self.engine = engine
        left = warmUp + count
        counted = count
    }

    func submit(_ buffer: consuming IOBuffer) {
        var buffer: IOBuffer? = consume buffer
        do throws(BdevError) {
            try engine.read(into: &buffer, at: .block(0), handler: self)
        } catch { preconditionFailure("\(error)") }
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        left -= 1
        if left == counted { malloc_count_begin() }
        if left == 0 { allocated = malloc_count_end() }
        if left >= Self.depth, let buffer = completion.buffer.take() { submit(buffer) }
    }
}
