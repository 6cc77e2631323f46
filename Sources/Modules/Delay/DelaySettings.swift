import Bdev
import Reactors
import Synchronization

/// The latencies of one bdev. Read by its channels on all reactors, without a lock.
final class DelaySettings: Sendable {
    let seed: UInt64?
    /// In nanoseconds.
    let jitter: UInt64
    private let averageRead: Atomic<UInt64>
    private let p99Read: Atomic<UInt64>
    private let averageWrite: Atomic<UInt64>
    private let p99Write: Atomic<UInt64>
    /// Held while latencies are compared and one is changed.
    private let changing = ThreadLock(())

    private static let longest = Duration.seconds(86_400)

    init(_ options: DelayModule.Options) throws(BdevError) {
        let name = options.name
        seed = options.seed
        jitter = try Self.nanoseconds(options.jitter, name)
        averageRead = Atomic(try Self.nanoseconds(options.averageRead, name))
        p99Read = Atomic(try Self.nanoseconds(options.p99Read, name))
        averageWrite = Atomic(try Self.nanoseconds(options.averageWrite, name))
        p99Write = Atomic(try Self.nanoseconds(options.p99Write, name))
        try Self.compare(options.averageRead, options.p99Read, name)
        try Self.compare(options.averageWrite, options.p99Write, name)
    }

    private static func nanoseconds(_ duration: Duration, _ name: String) throws(BdevError) -> UInt64 {
        if duration < .zero || duration > longest {
            throw BdevError(
                .invalidArgument, bdev: name, "cannot delay I/O by \(duration)",
                advice: "use a latency from 0 to \(longest)")
        }
        let (seconds, attoseconds) = duration.components
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
    }

    private static func compare(_ average: Duration, _ p99: Duration, _ name: String) throws(BdevError) {
        if p99 >= average { return }
        throw BdevError(
            .invalidArgument, bdev: name, "the p99 latency (\(p99)) is below the average (\(average))",
            advice: "make it at least as long")
    }

    /// In nanoseconds.
    func latency(_ kind: DelayModule.LatencyKind) -> UInt64 {
        switch kind {
        case .averageRead: averageRead.load(ordering: .relaxed)
        case .p99Read: p99Read.load(ordering: .relaxed)
        case .averageWrite: averageWrite.load(ordering: .relaxed)
        case .p99Write: p99Write.load(ordering: .relaxed)
        }
    }

    func set(_ kind: DelayModule.LatencyKind, to latency: Duration, _ name: String) throws(BdevError) {
        let value = try Self.nanoseconds(latency, name)
        let other: DelayModule.LatencyKind =
            switch kind {
            case .averageRead: .p99Read
            case .p99Read: .averageRead
            case .averageWrite: .p99Write
            case .p99Write: .averageWrite
            }
        let refusal: BdevError? = changing.withLock { _ in
            let otherLatency = Duration.nanoseconds(Int64(self.latency(other)))
            let isAverage = kind == .averageRead || kind == .averageWrite
            do throws(BdevError) {
                try Self.compare(isAverage ? latency : otherLatency, isAverage ? otherLatency : latency, name)
            } catch {
                return error
            }
            store(value, kind)
            return nil
        }
        if let refusal { throw refusal }
    }

    private func store(_ value: UInt64, _ kind: DelayModule.LatencyKind) {
        switch kind {
        case .averageRead: averageRead.store(value, ordering: .relaxed)
        case .p99Read: p99Read.store(value, ordering: .relaxed)
        case .averageWrite: averageWrite.store(value, ordering: .relaxed)
        case .p99Write: p99Write.store(value, ordering: .relaxed)
        }
    }
}
