import Reactors
import Synchronization

/// The limits of one bdev, shared by its channels on all reactors.
///
/// Each limit is the instant at which the next I/O may begin. An I/O moves it on by its own share of a second and
/// begins when it comes; an instant that lies too far back is moved up to where the burst begins. No timer adds
/// anything, so nothing is lost to one that is late.
final class RateLimiter: Sendable {
    let limits: QoSLimits
    let limitsBytes: Bool
    private let operations: Limit
    private let bytes: Limit
    private let readBytes: Limit
    private let writtenBytes: Limit

    init(_ limits: QoSLimits, clock: ReactorClock) {
        self.limits = limits
        let now = clock.now(), burst = clock.ticks(limits.burst)
        func limit(_ rate: UInt64?) -> Limit {
            Limit(rate: rate, ticksPerSecond: clock.ticksPerSecond, burst: burst, now: now)
        }
        var others = limits
        others.operationsPerSecond = nil
        limitsBytes = !others.isUnlimited
        operations = limit(limits.operationsPerSecond)
        bytes = limit(limits.bytesPerSecond)
        readBytes = limit(limits.readBytesPerSecond)
        writtenBytes = limit(limits.writeBytesPerSecond)
    }

    /// Has an I/O take its share of all limits that concern it. When it may begin, in ticks; not later than `now`: at
    /// once.
    func reserve(isRead: Bool, byteCount: UInt64, now: UInt64) -> UInt64 {
        var start = now
        if operations.isOn { start = max(start, operations.reserve(1, now)) }
        if bytes.isOn { start = max(start, bytes.reserve(byteCount, now)) }
        if isRead {
            if readBytes.isOn { start = max(start, readBytes.reserve(byteCount, now)) }
        } else if writtenBytes.isOn {
            start = max(start, writtenBytes.reserve(byteCount, now))
        }
        return start
    }

    /// The same where nothing else is limited than operations.
    @inline(__always)
    func reserveOperation(now: UInt64) -> UInt64 { operations.reserve(1, now) }

    private struct Limit: ~Copyable, Sendable {
        let isOn: Bool
        /// Ticks for each unit, in 1/2^32.
        private let cost: UInt64
        private let burst: UInt64
        private let next: Atomic<UInt64>

        init(rate: UInt64?, ticksPerSecond: UInt64, burst: UInt64, now: UInt64) {
            isOn = rate != nil
            let scaled = ticksPerSecond.multipliedFullWidth(by: 1 << 32)
            let rate = max(rate ?? 1, scaled.high + 1)
            cost = rate.dividingFullWidth(scaled).quotient
            self.burst = burst
            next = Atomic(now)
        }

        @inline(__always)
        func reserve(_ units: UInt64, _ now: UInt64) -> UInt64 {
            let (high, low) = units.multipliedFullWidth(by: cost)
            let share = high &<< 32 | low &>> 32
            let earliest = now > burst ? now &- burst : 0
            var seen = next.load(ordering: .relaxed)
            while true {
                let start = max(seen, earliest)
                let (isDone, found) = next.weakCompareExchange(
                    expected: seen, desired: start &+ share, ordering: .relaxed)
                if isDone { return start }
                seen = found
            }
        }
    }
}
