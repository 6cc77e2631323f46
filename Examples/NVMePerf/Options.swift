import ArgumentParser
import NVMeDriver
import NVMeTools
import Reactors
import ToolSupport

/// The command line. Flags are those of SPDK's tool where it has them.
struct Options: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "nvme-perf")

    @Option(name: [.customShort("q"), .customLong("io-depth")], help: "I/Os in flight for each worker.")
    var depth = 32
    @Option(name: [.customShort("o"), .customLong("io-size")], help: "Bytes of an I/O, such as 4096 or 128k.")
    var ioSize = "4096"
    @Option(
        name: [.customShort("w"), .customLong("io-pattern")],
        help: "Workload: read, write, randread, randwrite, rw, randrw. What is written destroys what was there.")
    var workload = "randread"
    @Option(
        name: [.customShort("M"), .customLong("rwmixread")], help: "Percentage of reads of rw and randrw. (default: 50)"
    )
    var readPercent: Int?
    @Option(name: [.customShort("t"), .customLong("time")], help: "Seconds to run. (default: 5)")
    var seconds: Double?
    @Option(name: [.customShort("a"), .customLong("warmup-time")], help: "Seconds that are not counted, before that.")
    var warmUpSeconds: Double?
    @Option(
        name: [.customShort("d"), .customLong("number-ios")],
        help: "Stop after this many I/Os of each worker on each namespace.")
    var numberOfIOs: UInt64?
    @Option(
        name: [.customShort("c"), .customLong("core-mask")],
        help: "Cores: 0x3, 0,2-3, [0,2-3], numa:0, cores or all; a worker on each. (default: the first)")
    var cores: String?
    @Option(
        name: [.customShort("P"), .customLong("num-qpairs")],
        help: "Queue pairs of each worker on each namespace, which share the depth.")
    var queuePairCount = 1
    @Option(name: .customLong("io-queue-size"), help: "Entries of a queue. (default: enough for the depth)")
    var queueEntryCount: Int?
    @Option(
        name: [.customShort("b"), .customLong("allowed-pci-addr")],
        help: "A controller that is bound to vfio-pci; may be repeated. (default: all that are)")
    var addresses: [String] = []
    @Option(
        name: [.customShort("r"), .customLong("transport")],
        help: "A controller as 'trtype:PCIe traddr:0000:3b:00.0 ns:1'; may be repeated.")
    var transports: [String] = []
    @Flag(name: .customLong("soft"), help: "A controller in this process, made of memory: measures the driver alone.")
    var usesSoft = false
    @Flag(name: .customLong("bdev"), help: "Through the bdev of each namespace, by its synchronous face.")
    var usesBdevs = false
    @Argument(
        help:
            "Block devices through io_uring; a path has a slash. /dev/ng0n1: the kernel's commands. Or PCI addresses."
    )
    var devices: [String] = []

    @Flag(
        name: [.customShort("L"), .customLong("enable-sw-latency-tracking")],
        help: "Print percentiles of the latency; twice: every bucket.")
    var latencyDetail: Int
    @Flag(name: .customLong("transport-stats"), help: "Print what the queue pairs counted.")
    var printsStatistics = false
    @Option(
        name: [.customShort("Q"), .customLong("continue-on-error")],
        help: "Go on after failures, and print every so many of them; 0: none.")
    var failureInterval: UInt64?
    @Flag(name: [.customShort("E"), .customLong("enable-interrupt")], help: "Sleep until the device interrupts.")
    var usesInterrupts = false
    @Flag(
        name: .customLong("shadow-doorbells"), inversion: .prefixedNo,
        help: "Use the words of memory that a controller offers in place of doorbells; default: without an IOMMU.")
    var usesShadowDoorbells: Bool?
    @Flag(
        name: .customLong("allow-no-iommu"),
        help: "UNSAFE: take devices that no IOMMU looks after, too. Wants root, and hugepages (vm.nr_hugepages).")
    var allowsNoIOMMU = false
    @Flag(name: .customLong("fua"), help: "Force unit access.")
    var forcesUnitAccess = false
    @Flag(name: .customLong("disable-cpumask-locks"), help: "Share cores with other instances.")
    var sharesCores = false
    @Option(help: "Of random places.")
    var seed: UInt64 = 1
    @Option(help: "Print the results as a table or as json.")
    var output = "table"

    // SPDK's, with nothing to do: accepted.
    @Flag(name: [.customShort("R"), .customLong("enable-uring")], help: .hidden) var usesRing = false
    @Flag(name: [.customShort("D"), .customLong("disable-sq-cmb")], help: .hidden) var avoidsControllerMemory = false
    @Option(name: [.customShort("s"), .customLong("hugemem-size")], help: .hidden) var memorySize: Int?
    @Flag(name: [.customShort("g"), .customLong("mem-single-seg")], help: .hidden) var usesOneSegment = false
    @Option(name: [.customShort("i"), .customLong("shmem-grp-id")], help: .hidden) var sharedMemoryGroup: Int?
    // SPDK's, and not offered: said instead of misread.
    @Option(name: [.customShort("O"), .customLong("io-unit-size")], help: .hidden) var unitSize: String?
    @Option(name: [.customShort("U"), .customLong("num-unused-qpairs")], help: .hidden) var unusedPairs: Int?
    @Option(name: [.customShort("A"), .customLong("buffer-alignment")], help: .hidden) var alignment: String?
    @Option(name: [.customShort("C"), .customLong("max-completion-per-poll")], help: .hidden) var completionLimit: Int?
    @Option(name: [.customShort("e"), .customLong("metadata")], help: .hidden) var metadata: String?
    @Option(name: [.customShort("F"), .customLong("zipf")], help: .hidden) var zipfTheta: Double?
    @Option(name: [.customShort("k"), .customLong("keepalive")], help: .hidden) var keepAlive: Int?
    @Flag(name: [.customShort("l"), .customLong("enable-ssd-latency-tracking")], help: .hidden) var asksDevice = false
    @Flag(name: [.customShort("m"), .customLong("cpu-usage")], help: .hidden) var printsUsage = false
    @Flag(name: [.customShort("N"), .customLong("no-shst-notification")], help: .hidden) var skipsShutdown = false
    @Flag(name: [.customShort("V"), .customLong("enable-vmd")], help: .hidden) var enumeratesVMD = false
    @Flag(name: [.customShort("H"), .customLong("enable-tcp-hdgst")], help: .hidden) var headerDigest = false
    @Flag(name: [.customShort("I"), .customLong("enable-tcp-ddgst")], help: .hidden) var dataDigest = false
    @Option(name: [.customShort("S"), .customLong("default-sock-impl")], help: .hidden) var sockets: String?
    @Option(name: [.customShort("z"), .customLong("disable-zcopy")], help: .hidden) var copies: String?
    @Option(name: [.customShort("Z"), .customLong("enable-zcopy")], help: .hidden) var copiesNot: String?
    @Option(name: [.customShort("T"), .customLong("logflag")], help: .hidden) var logFlag: String?
    @Flag(name: [.customShort("G"), .customLong("enable-debug")], help: .hidden) var debugs = false
}

