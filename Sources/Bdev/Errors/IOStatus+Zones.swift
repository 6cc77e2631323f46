/// What a bdev with zones answers (Zoned Namespace Command Set Specification 1.1, figure 21): command-specific NVMe
/// statuses.
extension IOStatus {
    /// The status of a command's own kind (status code type 1) with this code.
    private static func zone(_ code: Int32) -> IOStatus { IOStatus(.nvmeError, detail: 1 << 8 | code) }

    /// The blocks reach beyond what the zone can hold.
    public static var zoneBoundaryError: IOStatus { zone(0xB8) }
    /// The zone holds all it can. `BdevError` has the code `noSpace` for it.
    public static var zoneIsFull: IOStatus { zone(0xB9) }
    /// The zone can be read only.
    public static var zoneIsReadOnly: IOStatus { zone(0xBA) }
    /// The zone can be neither read nor written.
    public static var zoneIsOffline: IOStatus { zone(0xBB) }
    /// A write that does not begin at the zone's write pointer.
    public static var zoneInvalidWrite: IOStatus { zone(0xBC) }
    /// As many zones are open or closed as may be.
    public static var tooManyActiveZones: IOStatus { zone(0xBD) }
    /// As many zones are open as may be.
    public static var tooManyOpenZones: IOStatus { zone(0xBE) }
    /// The zone's state forbids what was to be done to it.
    public static var invalidZoneTransition: IOStatus { zone(0xBF) }
    /// A command whose parts do not fit together: a zone that does not begin there (NVMe: Invalid Field in Command).
    public static var invalidField: IOStatus { IOStatus(.nvmeError, detail: 0x02) }
}
