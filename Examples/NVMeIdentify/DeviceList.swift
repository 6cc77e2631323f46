import NVMeDriver
import NVMeTools
import Reactors
import ToolSupport

/// The NVMe controllers on the PCI bus: who drives them, and what keeps this driver from it.
struct DeviceList {
    private struct Row {
        let function: PCIFunction
        /// nil: the driver can attach to it directly.
        let obstacle: String?
    }

    private let rows: [Row]

    init(in tree: SystemTree) {
        rows = PCIFunction.nvmeControllers(in: tree).map { Row(function: $0, obstacle: Self.obstacle($0, tree)) }
    }

    private static func obstacle(_ function: PCIFunction, _ tree: SystemTree) -> String? {
        if !function.isHandedOut {
            let driver = function.driver.map { "the kernel's driver \($0) has it" } ?? "no driver has it"
            do {
                try function.requireIdle(in: tree)
            } catch {
                // Who may not look at the device sees no more than who has it.
                if error.code != .notPermitted { return "\(driver), and \(error.message)" }
            }
            return "\(driver): nvme-identify --bind \(function.address)"
        }
        guard let group = function.group else { return "no IOMMU looks after it: switch it on in firmware and kernel" }
        if function.isGroupWithoutIOMMU { return "its IOMMU group is a stand-in: there is no IOMMU" }
        let others = function.neighbors.filter(\.blocksGroup)
        if others.isEmpty { return nil }
        return "IOMMU group \(group) also has " + others.map { "\($0)" }.joined(separator: ", ")
            + ": bind them to vfio-pci, or to nothing"
    }

    // MARK: Both forms

    var text: String {
        if rows.isEmpty { return "There is no NVMe controller on the PCI bus. --soft shows one in this process.\n" }
        let titles = ["Address", "Device", "Node", "Driver", "Group", "Block devices", "Usable directly"]
        let lines = [titles] + rows.map(cells)
        let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { line in
            let padded = zip(line, widths).map { $0.rightPadded($1) }.joined(separator: "  ")
            return String(padded[...(padded.lastIndex { $0 != " " } ?? padded.startIndex)]) + "\n"
        }.joined()
    }

    private func cells(_ row: Row) -> [String] {
        let function = row.function
        return [
            "\(function.address)",
            "\(hex(function.vendorID, 4).dropFirst(2)):\(hex(function.deviceID, 4).dropFirst(2))",
            function.node.map { "\($0)" } ?? "-", function.driver ?? "-", function.group.map { "\($0)" } ?? "-",
            function.blockDevices.isEmpty ? "-" : function.blockDevices.joined(separator: ","),
            row.obstacle.map { "no: \($0)" } ?? "yes",
        ]
    }

    var json: JSON {
        [
            "devices": .array(
                rows.map { row in
                    [
                        "address": JSON("\(row.function.address)"), "vendor_id": JSON(row.function.vendorID),
                        "device_id": JSON(row.function.deviceID),
                        "numa_node": row.function.node.map { JSON($0) } ?? .null, "driver": JSON(row.function.driver),
                        "iommu_group": row.function.group.map { JSON($0) } ?? .null,
                        "block_devices": .array(row.function.blockDevices.map { JSON($0) }),
                        "usable": .boolean(row.obstacle == nil), "obstacle": JSON(row.obstacle),
                    ]
                })
        ]
    }
}
