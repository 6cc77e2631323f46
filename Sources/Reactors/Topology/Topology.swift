import CLinux
import SystemPackage

/// The machine a process runs on: its cores, its NUMA nodes, and which node a device is near.
///
/// A value read once: cores that come or go later do not change it. A kernel without NUMA support is one node, number
/// 0.
public struct Topology: Sendable {
    /// What a core was built for, on machines that mix.
    public enum CoreKind: Sendable, Hashable { case performance, efficient }

    /// One logical core: what Linux calls a CPU.
    public struct Core: Sendable, Hashable {
        /// Its number, as in `taskset` and `/proc/cpuinfo`.
        public let number: Int
        /// The physical package. nil while the core is offline, or where the firmware does not say.
        public let socket: Int?
        /// The physical core inside its socket. nil as for `socket`.
        public let coreID: Int?
        /// The logical cores that share this one's physical core (SMT), itself included, in rising order.
        public let siblings: [Int]
        /// The NUMA node.
        public let node: Int
        public let isOnline: Bool
        /// In kHz. nil where the kernel does not scale frequencies.
        public let maximumFrequency: Int?
        /// `.performance` for all cores of a machine whose cores are alike. By the kernel's list of Atom cores where it
        /// has one (Intel), else by capacity, else by maximum frequency: below 80 % of the best core's is `.efficient`.
        public let kind: CoreKind
    }

    /// A NUMA node: memory, and the cores near it.
    public struct Node: Sendable, Hashable {
        public let number: Int
        /// In rising order, offline ones left out; empty for a node of memory only.
        public let cores: [Int]
        /// In bytes; 0 where the kernel does not say.
        public let memoryByteCount: Int64
        /// In bytes, when the topology was read.
        public let freeMemoryByteCount: Int64
        /// The relative cost of this node's cores reaching the memory of each node: 10 is local. ACPI's SLIT.
        public let distances: [Int: Int]
    }

    /// In rising order of their numbers, offline ones included.
    public let cores: [Core]
    /// In rising order of their numbers; never empty.
    public let nodes: [Node]
    let tree: SystemTree

    /// Reads the topology of the machine whose `/sys` lies below `root`.
    ///
    /// - Parameter root: `/` for this machine; a directory with a recorded tree for another.
    /// - Throws: ``ReactorError/Code/topologyUnreadable`` when the files that say which cores and nodes there are
    ///   (`cpu/online`,
    /// `cpu/present` or `cpu/possible`, `nodeN/cpulist`) are missing or make no sense. Anything else that is missing or
    /// senseless
    ///   is left nil or empty: a core whose siblings are unknown has none.
    ///
    /// Cost: some ten small files for each core; blocks for the time of reading them.
    public init(root: String = "/") throws(ReactorError) {
        let tree = SystemTree(root: root)
        let present = try Self.presentCores(tree)
        let online = try Self.list("sys/devices/system/cpu/online", tree) ?? present
        nodes = try Self.readNodes(tree, online: online)
        cores = Self.readCores(tree, present: Set(present).union(online).sorted(), online: Set(online), nodes: nodes)
        self.tree = tree
    }

    /// The core of this number, or nil.
    public func core(_ number: Int) -> Core? { cores.first { $0.number == number } }

    /// The node of this number, or nil.
    public func node(_ number: Int) -> Node? { nodes.first { $0.number == number } }

    var onlineCores: [Int] { cores.filter(\.isOnline).map(\.number) }

    // MARK: Reading

    private static func presentCores(_ tree: SystemTree) throws(ReactorError) -> [Int] {
        for file in ["present", "possible", "online"] {
            if let cores = try list("sys/devices/system/cpu/\(file)", tree), !cores.isEmpty { return cores }
        }
        throw ReactorError(
            .topologyUnreadable, "\(tree.path("sys/devices/system/cpu")) names no cores",
            advice: "mount sysfs at \(tree.path("sys"))")
    }

    /// nil when the file is missing.
    private static func list(_ file: String, _ tree: SystemTree) throws(ReactorError) -> [Int]? {
        guard let text = tree.text(file) else { return nil }
        if let numbers = parseKernelList(text) { return numbers }
        throw ReactorError(
            .topologyUnreadable, "\(tree.path(file)) holds '\(text.prefix(40))', which is not a list of numbers",
            advice: "check what is mounted at \(tree.path("sys"))")
    }

