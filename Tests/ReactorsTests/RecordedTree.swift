import Foundation
import Reactors

/// A directory with another machine's `/sys` in it, for as long as the value lives.
final class RecordedTree: Sendable {
    let root: String

    init(_ files: [String: String] = [:]) throws {
        root = NSTemporaryDirectory() + "swift-bdev-tree-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        for (path, text) in files { try write(text, to: path) }
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    func write(_ text: String, to path: String) throws {
        let whole = "\(root)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(whole[..<whole.lastIndex(of: "/")!]), withIntermediateDirectories: true)
        try text.write(toFile: whole, atomically: false, encoding: .utf8)
    }

    func link(_ path: String, to target: String) throws {
        let whole = "\(root)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(whole[..<whole.lastIndex(of: "/")!]), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: whole, withDestinationPath: "\(root)/\(target)")
    }

    func topology() throws(ReactorError) -> Topology { try Topology(root: root) }
}

extension RecordedTree {
    /// A core's files as Linux 6.1 lays them out.
    static func core(
        _ number: Int, socket: Int, id: Int, siblings: String, more: [String: String] = [:]
    ) -> [String: String] {
        let folder = "sys/devices/system/cpu/cpu\(number)"
        var files = [
            "\(folder)/topology/physical_package_id": "\(socket)\n", "\(folder)/topology/core_id": "\(id)\n",
            "\(folder)/topology/thread_siblings_list": "\(siblings)\n",
            "\(folder)/topology/core_cpus_list": "\(siblings)\n",
        ]
        for (name, text) in more { files["\(folder)/\(name)"] = text }
        return files
    }

    static func cpus(online: String, present: String, possible: String) -> [String: String] {
        let folder = "sys/devices/system/cpu"
        return [
            "\(folder)/online": online + "\n", "\(folder)/present": present + "\n",
            "\(folder)/possible": possible + "\n",
        ]
    }

    static func node(_ number: Int, cores: String, distance: String, total: Int, free: Int) -> [String: String] {
        let folder = "sys/devices/system/node/node\(number)"
        return [
            "\(folder)/cpulist": cores + "\n", "\(folder)/distance": distance + "\n",
            "\(folder)/meminfo": """
            Node \(number) MemTotal:       \(total) kB
            Node \(number) MemFree:        \(free) kB
            Node \(number) MemUsed:        \(total - free) kB
            Node \(number) HugePages_Total:     0

            """,
        ]
    }

    static func merged(_ parts: [[String: String]]) -> [String: String] {
        parts.reduce(into: [:]) { $0.merge($1) { _, new in new } }
    }

    /// Two sockets of four cores with two threads each, numbered as Linux does on x86: second threads after all first
    /// ones.
    static func twoSockets() throws -> RecordedTree {
        var parts = [
            cpus(online: "0-15", present: "0-15", possible: "0-31"),
            node(0, cores: "0-3,8-11", distance: "10 21", total: 65_536_000, free: 1_024_000),
            node(1, cores: "4-7,12-15", distance: "21 10", total: 65_011_712, free: 60_000_000),
            [
                "sys/bus/pci/devices/0000:3b:00.0/numa_node": "0\n",
                "sys/bus/pci/devices/0000:af:00.0/numa_node": "1\n",
                "sys/bus/pci/devices/0000:00:1f.0/numa_node": "-1\n",
            ],
        ]
        for core in 0..<8 {
            for thread in [core, core + 8] {
                parts.append(
                    self.core(
                        thread, socket: core / 4, id: core % 4, siblings: "\(core),\(core + 8)",
                        more: ["cpufreq/cpuinfo_max_freq": "3700000\n"]))
            }
        }
        return try RecordedTree(merged(parts))
    }

    /// Two performance cores with two threads each, one of them a favoured one, and four efficient cores.
    static func hybrid(_ more: [String: String] = [:]) throws -> RecordedTree {
        var parts = [cpus(online: "0-7", present: "0-7", possible: "0-7"), more]
        for thread in 0..<4 {
            parts.append(
                core(
                    thread, socket: 0, id: thread / 2 * 4, siblings: "\(thread / 2 * 2)-\(thread / 2 * 2 + 1)",
                    more: ["cpufreq/cpuinfo_max_freq": thread < 2 ? "5800000\n" : "5500000\n"]))
        }
        for number in 4..<8 {
            parts.append(
                core(
                    number, socket: 0, id: 8 + number, siblings: "\(number)",
                    more: ["cpufreq/cpuinfo_max_freq": "4300000\n"]))
        }
        return try RecordedTree(merged(parts))
    }

    /// Four single-threaded cores, the last two offline: Linux takes their topology folders away.
    static func offline() throws -> RecordedTree {
        try RecordedTree(
            merged([
                cpus(online: "0-1", present: "0-3", possible: "0-3"), core(0, socket: 0, id: 0, siblings: "0"),
                core(1, socket: 0, id: 1, siblings: "1"), ["sys/devices/system/cpu/cpu2/online": "0\n"],
                node(0, cores: "0-1", distance: "10", total: 8_000_000, free: 4_000_000),
            ]))
    }
}
