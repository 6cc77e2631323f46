import CLinux
import SystemPackage

extension Topology {
    /// The node a PCI device is attached to. nil when there is no such device, or the firmware does not say.
    ///
    /// - Parameter address: `0000:3b:00.0`, as `lspci -D` prints it.
    public func node(ofPCIDevice address: String) -> Int? {
        // A name from outside must not leave the folder.
        if address.contains("/") { return nil }
        return validNode("sys/bus/pci/devices/\(address)/numa_node")
    }

    /// The node of the device that holds `path`: a block device, or a file or directory on one.
    ///
    /// nil where no node is nearer: memory file systems, network file systems, virtual disks, or firmware that does not
    /// say. A volume made of several disks has a node when they all have the same one.
    ///
    /// - Throws: ``ReactorError/Code/topologyUnreadable`` with the system's answer when `path` cannot be looked at.
    ///   stat(2).
    public func node(ofFileAt path: String) throws(ReactorError) -> Int? {
        var major: UInt32 = 0
        var minor: UInt32 = 0
        // SAFETY: two integers that the call fills.
        let result = unsafe clinux_block_device_of(path, &major, &minor)
        if result < 0 {
            throw ReactorError(
                .topologyUnreadable, "cannot find the device of '\(path)'", cause: Errno(rawValue: -result),
                advice: "name a file or block device that exists and may be reached")
        }
        return node(ofBlockDevice: major, minor)
    }

    /// The node of the block device with these numbers.
    package func node(ofBlockDevice major: UInt32, _ minor: UInt32) -> Int? {
        tree.resolved("sys/dev/block/\(major):\(minor)").flatMap { node(ofBlockFolder: $0, depth: 0) }
    }

    /// - Parameter folder: an absolute path in which no links are left.
    private func node(ofBlockFolder folder: String, depth: Int) -> Int? {
        guard let end = tree.resolved("sys/devices"), folder.hasPrefix(end + "/"), depth < 8 else { return nil }
        // A partition says nothing of its own; its disk, its controller or the slot above them does.
        var place = folder
        while place != end {
            let inTree = String(place.dropFirst(end.count + 1))
            for file in ["numa_node", "device/numa_node"] {
                if let node = validNode("sys/devices/\(inTree)/\(file)") { return node }
            }
            let parts = tree.names("sys/devices/\(inTree)/slaves")
            if !parts.isEmpty {
                let nodes = parts.map { part -> Int? in
                    tree.resolved("sys/devices/\(inTree)/slaves/\(part)").flatMap {
                        node(ofBlockFolder: $0, depth: depth + 1)
                    }
                }
                return nodes.allSatisfy { $0 == nodes[0] } ? nodes[0] : nil
            }
            place = String(place[..<place.lastIndex(of: "/")!])
        }
        return nil
    }

    /// -1 is the kernel's word for "no node".
    private func validNode(_ file: String) -> Int? {
        tree.number(file).flatMap { node($0)?.number }
    }
}
