import CLinux
import SystemPackage

/// Which cores reactors are to run on: as a user writes it, before it is held against a machine.
///
/// | text | meaning |
/// |---|---|
/// | `0`, `0,2`, `0-3`, `[0,2-3]` | these cores, in this order |
/// | `0x3` | a mask of any length: bit 0 is core 0 |
/// | `numa:1` | every usable core of NUMA node 1 |
/// | `cores`, `one per core` | one of each physical core, SMT siblings left out |
/// | `all` | every usable core |
///
/// *Usable* is online and allowed by the process's affinity.
public struct CoreList: Sendable, Hashable, ExpressibleByArrayLiteral, CustomStringConvertible {
    private enum Selection: Hashable {
        case numbers([Int])
        case node(Int)
        case onePerCore, all, first
    }

    private let selection: Selection

    private init(_ selection: Selection) { self.selection = selection }

    /// One of each physical core.
    public static let onePerCore = CoreList(.onePerCore)
    /// Every usable core.
    public static let all = CoreList(.all)
    /// The first core the process may use: the default of a ``ReactorGroup``.
    public static let first = CoreList(.first)
    /// Every usable core of a NUMA node.
    public static func node(_ number: Int) -> CoreList { CoreList(.node(number)) }

    /// These cores, in this order.
    public init(_ cores: [Int]) { selection = .numbers(cores) }

    public init(arrayLiteral elements: Int...) { self.init(elements) }

    /// Linux numbers its cores below this.
    static let highestCore = 8191

    // MARK: Text

    /// - Throws: ``ReactorError/Code/invalidCoreList``, naming the part that has no meaning.
    public init(parsing text: String) throws(ReactorError) {
        let word = Self.trimmed(text[...])
        if word == "all" {
            selection = .all
        } else if word == "cores" || word == "one per core" {
            selection = .onePerCore
        } else if word.hasPrefix("numa:") {
            guard let node = Self.number(word.dropFirst(5)) else {
                throw Self.invalid("'\(text)' names no NUMA node", "write numa: and the node's number, such as numa:0")
            }
            selection = .node(node)
        } else if word.hasPrefix("0x") || word.hasPrefix("0X") {
            selection = .numbers(try Self.mask(word.dropFirst(2), text))
        } else {
            selection = .numbers(try Self.list(word, text))
        }
    }

    /// In the form that is parsed.
    public var description: String {
        switch selection {
        case .numbers(let cores):
            cores == cores.sorted() ? rangeText(cores) : cores.map(String.init).joined(separator: ",")
        case .node(let number): "numa:\(number)"
        case .onePerCore: "cores"
        case .all: "all"
        case .first: "first usable core"
        }
    }

