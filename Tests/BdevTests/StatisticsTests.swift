import Bdev
import Reactors
import SimulatedReactors
import Testing

struct StatisticsTests {
    @Test func `what is done is counted by kind, with its latencies`() throws {
        try simulate { here, scene in
            let delays = [10, 30, 20]
            let next = Shared(0)
            scene.device.pace = .later { _ in
                next.value += 1
                return .microseconds(delays[(next.value - 1) % 3])
            }
            try await scene.withChannel { channel in
                for block in UInt64(0)..<3 { #expect(await channel.readOnce(at: block) == nil) }
                _ = try await channel.read(at: 0, segments: [5 * 512])
                #expect(await channel.writeOnce(at: 0) == nil)
                try await channel.unmap(at: .block(0), count: .blocks(9))
                try await channel.flush()
                let statistics = channel.statistics
                #expect(statistics.ticksPerSecond == 1_000_000_000)
                #expect(statistics.read.operationCount == 4)
                #expect(statistics.read.blockCount == 8)
                #expect(statistics.read.latencyTicks == 70_000)
                #expect(statistics.read.minimumLatencyTicks == 10_000)
                #expect(statistics.read.maximumLatencyTicks == 30_000)
                #expect(statistics.write.operationCount == 1)
                #expect(statistics.unmap.blockCount == 9)
                #expect(statistics.other.operationCount == 1)
                #expect(statistics.total.operationCount == 7)
                #expect(statistics.total.minimumLatencyTicks == 10_000)
            }
        }
    }

    @Test func `failures are counted by status and nowhere else`() throws {
        try simulate { here, scene in
            scene.device.answer = { $0.start == 1 ? .failed : $0.start == 2 ? .aborted : .success }
            try await scene.withChannel { channel in
                for block in [0, 1, 1, 2] as [UInt64] { _ = await channel.readOnce(at: block) }
                #expect(channel.statistics.errors == [.failed: 2, .aborted: 1])
                #expect(channel.statistics.read.operationCount == 1)
                // What a check refuses is not an I/O.
                #expect(await channel.readOnce(at: 5000) == .outOfRange)
                #expect(channel.statistics.errors.values.reduce(0, +) == 3)
            }
        }
    }

    @Test func `a bdev's figures sum its reactors and outlive its channels`() throws {
        try simulate(reactorCount: 3) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            for (index, reactor) in scene.reactors.enumerated() {
                let channel = try await descriptor.channel(on: reactor)
                for block in 0...UInt64(index) { #expect(await channel.readOnce(at: block) == nil) }
                if index == 1 { await channel.close() }
            }
            #expect(try await scene.engine.statistics("disk").read.operationCount == 6)
            await descriptor.close()
            let statistics = try await scene.engine.statistics("disk")
            #expect(statistics.read.operationCount == 6)
            #expect(statistics.ticksPerSecond == 1_000_000_000)
            #expect(await code { () throws(BdevError) in _ = try await scene.engine.statistics("no") } == .noSuchBdev)
        }
    }

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
}

/// A second look at what was sent away: in a simulation there is one thread.
private final class Sent: @unchecked Sendable {
    let histogram: LatencyHistogram
    init(_ histogram: LatencyHistogram) { self.histogram = histogram }
}