// MARK: What it means

extension Options {
    private func refuseAbsent() throws(UsageError) {
        let fabrics = "fabrics are not driven; PCIe is"
        let absent: [(String, Bool, String)] = [
            ("-O", unitSize != nil, "an I/O's data lies in one stretch"),
            ("-U", unusedPairs != nil, "queue pairs that nobody uses cost a poller nothing here"),
            ("-A", alignment != nil, "buffers lie at multiples of 4,096 bytes"),
            ("-C", completionLimit != nil, "a poll takes no more completions than a queue has entries"),
            ("-e", metadata != nil, "metadata is moved, and protection information is not checked"),
            ("-F", zipfTheta != nil, "use bdevperf -F"),
            ("-k", keepAlive != nil, "a PCIe controller needs no keep-alive"),
            ("-l", asksDevice, "the devices' own latency logs are vendors'; use -L"),
            ("-m", printsUsage, "a polled reactor is always busy"),
            ("-N", skipsShutdown, "controllers are always told that power may go"),
            ("-V", enumeratesVMD, "devices behind VMD are found by their own addresses"),
            ("-H", headerDigest, fabrics), ("-I", dataDigest, fabrics), ("-S", sockets != nil, fabrics),
            ("-z", copies != nil, fabrics), ("-Z", copiesNot != nil, fabrics),
            ("-T", logFlag != nil, "there are no log flags"), ("-G", debugs, "there are no log flags"),
        ]
        for (flag, isGiven, reason) in absent where isGiven {
            throw UsageError("\(flag) is not offered: \(reason); leave it out")
        }
    }

