import Foundation
import NVMeDriver
import Reactors
import Testing

@Suite("A PCI function")
struct PCIFunctionTests {
    @Test func `is found by its class, in the order of addresses`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", node: 1, driver: "nvme", group: 7)
        try tree.add("0000:02:00.0", node: -1, driver: "vfio-pci", group: 8)
        try tree.add("0000:00:1f.2", classCode: "0x010601", driver: "ahci", group: 9)
        let found = PCIFunction.nvmeControllers(in: tree.system)
        #expect(found.map(\.address.description) == ["0000:02:00.0", "0000:3b:00.0"])
        #expect(found.map(\.node) == [nil, 1])
        #expect(found.map(\.driver) == ["vfio-pci", "nvme"])
        #expect(found.map(\.group) == [8, 7])
        #expect(found.map(\.isHandedOut) == [true, false])
        #expect(found.map(\.vendorID) == [0x1B36, 0x1B36])
        #expect(found.map(\.deviceID) == [0x0010, 0x0010])
    }

    @Test func `knows its block devices, also behind one of several paths`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", driver: "nvme", group: 7)
        let folder = "sys/bus/pci/devices/0000:3b:00.0/nvme/nvme2"
        for name in ["nvme2n1", "nvme2n12", "nvme0c2n3", "hwmon1", "nvmeXn1", "nvme2"] {
            try tree.write("", to: "\(folder)/\(name)/size")
        }
        let function = try tree.function("0000:3b:00.0")
        #expect(function.blockDevices == ["nvme0n3", "nvme2n1", "nvme2n12"])
    }

    @Test func `knows which neighbors keep its group from being handed out`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", driver: "vfio-pci", group: 7)
        try tree.add("0000:3b:00.1", classCode: "0x010601", driver: "ahci", group: 7)
        try tree.add("0000:3b:00.2", driver: nil, group: 7)
        try tree.add("0000:3a:00.0", classCode: "0x060400", driver: "pcieport", group: 7)
        try tree.add("0000:3b:00.3", driver: "pci-stub", group: 7)
        let function = try tree.function("0000:3b:00.0")
        #expect(function.neighbors.count == 4)
        #expect(function.neighbors.filter(\.blocksGroup).map(\.description) == ["0000:3b:00.1 (ahci)"])
    }

    @Test func `without an IOMMU has no group`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", driver: "nvme", group: nil)
        #expect(try tree.function("0000:3b:00.0").group == nil)
        try tree.add("0000:3c:00.0", driver: "vfio-pci", group: 0)
        try tree.write("vfio-noiommu\n", to: "sys/kernel/iommu_groups/0/name")
        #expect(try tree.function("0000:3c:00.0").isGroupWithoutIOMMU)
        #expect(throws: NVMeError.self) { try VFIOTransport(PCIAddress("3c:00.0")!, in: tree.system) }
    }
}

@Suite("Binding a PCI function")
struct PCIBindingTests {
    private func drive(_ tree: PCITree) throws -> PCIFunction {
        try tree.add("0000:3b:00.0", driver: "nvme", group: 7)
        try tree.write("", to: "sys/bus/pci/devices/0000:3b:00.0/nvme/nvme0/nvme0n1/size")
        try tree.write("259:0\n", to: "sys/class/block/nvme0n1/dev")
        try tree.write("259:1\n", to: "sys/class/block/nvme0n1/nvme0n1p1/dev")
        try tree.write("1\n", to: "sys/class/block/nvme0n1/nvme0n1p1/partition")
        try tree.write("259:1\n", to: "sys/class/block/nvme0n1p1/dev")
        return try tree.function("0000:3b:00.0")
    }

    private func refusal(_ function: PCIFunction, _ tree: PCITree) -> NVMeError? {
        do throws(NVMeError) {
            try function.requireIdle(in: tree.system)
            return nil
        } catch {
            return error
        }
    }

    @Test func `is refused while a partition is mounted, and says where`() throws {
        let tree = try PCITree()
        let function = try drive(tree)
        #expect(refusal(function, tree) == nil)
        try tree.write("22 1 259:1 / /srv/data rw - ext4 /dev/nvme0n1p1 rw\n", to: "proc/self/mountinfo")
        let error = try #require(refusal(function, tree))
        #expect(error.code == .unsafeDevice)
        #expect(error.description.contains("/dev/nvme0n1p1 is mounted on /srv/data"))
    }

    @Test func `is refused while it is part of another device or swapped to`() throws {
        let tree = try PCITree()
        let function = try drive(tree)
        try tree.write("Filename Type Size\n/dev/nvme0n1p1 partition 1024 0 -2\n", to: "proc/swaps")
        #expect(try #require(refusal(function, tree)).description.contains("swapoff /dev/nvme0n1p1"))
        try tree.write("/dev/nvme0n1p10 partition 1024 0 -2\n", to: "proc/swaps")
        #expect(refusal(function, tree) == nil)
        try tree.write("", to: "sys/class/block/nvme0n1/holders/dm-3/size")
        #expect(try #require(refusal(function, tree)).description.contains("part of the device dm-3"))
    }

