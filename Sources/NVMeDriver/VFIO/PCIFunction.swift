package import Reactors

/// A PCI function as sysfs shows it: what it is, who drives it, and who else is in its IOMMU group.
///
/// A look at one moment; ask again after something has changed.
public struct PCIFunction: Sendable, Hashable {
    /// Another function of the same IOMMU group.
    public struct Neighbor: Sendable, Hashable, CustomStringConvertible {
        public let address: PCIAddress
        public let driver: String?
        /// Whether it is an NVMe controller.
        public let isNVMe: Bool

        /// The group cannot be handed out while a driver like this one has it (VFIO kernel documentation: drivers that
        /// move no data on their own are let pass).
        public var blocksGroup: Bool {
            guard let driver else { return false }
            return !PCIFunction.isHandedOut(by: driver) && driver != "pci-stub" && driver != "pcieport"
        }

        /// `0000:3b:00.1 (ahci)`.
        public var description: String { "\(address) (\(driver ?? "no driver"))" }
    }

    public let address: PCIAddress
    /// Class, subclass and programming interface: 0x010802 for NVMe.
    public let classCode: UInt32
    public let vendorID: UInt16
    public let deviceID: UInt16
    /// The NUMA node it is attached to; nil: unknown, or there is but one.
    public let node: Int?
    /// The driver it is bound to.
    public let driver: String?
    /// The number of its IOMMU group; nil: no IOMMU looks after it.
    public let group: Int?
    /// The group is a stand-in that VFIO makes where there is no IOMMU.
    public let isGroupWithoutIOMMU: Bool
    /// The others in its group, by address.
    public let neighbors: [Neighbor]
    /// Block devices that the kernel made of its namespaces: `nvme0n1`.
    public let blockDevices: [String]

    static let nvmeClass: UInt32 = 0x010802

    public var isNVMe: Bool { classCode == Self.nvmeClass }

    static func isHandedOut(by driver: String?) -> Bool {
        // Also what vendors build on it: mlx5_vfio_pci and the like.
        guard let driver else { return false }
        return driver == "vfio-pci" || driver.hasSuffix("_vfio_pci") || driver.hasSuffix("-vfio-pci")
    }

    /// It is with VFIO, which hands it to whoever asks first.
    public var isHandedOut: Bool { Self.isHandedOut(by: driver) }

    // MARK: Looking

    /// All NVMe controllers of the machine, by address.
    ///
    /// Cost: some small files for each PCI function; a few milliseconds.
    public static func nvmeControllers() -> [PCIFunction] { nvmeControllers(in: SystemTree(root: "/")) }

    package static func nvmeControllers(in tree: SystemTree) -> [PCIFunction] {
        tree.names("sys/bus/pci/devices").compactMap { PCIAddress($0) }.sorted()
            .filter { classCode(of: $0, tree) == nvmeClass }.compactMap { PCIFunction($0, in: tree) }
    }

    /// The function at `address`; nil: there is none.
    public init?(_ address: PCIAddress) { self.init(address, in: SystemTree(root: "/")) }

    package init?(_ address: PCIAddress, in tree: SystemTree) {
        let folder = Self.folder(address)
        guard let classCode = Self.classCode(of: address, tree) else { return nil }
        self.address = address
        self.classCode = classCode
        vendorID = UInt16(truncatingIfNeeded: Self.hex(tree.text("\(folder)/vendor")) ?? 0)
        deviceID = UInt16(truncatingIfNeeded: Self.hex(tree.text("\(folder)/device")) ?? 0)
        // -1 is the kernel's word for "no node".
        node = tree.number("\(folder)/numa_node").flatMap { $0 < 0 ? nil : $0 }
        driver = Self.driver(of: address, tree)
        let group = Self.lastComponent(tree.resolved("\(folder)/iommu_group")).flatMap { Int($0) }
        self.group = group
        isGroupWithoutIOMMU = group.map { tree.text("sys/kernel/iommu_groups/\($0)/name") } == "vfio-noiommu"
        neighbors = group.map { Self.neighbors(of: address, $0, tree) } ?? []
        blockDevices = Self.blockDevices(of: address, tree)
    }

    static func folder(_ address: PCIAddress) -> String { "sys/bus/pci/devices/\(address)" }

    private static func classCode(of address: PCIAddress, _ tree: SystemTree) -> UInt32? {
        hex(tree.text("\(folder(address))/class"))
    }

    private static func hex(_ text: String?) -> UInt32? {
        guard let text, text.hasPrefix("0x") else { return nil }
        return UInt32(text.dropFirst(2), radix: 16)
    }

    private static func lastComponent(_ path: String?) -> String? {
        path.flatMap { $0.split(separator: "/").last.map { String($0) } }
    }

    static func driver(of address: PCIAddress, _ tree: SystemTree) -> String? {
        lastComponent(tree.resolved("\(folder(address))/driver"))
    }

    private static func neighbors(of address: PCIAddress, _ group: Int, _ tree: SystemTree) -> [Neighbor] {
        tree.names("sys/kernel/iommu_groups/\(group)/devices").compactMap { PCIAddress($0) }.sorted()
            .filter { $0 != address }
            .map {
                Neighbor(address: $0, driver: driver(of: $0, tree), isNVMe: classCode(of: $0, tree) == nvmeClass)
            }
    }

    private static func blockDevices(of address: PCIAddress, _ tree: SystemTree) -> [String] {
        let folder = "\(folder(address))/nvme"
        var result: Set<String> = []
        for controller in tree.names(folder) {
            for entry in tree.names("\(folder)/\(controller)") {
                if let name = blockDevice(entry) { result.insert(name) }
            }
        }
        return result.sorted()
    }

    /// `nvme0n1`, also of `nvme0c1n1`, which is its path through one controller of several. Nil for all other entries.
    static func blockDevice(_ entry: String) -> String? {
        guard entry.hasPrefix("nvme"), entry.last?.isNumber == true else { return nil }
        let parts = entry.dropFirst(4).split(separator: "n", omittingEmptySubsequences: false)
        guard parts.count == 2, Int(parts[1]) != nil,
            let subsystem = parts[0].split(separator: "c", maxSplits: 1).first, Int(subsystem) != nil
        else { return nil }
        return "nvme\(subsystem)n\(parts[1])"
    }
}