    func plan() throws(UsageError) -> Plan {
        try refuseAbsent()
        var plan = Plan()
        guard let workload = Plan.Workload(rawValue: workload) else {
            let names = Plan.Workload.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("-w '\(workload)' is no workload; use \(names)")
        }
        plan.workload = workload
        plan.depth = try within("-q", depth, 1...65_534)
        let bytes = try byteCount(ioSize, for: "-o")
        if bytes == 0 || bytes > 1 << 30 {
            throw UsageError("-o \(ioSize): an I/O has 1 byte to 1 GiB; choose a multiple of the block size")
        }
        plan.ioByteCount = Int(bytes)
        try setMixture(&plan)
        try setTimes(&plan)
        if let cores {
            do { plan.cores = try CoreList(parsing: cores) } catch { throw UsageError("-c \(error)") }
        }
        plan.queuePairCount = try within("-P", queuePairCount, 1...plan.depth)
        plan.queueEntryCount = try queueEntryCount.map { count throws(UsageError) in
            try within("--io-queue-size", count, 2...65_536)
        }
        plan.sharesCores = sharesCores
        plan.usesInterrupts = usesInterrupts
        plan.usesShadowDoorbells = usesShadowDoorbells
        plan.allowsNoIOMMU = allowsNoIOMMU
        plan.forcesUnitAccess = forcesUnitAccess
        if usesBdevs, forcesUnitAccess {
            throw UsageError("--fua is not offered with --bdev: a bdev is flushed instead; leave one out")
        }
        plan.usesBdevs = usesBdevs
        plan.failureInterval = failureInterval
        plan.latencyDetail = latencyDetail
        plan.printsStatistics = printsStatistics
        plan.seed = seed
        switch output {
        case "table": break
        case "json": plan.printsJSON = true
        default: throw UsageError("--output '\(output)' is no format; use table or json")
        }
        try setTargets(&plan)
        return plan
    }

    private func within(_ flag: String, _ value: Int, _ range: ClosedRange<Int>) throws(UsageError) -> Int {
        if range.contains(value) { return value }
        throw UsageError("\(flag) \(value) is out of range; use \(range.lowerBound) to \(range.upperBound)")
    }

    private func setMixture(_ plan: inout Plan) throws(UsageError) {
        let isMixed = plan.workload == .rw || plan.workload == .randrw
        if let readPercent {
            if !isMixed { throw UsageError("-M goes with -w rw and randrw; leave it out") }
            plan.readPercent = try within("-M", readPercent, 0...100)
        } else {
            plan.readPercent = isMixed ? 50 : plan.workload.writes ? 0 : 100
        }
    }

    private func setTimes(_ plan: inout Plan) throws(UsageError) {
        for (flag, value) in [("-t", seconds), ("-a", warmUpSeconds)] {
            if let value, !(0.001...1_000_000.0 ~= value) {
                throw UsageError("\(flag) \(value) is out of range; use 0.001 to 1000000 seconds")
            }
        }
        if numberOfIOs == 0 { throw UsageError("--number-ios 0 leaves nothing to do; use 1 or more") }
        if numberOfIOs != nil, warmUpSeconds != nil {
            throw UsageError("-a and --number-ios exclude each other: all I/Os of a number are counted; leave one out")
        }
        plan.ioCount = numberOfIOs
        plan.duration = seconds.map { Duration(seconds: $0) } ?? (numberOfIOs == nil ? plan.duration : nil)
        plan.warmUp = warmUpSeconds.map { Duration(seconds: $0) } ?? .zero
    }

    private func setTargets(_ plan: inout Plan) throws(UsageError) {
        for address in addresses { plan.targets.append(Plan.Target(device: try Device(parsing: address))) }
        for transport in transports { plan.targets.append(try target(transport)) }
        for device in devices {
            // /dev/nvme0n1 is measured as the block device that it is.
            let takesCommands = device.hasPrefix("/dev/ng")
            if device.contains("/"), !takesCommands {
                plan.files.append(device)
            } else {
                plan.targets.append(Plan.Target(device: try Device(parsing: device)))
            }
        }
        if usesSoft { plan.targets.append(Plan.Target(device: .soft)) }
        if Set(plan.targets.map(\.device)).count < plan.targets.count {
            throw UsageError("a controller is named twice; name each once")
        }
    }

    /// `trtype:PCIe traddr:0000:04:00.0 ns:1`.
    private func target(_ text: String) throws(UsageError) -> Plan.Target {
        var device: Device?
        var namespaceID: UInt32?
        for word in text.split(whereSeparator: { $0 == " " || $0 == "," }) {
            let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
            let value = parts.count == 2 ? parts[1] : ""
            switch parts[0].lowercased() {
            case "trtype" where value.lowercased() == "pcie": break
            case "traddr": device = try Device(parsing: value)
            case "ns":
                guard let id = UInt32(value), id > 0 else {
                    throw UsageError("-r '\(text)': ns:\(value) is no namespace identifier; use 1 or more")
                }
                namespaceID = id
            default:
                throw UsageError("-r '\(text)': '\(word)' is not known; use trtype:PCIe, traddr:ADDRESS and ns:NUMBER")
            }
        }
        guard let device else { throw UsageError("-r '\(text)' names no device; add traddr:0000:3b:00.0") }
        return Plan.Target(device: device, namespaceID: namespaceID)
    }
}
