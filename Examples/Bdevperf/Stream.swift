import Bdev
import Glibc

/// The I/Os of one queue slot, or of several that share it: how many, where, and which are reads.
///
/// A final class of plain stored properties: in a struct that lies in another class, each call of a mutating method
/// would be checked for exclusive access at run time, which costs more than all that it does.
final class Stream {
    private enum Direction { case reads, writes, mixed }
    enum Order: Sendable { case sequential, random, permuted, zipf }

    /// How many are still to be submitted.
    var remaining: UInt64
    private var state: UInt64
    private let order: Order
    private let direction: Direction
    private let readShare: UInt64
    /// Blocks of an I/O.
    private let blocks: UInt64
    /// I/O-sized places to choose among, and the first of them.
    private let places: UInt64
    private let first: UInt64
    /// Sequential: the next place, and the distance to the one after it.
    private var place: UInt64
    private let stride: UInt64
    private let zipf: Zipf?

    /// - Parameters:
    ///   - index: which of `count` streams over the same places this is.
    init(_ plan: Plan, places: UInt64, blocks: UInt64, index: Int, count: Int, seed: UInt64, remaining: UInt64) {
        self.remaining = remaining
        self.blocks = blocks
        order = plan.order
        let reads = plan.workload == .read || plan.workload == .randread || plan.workload == .reset
        direction = plan.workload.isMixed ? .mixed : reads ? .reads : .writes
        readShare = UInt64(plan.readPercent) << 32 / 100
        // Any state but 0 will do; neighbours must not look alike.
        state = (seed &+ UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15 | 1
        if order == .permuted {
            // Each stream has a region of its own, so that none repeats another's.
            let share = Swift.max(1, places / UInt64(count))
            first = Swift.min(UInt64(index) * share, places - 1)
            self.places = Swift.min(share, places - first)
            stride = 0
            place = state % self.places
        } else {
            first = 0
            self.places = places
            place = UInt64(index) % places
            stride = UInt64(count) % places
        }
        zipf = order == .zipf ? plan.zipf : nil
    }

    /// The next 64 random bits: xorshift64, Marsaglia 2003.
    @inline(__always)
    private func random() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    /// Where the next I/O goes.
    @inline(__always)
    func next() -> BdevOffset {
        if order == .random { return .block(random().multipliedFullWidth(by: places).high &* blocks) }
        return other()
    }

    @inline(never)
    private func other() -> BdevOffset {
        switch order {
        case .sequential, .random:
            let chosen = place
            place += stride
            if place >= places { place -= places }
            return .block(chosen &* blocks)
        case .permuted:
            // A linear congruential generator of full period over the next power of two; what lies beyond is skipped.
            let mask = places <= 1 ? 0 : UInt64.max >> UInt64((places - 1).leadingZeroBitCount)
            repeat {
                place = (place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407) & mask
            } while place >= places
            return .block((first + place) &* blocks)
        case .zipf:
            let unit = Double(random() >> 11) / Double(1 << 53)
            return .block(Swift.min(zipf?.place(unit) ?? 0, places - 1) &* blocks)
        }
    }

    @inline(__always)
    func nextIsRead() -> Bool {
        switch direction {
        case .reads: true
        case .writes: false
        case .mixed: random() >> 32 < readShare
        }
    }
}

/// Places chosen by Zipf's law with parameter theta, place 0 most often. Gray et al., "Quickly Generating
/// Billion-Record Synthetic Databases", SIGMOD 1994.
struct Zipf {
    private let count: Double
    private let theta: Double
    private let alpha: Double
    private let zetaN: Double
    private let eta: Double

    init(theta: Double, places: UInt64) {
        // Terms beyond the first 100,000 differ so little that an integral is as good as their sum.
        let exact = Swift.min(places, 100_000)
        var zeta = 0.0
        for rank in 1...exact { zeta += pow(1 / Double(rank), theta) }
        if places > exact { zeta += (pow(Double(places), 1 - theta) - pow(Double(exact), 1 - theta)) / (1 - theta) }
        count = Double(places)
        self.theta = theta
        alpha = 1 / (1 - theta)
        zetaN = zeta
        eta = (1 - pow(2 / Double(places), 1 - theta)) / (1 - (1 + pow(0.5, theta)) / zeta)
    }

    /// - Parameter unit: uniform from 0 to 1.
    func place(_ unit: Double) -> UInt64 {
        let share = unit * zetaN
        if share < 1 { return 0 }
        if share < 1 + pow(0.5, theta) { return 1 }
        return UInt64(Swift.max(0, count * pow(eta * unit - eta + 1, alpha)))
    }
}
