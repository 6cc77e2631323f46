/// What known controllers do otherwise than the specification has it, or than they say. By the identifiers of their PCI
/// functions.
package struct NVMeQuirks: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A transfer that goes over a multiple of so many bytes is slow: 2 to the power of byte 3 of the vendor's part of
    /// its identity, in pages.
    package static let stripes = NVMeQuirks(rawValue: 1 << 0)
    /// For two seconds after its function was reset it cannot be started.
    package static let startsLate = NVMeQuirks(rawValue: 1 << 1)
    /// For 2.3 seconds after it was switched off its status must not be looked at.
    package static let stopsLate = NVMeQuirks(rawValue: 1 << 2)
    /// It has no list of its namespaces, whatever its version says.
    package static let listsNoNamespaces = NVMeQuirks(rawValue: 1 << 3)

    static let startPause = Duration.seconds(2)
    static let stopPause = Duration.milliseconds(2300)

    private static let known: [(vendorID: UInt16, deviceIDs: Set<UInt16>, quirks: NVMeQuirks)] = [
        // Intel: 750 and P3500 to P3700, P3520.
        (0x8086, [0x0953, 0x0A53], [.stripes, .startsLate]),
        // P4500 and P4600, and what has followed them.
        (0x8086, [0x0A54, 0x0A55, 0x0B60], .stripes),
        // An old QEMU.
        (0x8086, [0x5845], .listsNoNamespaces),
        // Samsung PM1725 and PM1725a.
        (0x144D, [0xA821, 0xA822], .stopsLate),
        // HGST and WDC SN200.
        (0x1C58, [0x0003, 0x0023], .stopsLate),
        // Memblaze Pblaze4.
        (0x1C5F, [0x0540], .stopsLate),
        // Seagate Nytro.
        (0x1BB1, [0x0100], .stopsLate),
    ]

    package init(vendorID: UInt16, deviceID: UInt16) {
        self = Self.known.first { $0.vendorID == vendorID && $0.deviceIDs.contains(deviceID) }?.quirks ?? []
    }
}
