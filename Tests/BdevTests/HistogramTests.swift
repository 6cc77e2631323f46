import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Latencies in buckets, of a channel and of a bdev.
struct HistogramTests {
    @Test func `a histogram records latencies while it is on`() throws {
        try simulate { here, scene in
            scene.device.pace = .later { .microseconds(Int($0.start)) }
            let counts = try await scene.withChannel { channel in
                _ = await channel.readOnce(at: 1)
                let histogram = LatencyHistogram()
                let view = Sent(histogram)
                channel.recordLatencies(in: histogram)
                for block in UInt64(1)...100 { _ = await channel.readOnce(at: block) }
                channel.recordLatencies(in: nil)
                _ = await channel.readOnce(at: 1)
                let result = view.histogram
                return [result.totalCount, result.percentile(0.5), result.percentile(1)]
            }
            #expect(counts[0] == 100)
            #expect((50_000...50_800).contains(counts[1]))
            #expect((100_000...101_600).contains(counts[2]))
        }
    }

    // MARK: Of a bdev

    /// Reads or writes at blocks of which each takes as many microseconds as its number says.
    private static func transfer(_ descriptor: BdevDescriptor, _ reactor: Reactor, _ blocks: ClosedRange<UInt64>)
        async throws
    {
        let channel = try await descriptor.channel(on: reactor)
        for block in blocks { #expect(await channel.readOnce(at: block) == nil) }
        await channel.close()
    }

    @Test func `a bdev's latencies are those of all its reactors, in known buckets`() throws {
        try simulate(reactorCount: 3) { here, scene in
            scene.device.pace = .later { .microseconds(Int($0.start)) }
            try await scene.engine.recordLatencies(of: "disk")
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            // The channels are made after recording began, and closed before it is read; one stays open.
            try await Self.transfer(descriptor, scene.reactors[0], 1...30)
            try await Self.transfer(descriptor, scene.reactors[1], 31...70)
            try await Self.transfer(descriptor, scene.reactors[1], 71...90)
            let channel = try await descriptor.channel(on: scene.reactors[2])
            for block in UInt64(91)...100 { #expect(await channel.readOnce(at: block) == nil) }
            #expect(await channel.writeOnce(at: 5) == nil)
            try await channel.unmap(at: .block(7), count: .blocks(1))
            let latencies = try await scene.engine.latencies(of: "disk")
            #expect(latencies.types == .all)
            #expect(latencies.read.count == 100)
            #expect(latencies.read.percentiles.map(\.percent) == [50, 90, 99, 99.9, 99.99])
            #expect(
                latencies.read.percentiles.map(\.latency)
                    == [50_175, 90_111, 99_327, 100_351, 100_351].map(Duration.nanoseconds))
            #expect(latencies.read.percentile(0) == .nanoseconds(1_007))
            #expect(latencies.write.buckets == [.init(4_992, 5_055, 1)])
            #expect(latencies.other.buckets == [.init(6_976, 7_039, 1)])
            #expect(latencies.total.count == 102)
            #expect(latencies.total.buckets.map(\.count).reduce(0, +) == 102)
            await descriptor.close()
            #expect(try await scene.engine.latencies(of: "disk").total.count == 102)
        }
    }

    @Test func `only the kinds that are named are recorded, and others from then on when that changes`() throws {
        try simulate { here, scene in
            scene.device.pace = .later { _ in .microseconds(3) }
            try await scene.withChannel { channel in
                func round() async throws {
                    #expect(await channel.readOnce(at: 0) == nil)
                    #expect(await channel.writeOnce(at: 0) == nil)
                    try await channel.flush()
                    try await channel.unmap(at: .block(0), count: .blocks(1))
                }
                func counts() async throws -> [UInt64] {
                    let latencies = try await scene.engine.latencies(of: "disk")
                    return [latencies.read.count, latencies.write.count, latencies.other.count]
                }
                try await round()
                try await scene.engine.recordLatencies(of: "disk", types: [.write, .flush])
                try await round()
                #expect(try await counts() == [0, 1, 1])
                try await scene.engine.recordLatencies(of: "disk", types: .read)
                try await round()
                #expect(try await counts() == [1, 1, 1])
                try await scene.engine.recordLatencies(of: "disk")
                try await round()
                #expect(try await counts() == [2, 2, 3])
                try await scene.engine.recordLatencies(of: "disk", types: [])
                try await round()
                #expect(
                    await code { () throws(BdevError) in _ = try await scene.engine.latencies(of: "disk") }
                        == .invalidArgument)
                try await scene.engine.recordLatencies(of: "disk")
                #expect(try await counts() == [0, 0, 0])
            }
        }
    }

