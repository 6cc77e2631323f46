import NVMeTools
import Reactors

/// A run as the command line describes it, with every mistake found that can be found without a device.
struct Plan: Sendable {
    enum Workload: String, CaseIterable, Sendable {
        case read, write, randread, randwrite, rw, randrw

        var isRandom: Bool { self == .randread || self == .randwrite || self == .randrw }
        var writes: Bool { self != .read && self != .randread }
    }

    /// A controller, and which of its namespaces; nil: all.
    struct Target: Sendable, Hashable {
        var device: Device
        var namespaceID: UInt32?
    }

    var workload = Workload.randread
    /// I/Os in flight for each worker.
    var depth = 32
    var ioByteCount = 4096
    /// Of a mixture; 100 or 0 otherwise.
    var readPercent = 100
    /// nil: until `ioCount` is reached.
    var duration: Duration? = .seconds(5)
    var warmUp = Duration.zero
    /// Of each worker on each namespace; nil: until the time is up.
    var ioCount: UInt64?
    var cores = CoreList.first
    var sharesCores = false
    /// For each worker on each namespace.
    var queuePairCount = 1
    /// nil: as many entries as the depth needs.
    var queueEntryCount: Int?
    var usesInterrupts = false
    var usesShadowDoorbells: Bool?
    var allowsNoIOMMU = false
    var forcesUnitAccess = false
    var usesBdevs = false
    /// After how many failures one more is printed; nil: the first one ends the run.
    var failureInterval: UInt64?
    /// 0: none, 1: percentiles, 2: every bucket too.
    var latencyDetail = 0
    var printsStatistics = false
    var printsJSON = false
    var seed: UInt64 = 1
    /// Empty, as `files` is: every controller that is with VFIO.
    var targets: [Target] = []
    /// Block devices of the kernel.
    var files: [String] = []
}