    private static func list(_ word: Substring, _ text: String) throws(ReactorError) -> [Int] {
        var inner = word
        if inner.hasPrefix("[") && inner.hasSuffix("]") { inner = inner.dropFirst().dropLast() }
        var cores: [Int] = []
        for part in inner.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map {
                number(trimmed($0))
            }
            guard let first = ends.first ?? nil, let last = ends.count == 2 ? ends[1] : first else {
                throw invalid(
                    "'\(text)' is not a list of cores: '\(part)' is no core number or range",
                    "write a list such as 0,2-3, a mask such as 0x3, numa:0, cores or all")
            }
            if last > highestCore {
                throw invalid("core \(last) in '\(text)' is beyond any machine", "use numbers up to \(highestCore)")
            }
            if last < first {
                throw invalid("the range \(first)-\(last) in '\(text)' runs backwards", "write \(last)-\(first)")
            }
            cores += first...last
        }
        try refuseDuplicates(cores)
        return cores
    }

    private static func mask(_ digits: Substring, _ text: String) throws(ReactorError) -> [Int] {
        var cores: [Int] = []
        for (place, digit) in digits.reversed().enumerated() {
            guard digit.isASCII, let value = digit.hexDigitValue else {
                throw invalid("'\(text)' is not a mask: '\(digit)' is no hexadecimal digit", "write a mask such as 0x3")
            }
            for bit in 0..<4 where value & 1 << bit != 0 { cores.append(place * 4 + bit) }
        }
        if cores.isEmpty {
            throw invalid("the mask '\(text)' names no core", "set a bit for each core: 0x3 is cores 0 and 1")
        }
        if cores.last! > highestCore {
            throw invalid("core \(cores.last!) of the mask is beyond any machine", "use numbers up to \(highestCore)")
        }
        return cores
    }

    /// Digits only: `Int` would take a sign.
    private static func number(_ text: Substring) -> Int? {
        text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } ? Int(text) : nil
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let body = text.drop(while: \.isWhitespace)
        guard let last = body.lastIndex(where: { !$0.isWhitespace }) else { return body }
        return body[...last]
    }

    private static func invalid(_ message: String, _ advice: String) -> ReactorError {
        ReactorError(.invalidCoreList, message, advice: advice)
    }

    private static func refuseDuplicates(_ cores: [Int]) throws(ReactorError) {
        var seen: Set<Int> = []
        for core in cores where !seen.insert(core).inserted {
            throw invalid("core \(core) is named twice", "name each core once")
        }
    }

    // MARK: Against a machine

    /// The numbers of the cores on the machine this process runs on.
    ///
    /// - Throws: ``ReactorError/Code/coreUnavailable`` when a core does not exist, is offline, or may not be used by
    ///   this process;
    ///   ``ReactorError/Code/invalidCoreList`` when one is named twice or none is named.
    public func resolve(in topology: Topology) throws(ReactorError) -> [Int] {
        try resolve(in: topology, allowed: Self.processCores())
    }

    /// - Parameter allowed: the process's affinity.
    package func resolve(in topology: Topology, allowed: [Int]) throws(ReactorError) -> [Int] {
        let permitted = Set(allowed)
        let usable = topology.onlineCores.filter(permitted.contains)
        if usable.isEmpty {
            throw ReactorError(
                .coreUnavailable,
                "no online core (\(rangeText(topology.onlineCores))) is allowed by this process's affinity "
                    + "(\(rangeText(allowed)))", advice: "start it without taskset or widen its cpuset")
        }
        switch selection {
        case .all: return usable
        case .first: return [usable[0]]
        case .onePerCore:
            let set = Set(usable)
            return usable.filter { core in topology.core(core)!.siblings.first(where: set.contains) == core }
        case .node(let number): return try cores(ofNode: number, topology, permitted)
        case .numbers(let cores):
            if cores.isEmpty { throw Self.invalid("the core list is empty", "name at least one core, such as 0") }
            try Self.refuseDuplicates(cores)
            for core in cores { try check(core, topology, permitted, usable) }
            return cores
        }
    }

    private func cores(ofNode number: Int, _ topology: Topology, _ permitted: Set<Int>) throws(ReactorError) -> [Int] {
        guard let node = topology.node(number) else {
            let known = topology.nodes.map(\.number)
            throw ReactorError(
                .coreUnavailable, "NUMA node \(number) does not exist: this machine has \(Self.plural("node", known))",
                advice: "choose among \(known.count == 1 ? "its cores" : "them")")
        }
        if node.cores.isEmpty {
            throw ReactorError(
                .coreUnavailable, "NUMA node \(number) has no core that is online", advice: "choose a node with cores")
        }
        let usable = node.cores.filter(permitted.contains)
        if usable.isEmpty {
            throw ReactorError(
                .coreUnavailable,
                "no core of NUMA node \(number) (\(rangeText(node.cores))) is allowed by this process's affinity "
                    + "(\(rangeText(permitted.sorted())))", advice: "start it without taskset, or choose another node")
        }
        return usable
    }

    private func check(
        _ core: Int, _ topology: Topology, _ permitted: Set<Int>, _ usable: [Int]
    ) throws(ReactorError) {
        guard let found = topology.core(core) else {
            let known = topology.cores.map(\.number)
            throw ReactorError(
                .coreUnavailable, "core \(core) does not exist: this machine has \(Self.plural("core", known))",
                advice: "choose among them")
        }
        if !found.isOnline {
            throw ReactorError(
                .coreUnavailable, "core \(core) is offline",
                advice:
                    "bring it online (/sys/devices/system/cpu/cpu\(core)/online) or choose among \(rangeText(usable))"
            )
        }
        if !permitted.contains(core) {
            throw ReactorError(
                .coreUnavailable,
                "core \(core) is not allowed by this process's affinity (\(rangeText(permitted.sorted())))",
                advice: "start it without taskset, or choose among \(rangeText(usable))")
        }
    }

    private static func plural(_ word: String, _ numbers: [Int]) -> String {
        "\(word)\(numbers.count == 1 ? "" : "s") \(rangeText(numbers))"
    }

    /// The cores this process may run on. sched_getaffinity(2).
    static func processCores() -> [Int] {
        var allowed = [UInt8](repeating: 0, count: highestCore + 1)
        // SAFETY: the call writes one byte for each element.
        let found = unsafe clinux_process_cores(&allowed, allowed.count)
        precondition(found > 0, "sched_getaffinity failed: \(Errno(rawValue: -found))")
        return allowed.indices.filter { allowed[$0] != 0 }
    }
}
