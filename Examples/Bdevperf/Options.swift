import ArgumentParser
import Reactors
import ToolSupport

/// The command line. Flags are SPDK bdevperf's where it has them.
struct Options: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bdevperf")

    @Option(name: .customShort("q"), help: "I/Os in flight for each job.")
    var depth = 32
    @Option(name: .customShort("o"), help: "Bytes of an I/O, such as 4096 or 128k.")
    var ioSize = "4096"
    @Option(
        name: .customShort("w"),
        help: "Workload: read, write, randread, randwrite, rw, randrw, verify, reset, unmap, flush, write_zeroes.")
    var workload = "randread"
    @Option(name: .customShort("t"), help: "Seconds to run. (default: 5)")
    var seconds: Double?
    @Option(name: .customLong("number-ios"), help: "Stop after this many I/Os in all instead of a time.")
    var numberOfIOs: UInt64?
    @Option(name: .customShort("M"), help: "Percentage of reads of rw and randrw. (default: 50)")
    var readPercent: Int?
    @Option(
        help: "Submit by: async (a task for each slot), batch, engine (callbacks), global (tasks off the reactors).")
    var api = "async"

    @Flag(name: .customLong("null"), help: "Use a null bdev of 1 GiB: measures everything but a device.")
    var usesNull = false
    @Flag(name: .customLong("null-parked"), help: "Its I/Os complete in the next turn, as a device's would.")
    var nullIsParked = false
    @Option(name: .customLong("malloc"), help: "Use a RAM disk of this size, such as 256M.")
    var mallocSize: String?
    @Option(
        name: .customLong("file"),
        help: "Use PATH[:SIZE] through io_uring; with a size, the file is made when it is not there.")
    var file: String?
    @Option(
        name: [.customShort("c"), .customLong("json"), .customLong("config")],
        help: "Make the bdevs of this JSON configuration.")
    var configuration: String?
    @Option(name: .customShort("T"), help: "Use only this bdev.")
    var onlyBdev: String?

    @Option(
        name: [.customShort("m"), .customLong("cpumask")],
        help: "Cores: 0x3, 0,2-3, [0,2-3], numa:0, cores or all. (default: the first)")
    var cores: String?
    @Flag(name: .customShort("C"), help: "Every reactor sends I/O to each bdev.")
    var allReactors = false
    @Flag(name: .customLong("poll"), help: "Reactors never sleep.")
    var polls = false
    @Flag(name: .customLong("disable-cpumask-locks"), help: "Share cores with other instances.")
    var sharesCores = false

    @Flag(name: .customShort("l"), help: "Record latencies and print percentiles; twice: every bucket.")
    var latencyDetail: Int
    @Option(name: .customShort("S"), help: "Print a live line every so many seconds.")
    var liveInterval: Double?
    @Option(name: .customShort("P"), help: "Average the live line over so many intervals.")
    var liveAverageCount: Int?
    @Flag(name: .customShort("f"), help: "Go on after failures.")
    var continuesAfterFailure = false
    @Option(name: .customShort("F"), help: "Choose random places by Zipf's law with this theta, above 0 and not 1.")
    var zipfTheta: Double?
    @Flag(name: .customShort("D"), help: "Choose random places so that none is repeated before all were used.")
    var usesEachPlaceOnce = false
    @Option(help: "Of random places and of verify's content.")
    var seed: UInt64 = 1
    @Option(
        name: .customLong("verify-phase"),
        help: "verify: write (only), read (check what an earlier run wrote with the same seed) or both.")
    var verifyPhase = "both"
    @Option(help: "Print the results as a table or as json.")
    var output = "table"

    @Flag(
        help:
            "Show a file through io_uring beside RAM and null, in a minute. With --file PATH: that file, made for it."
    )
    var demo = false
    @Flag(help: "--demo: write over what is in the file.")
    var overwrite = false
    @Flag(help: "Measure the executor: jobs and messages a second, as JSON.")
    var executor = false

    // Known from SPDK, with nothing to do or not offered: said instead of misread.
    @Flag(name: .customShort("N"), help: .hidden) var hidesMetadata = false
    @Flag(name: .customShort("H"), help: .hidden) var usesNormalPages = false
    @Option(name: .customShort("k"), help: .hidden) var starvationTimeout: Double?
    @Flag(name: .customShort("Z"), help: .hidden) var usesZeroCopy = false
    @Flag(name: .customShort("z"), help: .hidden) var waitsForRPC = false
    @Flag(name: .customShort("X"), help: .hidden) var abortsTimedOut = false
    @Flag(name: .customShort("E"), help: .hidden) var sharesThreads = false
    @Flag(name: .customShort("U"), help: .hidden) var usesUniqueData = false
    @Option(name: .customShort("j"), help: .hidden) var jobFile: String?
    @Option(name: .customShort("J"), help: .hidden) var rpcLog: String?
    @Option(name: .customShort("r"), help: .hidden) var rpcSocket: String?

    // MARK: What it means

    enum Output { case table, json }

    func outputFormat() throws(UsageError) -> Output {
        switch output {
        case "table": return .table
        case "json": return .json
        default: throw UsageError("--output '\(output)' is no format; use table or json")
        }
    }

    func coreList() throws(UsageError) -> CoreList {
        guard let cores else { return .first }
        do { return try CoreList(parsing: cores) } catch { throw UsageError("-m \(error)") }
    }

    private func refuseAbsent() throws(UsageError) {
        let absent: [(String, Bool, String)] = [
            ("-k", (starvationTimeout ?? 0) != 0, "starved I/O is not detected"),
            ("-X", abortsTimedOut, "starved I/O is not detected"),
            ("-Z", usesZeroCopy, "there is no zero-copy API"), ("-z", waitsForRPC, "there is no RPC server"),
            ("-r", rpcSocket != nil, "there is no RPC server"), ("-J", rpcLog != nil, "there is no RPC server"),
            ("-j", jobFile != nil, "there are no job files; give the workload on the command line"),
            ("-E", sharesThreads, "jobs of a reactor always share its thread"),
            ("-U", usesUniqueData, "use -w verify, which writes different data each time"),
        ]
        for (flag, isGiven, reason) in absent where isGiven {
            throw UsageError("\(flag) is not offered: \(reason); leave it out")
        }
    }

    /// The run. Notices are for the user, on standard error.
    func plan(_ notice: (String) -> Void) throws(UsageError) -> Plan {
        try refuseAbsent()
        var plan = Plan()
        guard let workload = Workload(rawValue: workload) else {
            throw UsageError("-w '\(workload)' is no workload; use \(Workload.names)")
        }
        guard let api = API(rawValue: api) else { throw UsageError("--api '\(api)' is not there; use \(API.names)") }
        plan.workload = workload
        plan.api = api
        plan.depth = try within("-q", depth, 1...32768)
        let bytes = try byteCount(ioSize, for: "-o")
        if bytes == 0 || bytes > 1 << 30 {
            throw UsageError("-o \(ioSize): an I/O has 1 byte to 1 GiB; choose a multiple of the block size")
        }
        plan.ioByteCount = Int(bytes)
        if plan.depth * plan.ioByteCount > 16 << 30 {
            throw UsageError("-q \(depth) -o \(ioSize) needs more than 16 GiB of buffers; lower one of them")
        }
        try setTimes(&plan)
        if let readPercent {
            plan.readPercent = try within("-M", readPercent, 0...100)
            if !workload.isMixed {
                notice("-M is ignored: \(workload.rawValue) is no mixture; it goes with rw and randrw")
            }
        }
        plan.allReactors = allReactors
        plan.continuesAfterFailure = continuesAfterFailure
        plan.latencyDetail = latencyDetail
        plan.seed = seed
        try setOrder(&plan)
        try setVerification(&plan)
        return plan
    }

    private func within(_ flag: String, _ value: Int, _ range: ClosedRange<Int>) throws(UsageError) -> Int {
        if range.contains(value) { return value }
        throw UsageError("\(flag) \(value) is out of range; use \(range.lowerBound) to \(range.upperBound)")
    }

    private func setTimes(_ plan: inout Plan) throws(UsageError) {
        let range = 0.001...1_000_000.0
        for (flag, value) in [("-t", seconds), ("-S", liveInterval)] {
            if let value, !range.contains(value) {
                throw UsageError("\(flag) \(value) is out of range; use 0.001 to 1000000 seconds")
            }
        }
        if numberOfIOs == 0 { throw UsageError("--number-ios 0 leaves nothing to do; use 1 or more") }
        plan.ioCount = numberOfIOs
        plan.duration = seconds.map { Duration(seconds: $0) } ?? (numberOfIOs == nil ? plan.duration : nil)
        plan.liveInterval = liveInterval.map { Duration(seconds: $0) }
        if let liveAverageCount {
            plan.liveAverageCount = try within("-P", liveAverageCount, 1...10_000)
            if liveInterval == nil {
                throw UsageError("-P averages the live line; add -S with its interval in seconds")
            }
        }
    }

    private func setOrder(_ plan: inout Plan) throws(UsageError) {
        plan.order = plan.workload.isRandom ? .random : .sequential
        if zipfTheta != nil && usesEachPlaceOnce { throw UsageError("-F and -D exclude each other; leave one out") }
        let flag = zipfTheta != nil ? "-F" : "-D"
        if (zipfTheta != nil || usesEachPlaceOnce) && !plan.workload.isRandom {
            throw UsageError(
                "\(flag) chooses random places, and \(workload) is sequential; use randread, randwrite or randrw")
        }
        if usesEachPlaceOnce { plan.order = .permuted }
        if let zipfTheta {
            if !(zipfTheta > 0 && zipfTheta < 100 && zipfTheta != 1) {
                throw UsageError("-F \(zipfTheta) is no theta; use a number above 0 that is not 1, such as 0.9")
            }
            plan.order = .zipf
            plan.zipfTheta = zipfTheta
        }
    }

    private func setVerification(_ plan: inout Plan) throws(UsageError) {
        guard let phase = Plan.VerifyPhase(rawValue: verifyPhase) else {
            throw UsageError("--verify-phase '\(verifyPhase)' is none; use write, read or both")
        }
        plan.verifyPhase = phase
        if plan.workload != .verify && phase != .both {
            throw UsageError("--verify-phase goes with -w verify; leave it out")
        }
        if (plan.workload == .verify || plan.workload == .reset) && plan.api != .async {
            throw UsageError("-w \(workload) uses --api async; leave --api out")
        }
        if plan.workload == .verify && phase == .read && plan.ioCount == nil && seconds == nil { plan.duration = nil }
    }
}
