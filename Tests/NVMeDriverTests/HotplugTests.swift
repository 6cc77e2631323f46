import Foundation
import NVMeBdev
import NVMeDriver
import Reactors
import Synchronization
import Testing

private final class Arrivals: Sendable {
    private let state = Mutex<[String]>([])
    var all: [String] { state.withLock { $0 } }
    func add(_ address: PCIAddress) { state.withLock { $0.append("\(address)") } }
}

@Suite("The hot-plug monitor")
struct HotplugTests {
    @Test func `attaches what comes, and once more what comes back`() throws {
        let tree = try PCITree()
        try tree.add("0000:02:00.0", driver: "vfio-pci", group: 8)
        try tree.add("0000:03:00.0", driver: "nvme", group: 9)
        try tree.add("0000:04:00.0", classCode: "0x010601", driver: "vfio-pci", group: 10)
        for address in ["0000:02:00.0", "0000:04:00.0"] {
            try tree.write("", to: "sys/bus/pci/drivers/vfio-pci/\(address)")
        }
        let system = tree.system, came = Arrivals()
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            await fleet.module.setHotplug(enabled: true, period: .milliseconds(100), in: system) { came.add($0) }
            try await fleet.sleep(.seconds(1), on: local)
            #expect(came.all == ["0000:02:00.0"])
            try PCITree.write("", to: "sys/bus/pci/drivers/vfio-pci/0000:05:00.0", in: system.root)
            try PCITree.write("0x010802\n", to: "sys/bus/pci/devices/0000:05:00.0/class", in: system.root)
            try await fleet.sleep(.seconds(1), on: local)
            #expect(came.all == ["0000:02:00.0", "0000:05:00.0"])
            // Away and back.
            try PCITree.remove("sys/bus/pci/drivers/vfio-pci/0000:05:00.0", in: system.root)
            try await fleet.sleep(.seconds(1), on: local)
            try PCITree.write("", to: "sys/bus/pci/drivers/vfio-pci/0000:05:00.0", in: system.root)
            try await fleet.sleep(.seconds(1), on: local)
            #expect(came.all == ["0000:02:00.0", "0000:05:00.0", "0000:05:00.0"])
            await fleet.module.setHotplug(enabled: false)
            try PCITree.write("", to: "sys/bus/pci/drivers/vfio-pci/0000:06:00.0", in: system.root)
            try PCITree.write("0x010802\n", to: "sys/bus/pci/devices/0000:06:00.0/class", in: system.root)
            try await fleet.sleep(.seconds(1), on: local)
            #expect(came.all.count == 3)
        }
    }
}

extension PCITree {
    fileprivate static func write(_ text: String, to path: String, in root: String) throws {
        let whole = "\(root)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(whole[..<whole.lastIndex(of: "/")!]), withIntermediateDirectories: true)
        try text.write(toFile: whole, atomically: false, encoding: .utf8)
    }

    fileprivate static func remove(_ path: String, in root: String) throws {
        try FileManager.default.removeItem(atPath: "\(root)/\(path)")
    }
}
