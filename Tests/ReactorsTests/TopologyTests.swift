import CLinux
import Foundation
import SystemPackage
import Testing

@testable import Reactors

@Suite struct TopologyTests {
    @Test func `two sockets with two threads a core are read in full`() throws {
        let tree = try RecordedTree.twoSockets()
        let topology = try tree.topology()
        #expect(topology.cores.map(\.number) == Array(0...15))
        let core = try #require(topology.core(13))
        #expect(core.socket == 1 && core.coreID == 1 && core.siblings == [5, 13] && core.node == 1 && core.isOnline)
        #expect(core.maximumFrequency == 3_700_000 && core.kind == .performance)
        #expect(topology.nodes.map(\.cores) == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]])
        #expect(topology.nodes[0].distances == [0: 10, 1: 21])
        #expect(topology.nodes[1].memoryByteCount == 65_011_712 * 1024)
        #expect(topology.nodes[1].freeMemoryByteCount == 60_000_000 * 1024)
        #expect(topology.core(16) == nil, "possible but not present")
    }

    @Test func `efficient cores are told by their frequency, favoured ones stay performance`() throws {
        let tree = try RecordedTree.hybrid()
        let topology = try tree.topology()
        #expect(
            topology.cores.map(\.kind) == Array(repeating: .performance, count: 4)
                + Array(repeating: .efficient, count: 4))
    }

    @Test func `capacity comes before frequency`() throws {
        var capacities: [String: String] = [:]
        for core in 0..<8 {
            capacities["sys/devices/system/cpu/cpu\(core)/cpu_capacity"] = core == 2 ? "446\n" : "1024\n"
        }
        let tree = try RecordedTree.hybrid(capacities)
        #expect(try tree.topology().cores.filter { $0.kind == .efficient }.map(\.number) == [2])
    }

    @Test func `the kernel's own list of Atom cores comes before both`() throws {
        let tree = try RecordedTree.hybrid(["sys/devices/cpu_atom/cpus": "6-7\n"])
        #expect(try tree.topology().cores.filter { $0.kind == .efficient }.map(\.number) == [6, 7])
    }

    @Test func `offline cores are listed as such and belong to no node's cores`() throws {
        let tree = try RecordedTree.offline()
        let topology = try tree.topology()
        #expect(topology.cores.map(\.isOnline) == [true, true, false, false])
        let core = try #require(topology.core(2))
        #expect(core.socket == nil && core.coreID == nil && core.siblings == [2])
        #expect(topology.nodes.map(\.cores) == [[0, 1]])
    }

    @Test func `a machine without a node directory is one node`() throws {
        let tree = try RecordedTree.hybrid(["proc/meminfo": "MemTotal:  1000 kB\nMemFree:  250 kB\n"])
        let topology = try tree.topology()
        #expect(topology.nodes.count == 1)
        let node = topology.nodes[0]
        #expect(node.number == 0 && node.cores == Array(0...7) && node.distances == [0: 10])
        #expect(node.memoryByteCount == 1_024_000 && node.freeMemoryByteCount == 256_000)
    }

    @Test func `a node may have memory only, and numbers may have holes`() throws {
        let tree = try RecordedTree.offline()
        for (path, text) in RecordedTree.node(4, cores: "", distance: "40 10", total: 1000, free: 900) {
            try tree.write(text, to: path)
        }
        try tree.write("10 40\n", to: "sys/devices/system/node/node0/distance")
        let topology = try tree.topology()
        #expect(topology.nodes.map(\.number) == [0, 4])
        #expect(topology.nodes[1].cores == [])
        #expect(topology.nodes[0].distances == [0: 10, 4: 40])
    }

    @Test(arguments: [
        "sys/devices/system/cpu/online", "sys/devices/system/cpu/present", "sys/devices/system/node/node0/cpulist",
    ])
    func `a core list that makes no sense is refused and named`(path: String) throws {
        for garbage in ["\u{1}\u{2}", "0-", "3-1", "0,,1", "all", "-1", "99999999999999999999", "0-4294967295"] {
            let tree = try RecordedTree.offline()
            try tree.write(garbage, to: path)
            let error = try #require(throws: ReactorError.self) { _ = try tree.topology() }
            #expect(error.code == .topologyUnreadable)
            #expect(error.description.contains(path), "\(error)")
        }
    }

    @Test func `a root without cores is refused`() throws {
        let tree = try RecordedTree()
        let error = try #require(throws: ReactorError.self) { _ = try tree.topology() }
        #expect(error.code == .topologyUnreadable)
    }

    @Test func `what makes no sense elsewhere is left out`() throws {
        let tree = try RecordedTree.offline()
        for file in [
            "topology/physical_package_id", "topology/core_id", "topology/core_cpus_list",
            "topology/thread_siblings_list",
        ] {
            try tree.write("\u{0}\u{7f}zz", to: "sys/devices/system/cpu/cpu1/\(file)")
        }
        try tree.write(
            "Node 0 MemTotal: x kB\nNode 0 MemFree: 9223372036854775807 kB\n",
            to: "sys/devices/system/node/node0/meminfo")
        try tree.write("ten\n", to: "sys/devices/system/node/node0/distance")
        let topology = try tree.topology()
        let core = try #require(topology.core(1))
        #expect(core.socket == nil && core.coreID == nil && core.siblings == [1])
        let node = topology.nodes[0]
        #expect(node.memoryByteCount == 0 && node.freeMemoryByteCount == 0)
    }

    @Test func `a PCI device has a node or none`() throws {
        let tree = try RecordedTree.twoSockets()
        let topology = try tree.topology()
        #expect(topology.node(ofPCIDevice: "0000:3b:00.0") == 0)
        #expect(topology.node(ofPCIDevice: "0000:af:00.0") == 1)
        #expect(topology.node(ofPCIDevice: "0000:00:1f.0") == nil, "firmware that does not say")
        #expect(topology.node(ofPCIDevice: "0000:ff:00.0") == nil)
        #expect(topology.node(ofPCIDevice: "../../../bus/pci/devices/0000:af:00.0") == nil)
    }

    @Test func `a partition has the node of the controller above its disk`() throws {
        let tree = try RecordedTree.twoSockets()
        let controller = "sys/devices/pci0000:ae/0000:ae:00.0/0000:af:00.0"
        try tree.write("1\n", to: "\(controller)/numa_node")
        try tree.write("1\n", to: "\(controller)/nvme/nvme0/nvme0n1/nvme0n1p2/partition")
        try tree.link("sys/dev/block/259:2", to: "\(controller)/nvme/nvme0/nvme0n1/nvme0n1p2")
        #expect(try tree.topology().node(ofBlockDevice: 259, 2) == 1)
    }

    @Test func `a volume of several disks has a node when they agree`() throws {
        let tree = try RecordedTree.twoSockets()
        for (disk, node) in [("a", 0), ("b", 1), ("c", 1)] {
            try tree.write("\(node)\n", to: "sys/devices/pci\(disk)/numa_node")
            try tree.write("8\n", to: "sys/devices/pci\(disk)/block/sd\(disk)/size")
        }
        for (number, parts) in [(0, ["b", "c"]), (1, ["a", "b"])] {
            try tree.write("8\n", to: "sys/devices/virtual/block/dm-\(number)/size")
            try tree.link("sys/dev/block/253:\(number)", to: "sys/devices/virtual/block/dm-\(number)")
            for part in parts {
                try tree.link(
                    "sys/devices/virtual/block/dm-\(number)/slaves/sd\(part)",
                    to: "sys/devices/pci\(part)/block/sd\(part)")
            }
        }
        let topology = try tree.topology()
        #expect(topology.node(ofBlockDevice: 253, 0) == 1)
        #expect(topology.node(ofBlockDevice: 253, 1) == nil)
        #expect(topology.node(ofBlockDevice: 253, 2) == nil)
    }

    @Test func `this machine's topology agrees with the process's affinity`() throws {
        let topology = try Topology()
        #expect(Set(CoreList.processCores()).isSubset(of: topology.cores.filter(\.isOnline).map(\.number)))
        #expect(topology.nodes.reduce(0) { $0 + $1.memoryByteCount } > 0)
        let nodes = topology.nodes.map(\.number)
        for core in topology.cores { #expect(nodes.contains(core.node) && core.siblings.contains(core.number)) }
    }

    @Test func `a file that is not there is an error, a file on no disk has no node`() throws {
        let topology = try Topology()
        let error = try #require(throws: ReactorError.self) { _ = try topology.node(ofFileAt: "/no/such/file") }
        #expect(error.cause == .noSuchFileOrDirectory)
        #expect(try topology.node(ofFileAt: "/proc/self/stat") == nil)
        if let node = try topology.node(ofFileAt: "/usr") { #expect(topology.node(node) != nil) }
    }
}