    @Test func `recording begins and ends under I/O`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            func read() -> Task<BdevError.Code?, Never> {
                Task(executorPreference: here.reactor.taskExecutor) { await channel.readOnce(at: 0) }
            }
            let first = read()
            try await here.sleep(for: .microseconds(100))
            try await scene.engine.recordLatencies(of: "disk")
            scene.device.completeAll()
            #expect(await first.value == nil)
            let second = read()
            try await here.sleep(for: .microseconds(100))
            #expect(
                try await scene.engine.latencies(of: "disk").read.percentiles.first?.latency == .nanoseconds(100_351))
            try await scene.engine.recordLatencies(of: "disk", types: [])
            scene.device.completeAll()
            #expect(await second.value == nil)
            await descriptor.close()
        }
    }

    @Test func `a channel's own histogram and the bdev's do not disturb one another`() throws {
        try simulate { here, scene in
            scene.device.pace = .later { _ in .microseconds(3) }
            let counts = try await scene.withChannel { channel in
                let histogram = LatencyHistogram(), view = Sent(histogram)
                channel.recordLatencies(in: histogram)
                try await scene.engine.recordLatencies(of: "disk", types: .write)
                #expect(await channel.readOnce(at: 0) == nil)
                #expect(await channel.writeOnce(at: 0) == nil)
                #expect(channel.latencyHistogram === view.histogram)
                channel.recordLatencies(in: nil)
                #expect(await channel.writeOnce(at: 0) == nil)
                #expect(channel.latencyHistogram == nil)
                return [view.histogram.totalCount, try await scene.engine.latencies(of: "disk").total.count]
            }
            #expect(counts == [2, 2])
        }
    }

    // MARK: The histogram by itself

    @Test(arguments: UInt64(0)..<60)
    func `a percentile is that of the sorted values to within 1_6 %`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let histogram = LatencyHistogram()
        var values: [UInt64] = []
        let bits = Int.random(in: 1...64, using: &random)
        for _ in 0..<Int.random(in: 1...500, using: &random) {
            let value = random.next() >> UInt64(64 - Int.random(in: 0...bits, using: &random))
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        #expect(histogram.totalCount == UInt64(values.count))
        for fraction in [0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
            let rank = max(1, Int((Double(values.count) * fraction).rounded(.up)))
            let exact = values[rank - 1], found = histogram.percentile(fraction)
            #expect(found >= exact, "seed \(seed), \(fraction)")
            #expect(Double(found - exact) <= 0.016 * Double(exact), "seed \(seed), \(fraction): \(found) for \(exact)")
        }
    }

    @Test func `small values are exact, and the largest has a place`() {
        let histogram = LatencyHistogram()
        for value in UInt64(0)..<64 { histogram.record(value) }
        #expect(histogram.buckets.map(\.upperBound) == Array(0..<64))
        #expect(histogram.buckets.allSatisfy { $0.count == 1 })
        histogram.record(.max)
        #expect(histogram.percentile(1) == .max)
        histogram.record(1 << 63)
        #expect(histogram.totalCount == 66)
    }

    @Test func `an empty histogram has no percentiles`() {
        #expect(LatencyHistogram().percentile(0.5) == 0)
        #expect(LatencyHistogram().buckets.isEmpty)
    }

    @Test func `two histograms add up to one of both`() {
        var random = SeededRandom(seed: 4)
        let a = LatencyHistogram(), b = LatencyHistogram(), both = LatencyHistogram()
        for index in 0..<1000 {
            let value = random.next() >> 40
            (index % 2 == 0 ? a : b).record(value)
            both.record(value)
        }
        a.add(b)
        #expect(a.totalCount == 1000)
        #expect(a.buckets.map(\.count) == both.buckets.map(\.count))
        #expect(a.percentile(0.9) == both.percentile(0.9))
    }

    @Test(arguments: UInt64(0)..<20)
    func `every value lies in its bucket, and the buckets touch`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            let value = random.next() >> UInt64.random(in: 0..<64, using: &random)
            let histogram = LatencyHistogram()
            histogram.record(value)
            let bound = histogram.buckets[0].upperBound
            #expect(histogram.buckets.count == 1)
            #expect(bound >= value, "seed \(seed), \(value)")
            if bound == .max { continue }
            histogram.record(bound)
            #expect(histogram.buckets.count == 1, "seed \(seed), \(value)")
            histogram.record(bound + 1)
            #expect(histogram.buckets.count == 2, "seed \(seed), \(value)")
        }
    }
}

extension LatencyDistribution.Bucket {
    /// A bucket from and to so many nanoseconds.
    fileprivate init(_ lower: Int, _ upper: Int, _ count: UInt64) {
        self.init(lowerBound: .nanoseconds(lower), upperBound: .nanoseconds(upper), count: count)
    }
}

/// A second look at what was sent away: in a simulation there is one thread.
private final class Sent: @unchecked Sendable {
    let histogram: LatencyHistogram
    init(_ histogram: LatencyHistogram) { self.histogram = histogram }
}
