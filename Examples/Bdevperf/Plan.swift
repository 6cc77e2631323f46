/// A run as the command line describes it, with every mistake found that can be found without a bdev.
struct Plan: Sendable {
    var workload = Workload.randread
    var api = API.async
    var depth = 32
    var ioByteCount = 4096
    var readPercent = 50
    /// nil: until `ioCount` is reached.
    var duration: Duration? = .seconds(5)
    /// How many I/Os in all; nil: until the time is up.
    var ioCount: UInt64?
    /// `-C`: each reactor sends to each bdev.
    var allReactors = false
    /// `-f`
    var continuesAfterFailure = false
    var order = Stream.Order.random
    var zipfTheta: Double?
    var zipf: Zipf?
    /// 0: none, 1: percentiles, 2: every bucket too.
    var latencyDetail = 0
    /// How often a live line is printed; nil: never.
    var liveInterval: Duration?
    /// Over how many live lines their figures are averaged.
    var liveAverageCount = 1
    var verifyPhase = VerifyPhase.both
    var seed: UInt64 = 1

    enum VerifyPhase: String, CaseIterable, Sendable { case both, write, read }

    /// The share of `ioCount` of one of `parts`; all there are without a count.
    func ioCount(of index: Int, parts: Int, in total: UInt64?) -> UInt64 {
        guard let total else { return .max }
        let (share, rest) = total.quotientAndRemainder(dividingBy: UInt64(parts))
        return share + (UInt64(index) < rest ? 1 : 0)
    }
}