    @Test func `says what is missing when the kernel has no vfio-pci`() throws {
        let tree = try PCITree()
        let function = try drive(tree)
        let error = #expect(throws: NVMeError.self) { try function.bindToVFIO(force: true, in: tree.system) }
        #expect(error?.code == .notSupported)
        #expect(error?.advice?.contains("modprobe vfio-pci") == true)
    }

    @Test func `overrides, unbinds and probes`() throws {
        let tree = try PCITree()
        let function = try drive(tree)
        try tree.write("", to: "sys/bus/pci/drivers/vfio-pci/bind")
        // A recorded tree has no kernel that would act on it.
        let error = #expect(throws: NVMeError.self) { try function.bindToVFIO(force: false, in: tree.system) }
        #expect(error?.message == "vfio-pci did not take the device")
        #expect(tree.system.text("sys/bus/pci/devices/0000:3b:00.0/driver_override") == "vfio-pci")
        #expect(tree.system.text("sys/bus/pci/drivers/nvme/unbind") == "0000:3b:00.0")
        #expect(tree.system.text("sys/bus/pci/drivers_probe") == "0000:3b:00.0")
    }
}

@Suite("Opening a PCI function")
struct VFIOOpeningTests {
    private func refusal(_ address: String, _ tree: PCITree) throws -> NVMeError {
        let address = try #require(PCIAddress(address))
        do throws(NVMeError) {
            _ = try VFIOTransport(address, in: tree.system)
        } catch {
            return error
        }
        throw NVMeError(.system, "it was opened")
    }

    @Test func `names the driver and the block devices that have it`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", driver: "nvme", group: 7)
        try tree.write("", to: "sys/bus/pci/devices/0000:3b:00.0/nvme/nvme0/nvme0n1/size")
        let error = try refusal("3b:00.0", tree)
        #expect(error.code == .inUse)
        #expect(error.description.contains("the kernel's driver nvme has the device, as nvme0n1"))
    }

    @Test func `says what to switch on without an IOMMU`() throws {
        let tree = try PCITree()
        try tree.add("0000:3b:00.0", driver: "vfio-pci", group: nil)
        let error = try refusal("3b:00.0", tree)
        #expect(error.code == .noIOMMU)
        #expect(error.advice?.contains("intel_iommu=on") == true)
    }

    @Test func `tells what is not there from what is no controller`() throws {
        let tree = try PCITree()
        try tree.add("0000:00:1f.2", classCode: "0x010601", driver: "ahci", group: 9)
        #expect(try refusal("3b:00.0", tree).code == .noSuchDevice)
        #expect(try refusal("00:1f.2", tree).code == .invalidArgument)
    }
}

/// A directory with another machine's PCI bus in it, for as long as the value lives.
final class PCITree {
    let root: String
    var system: SystemTree { SystemTree(root: root) }

    init() throws {
        root = NSTemporaryDirectory() + "swift-bdev-pci-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        try write("", to: "sys/bus/pci/drivers_probe")
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    func write(_ text: String, to path: String) throws {
        let whole = "\(root)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(whole[..<whole.lastIndex(of: "/")!]), withIntermediateDirectories: true)
        try text.write(toFile: whole, atomically: false, encoding: .utf8)
    }

    private func link(_ path: String, to target: String) throws {
        let whole = "\(root)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(whole[..<whole.lastIndex(of: "/")!]), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: whole, withDestinationPath: "\(root)/\(target)")
    }

    func add(
        _ address: String, classCode: String = "0x010802", node: Int = -1, driver: String?, group: Int?
    ) throws {
        let folder = "sys/bus/pci/devices/\(address)"
        try write(classCode + "\n", to: "\(folder)/class")
        try write("0x1b36\n", to: "\(folder)/vendor")
        try write("0x0010\n", to: "\(folder)/device")
        try write("\(node)\n", to: "\(folder)/numa_node")
        try write("(null)\n", to: "\(folder)/driver_override")
        if let driver {
            try write("", to: "sys/bus/pci/drivers/\(driver)/unbind")
            try link("\(folder)/driver", to: "sys/bus/pci/drivers/\(driver)")
        }
        if let group {
            try write("", to: "sys/kernel/iommu_groups/\(group)/type")
            try link("\(folder)/iommu_group", to: "sys/kernel/iommu_groups/\(group)")
            try link("sys/kernel/iommu_groups/\(group)/devices/\(address)", to: folder)
        }
    }

    func function(_ address: String) throws -> PCIFunction {
        let address = try #require(PCIAddress(address))
        return try #require(PCIFunction(address, in: system))
    }
}
