/// Where a controller is: the PCI address of its function (`0000:3b:00.0`), or a device file that the kernel's driver
/// has made: of the controller (`/dev/nvme0`), or of one namespace (`/dev/ng0n1`, `/dev/nvme0n1`), of which only that
/// namespace is used.
public struct NVMeAddress: Hashable, Sendable, LosslessStringConvertible {
    package enum Place: Hashable, Sendable {
        case pci(PCIAddress)
        /// `nvme0`.
        case controller(String)
        /// The block device's name: `nvme0n1`.
        case namespace(String)
    }

    package let place: Place
    public let description: String

    private init(_ place: Place, _ description: String) {
        self.place = place
        self.description = description
    }

    public init(_ address: PCIAddress) { self.init(.pci(address), "\(address)") }

    /// Nil: it is neither a PCI address, as ``PCIAddress`` reads it, nor such a path.
    public init?(_ text: String) {
        guard text.hasPrefix("/dev/") else {
            guard let address = PCIAddress(text) else { return nil }
            self.init(address)
            return
        }
        let name = String(text.dropFirst(5))
        let isGeneric = name.hasPrefix("ng"), prefix = isGeneric ? "ng" : "nvme"
        guard name.hasPrefix(prefix) else { return nil }
        let numbers = name.dropFirst(prefix.count).split(separator: "n", omittingEmptySubsequences: false)
        guard numbers.allSatisfy({ !$0.isEmpty && $0.allSatisfy(\.isNumber) }) else { return nil }
        switch numbers.count {
        case 1 where !isGeneric: self.init(.controller(name), text)
        case 2: self.init(.namespace("nvme" + name.dropFirst(prefix.count)), text)
        default: return nil
        }
    }

    /// The PCI address, if that is what it is.
    public var pciAddress: PCIAddress? {
        if case .pci(let address) = place { return address }
        return nil
    }
}