    private static func readCores(_ tree: SystemTree, present: [Int], online: Set<Int>, nodes: [Node]) -> [Core] {
        var nodeOfCore: [Int: Int] = [:]
        for node in nodes { for core in node.cores { nodeOfCore[core] = node.number } }
        let kinds = readKinds(tree, cores: present)
        return present.map { number in
            let folder = "sys/devices/system/cpu/cpu\(number)"
            let siblings = ["core_cpus_list", "thread_siblings_list"].lazy
                .compactMap { tree.text("\(folder)/topology/\($0)").flatMap(parseKernelList) }
                .first { $0.contains(number) }
            return Core(
                number: number,
                socket: tree.number("\(folder)/topology/physical_package_id").flatMap { $0 < 0 ? nil : $0 },
                coreID: tree.number("\(folder)/topology/core_id").flatMap { $0 < 0 ? nil : $0 },
                siblings: siblings ?? [number], node: nodeOfCore[number] ?? nodes[0].number,
                isOnline: online.contains(number),
                maximumFrequency: tree.number("\(folder)/cpufreq/cpuinfo_max_freq"), kind: kinds[number] ?? .performance
            )
        }
    }

    private static func readKinds(_ tree: SystemTree, cores: [Int]) -> [Int: CoreKind] {
        if let atoms = tree.text("sys/devices/cpu_atom/cpus").flatMap(parseKernelList) {
            return Dictionary(uniqueKeysWithValues: atoms.map { ($0, .efficient) })
        }
        for file in ["cpu_capacity", "cpufreq/cpuinfo_max_freq"] {
            var strengths: [Int: Int] = [:]
            for core in cores { strengths[core] = tree.number("sys/devices/system/cpu/cpu\(core)/\(file)") }
            guard let best = strengths.values.max() else { continue }
            // Favoured cores of one kind differ by a tenth at most, kinds by a quarter and more.
            return strengths.mapValues { $0 < best / 5 * 4 ? .efficient : .performance }
        }
        return [:]
    }

    private static func readNodes(_ tree: SystemTree, online: [Int]) throws(ReactorError) -> [Node] {
        let folder = "sys/devices/system/node"
        let numbers = tree.names(folder).compactMap { $0.hasPrefix("node") ? Int($0.dropFirst(4)) : nil }.sorted()
        if numbers.isEmpty {
            let (total, free) = memory(tree, node: 0, file: "proc/meminfo")
            return [
                Node(number: 0, cores: online, memoryByteCount: total, freeMemoryByteCount: free, distances: [0: 10])
            ]
        }
        let present = Set(online)
        var nodes: [Node] = []
        for number in numbers {
            guard let cores = try list("\(folder)/node\(number)/cpulist", tree) else {
                throw ReactorError(
                    .topologyUnreadable, "\(tree.path("\(folder)/node\(number)/cpulist")) cannot be read",
                    advice: "check what is mounted at \(tree.path("sys"))")
            }
            let row = (tree.text("\(folder)/node\(number)/distance") ?? "").split(separator: " ").map { Int($0) }
            var distances: [Int: Int] = [:]
            if row.count == numbers.count { for (other, cost) in zip(numbers, row) { distances[other] = cost } }
            let (total, free) = memory(tree, node: number, file: "\(folder)/node\(number)/meminfo")
            nodes.append(
                Node(
                    number: number, cores: cores.filter(present.contains), memoryByteCount: total,
                    freeMemoryByteCount: free,
                    distances: distances))
        }
        return nodes
    }

    /// libnuma's answer on this machine; else the file's.
    private static func memory(_ tree: SystemTree, node: Int, file: String) -> (total: Int64, free: Int64) {
        var total: Int64 = 0
        var free: Int64 = 0
        // SAFETY: two integers that the call fills.
        if tree.isThisMachine, unsafe clinux_node_memory(Int32(node), &total, &free) { return (total, free) }
        for line in (tree.text(file) ?? "").split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 3, words.last == "kB", let size = Int64(words[words.count - 2]) else { continue }
            let bytes = size.multipliedReportingOverflow(by: 1024)
            if bytes.overflow || size < 0 { continue }
            if words[words.count - 3] == "MemTotal:" { total = bytes.partialValue }
            if words[words.count - 3] == "MemFree:" { free = bytes.partialValue }
        }
        return (total, free)
    }
}
