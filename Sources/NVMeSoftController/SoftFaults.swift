public import NVMeDriver
import Reactors

/// What goes wrong with a soft controller, and when.
struct SoftFaults {
    struct Failure {
        let opcode: UInt8
        var count: Int
        let status: NVMeStatus
    }

    /// How long an I/O command takes: a time between these, which the seed decides. Commands end in the order of their
    /// ends, and so in any order.
    var latency: ClosedRange<Duration> = .zero ... .zero
    var failures: [Failure] = []
    /// By opcode: how many more I/O commands never end.
    var losses: [UInt8: Int] = [:]
    /// Whether an Abort finds the command that it names.
    var abortsCommands = true
    /// It never says that it has shut down.
    var ignoresShutdown = false
    var tampering = SoftTampering()
    var misbehavior: SoftController.Misbehavior?
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// What a command of this opcode ends with instead of being done.
    mutating func failure(of opcode: UInt8) -> NVMeStatus? {
        guard let index = failures.firstIndex(where: { $0.opcode == opcode && $0.count > 0 }) else { return nil }
        failures[index].count -= 1
        return failures[index].status
    }

    mutating func loses(_ opcode: UInt8) -> Bool {
        guard let left = losses[opcode], left > 0 else { return false }
        losses[opcode] = left - 1
        return true
    }

    /// A time within the latency, in attoseconds' parts that the seed decides (SplitMix64).
    mutating func nextLatency() -> Duration {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        word ^= word >> 31
        let span = latency.upperBound - latency.lowerBound
        return latency.lowerBound + span * (Double(word >> 11) / Double(UInt64(1) << 53))
    }
}

extension SoftController {
    /// What a controller must not do.
    public enum Misbehavior: Sendable, Hashable, CaseIterable {
        /// It completes a command that nobody gave.
        case completesUnknownCommand
        /// It completes a command with an identifier out of all bounds.
        case completesIdentifierOutOfRange
        /// It completes a command twice.
        case completesTwice
    }

    /// Each I/O command from now on takes a time between these.
    public func setLatency(_ range: ClosedRange<Duration>) async { await change { $0.faults.latency = range } }

    /// The next `count` I/O commands of this opcode are not done, and end with `status`.
    public func fail(_ opcode: UInt8, count: Int, with status: NVMeStatus) async {
        await change { $0.faults.failures.append(.init(opcode: opcode, count: count, status: status)) }
    }

    /// The next `count` I/O commands of this opcode never end.
    public func lose(_ opcode: UInt8, count: Int) async { await change { $0.faults.losses[opcode] = count } }

    /// Abort commands abort nothing from now on.
    public func ignoreAborts() async { await change { $0.faults.abortsCommands = false } }

    /// It never says from now on that it has shut down.
    public func ignoreShutdown() async { await change { $0.faults.ignoresShutdown = true } }

    /// Once, with the next I/O command that ends.
    public func misbehave(_ how: Misbehavior) async { await change { $0.faults.misbehavior = how } }

    /// It reports a fatal error (CSTS.CFS), and does nothing more before it is reset.
    public func breakDown() async { await change { $0.breakDown() } }

    /// It is pulled out: all registers read as ones, for good.
    public func pullOut() async { await change { $0.pullOut() } }

    /// Answers are altered from now on as the bytes of `script` say, until they are used up; any bytes make a script.
    public func tamper(with script: [UInt8]) async { await change { $0.faults.tampering = SoftTampering(script) } }

    /// The zone that begins at block `zone` of a namespace can be read only from now on, or not even that.
    public func wearOutZone(_ zone: UInt64, of id: UInt32, isOffline: Bool = false) async {
        await change { engine in
            guard let namespace = engine.namespaces[id], let zones = namespace.zones else { return }
            namespace.zones?.wearOut(zones.index(of: zone), isOffline: isOffline)
        }
    }

    // MARK: Namespaces

    /// Another size, which the driver is told of.
    public func resizeNamespace(_ id: UInt32, blockCount: UInt64) async throws {
        try await change { engine throws(ReactorError) in
            guard let old = engine.namespaces[id] else { return }
            engine.namespaces[id] = try SoftNamespace(id: id, resizing: old, to: blockCount)
            engine.namespaceChanged(id)
        }
    }

    /// Another namespace, which the driver is told of.
    public func addNamespace(_ id: UInt32, _ options: SoftNamespaceOptions) async throws {
        try await change { engine throws(ReactorError) in
            engine.namespaces[id] = try SoftNamespace(id: id, options)
            engine.namespaceChanged(id)
        }
    }

    /// The namespace goes, which the driver is told of.
    public func removeNamespace(_ id: UInt32) async {
        await change { engine in
            engine.namespaces[id] = nil
            engine.namespaceChanged(id)
        }
    }
}
