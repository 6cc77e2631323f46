import NVMeDriver
import ToolSupport

/// What a namespace says of itself.
struct NamespaceReport {
    private let namespace: NVMeNamespace
    private var identity: IdentifyNamespace { namespace.identity }

    init(_ namespace: NVMeNamespace) { self.namespace = namespace }

    /// `8 blocks, 4 KiB`.
    private func size(_ key: String, _ label: String, _ blocks: UInt64) -> Field {
        let bytes = blocks.multipliedReportingOverflow(by: UInt64(namespace.format.dataByteCount))
        return .number(
            key, label, blocks, "\(blocks) blocks" + (bytes.overflow ? "" : ", \(sizeText(bytes.partialValue))"))
    }

    private var section: Section {
        let format = namespace.format
        var fields: [Field] = [
            .number("nsid", "Namespace ID", namespace.id),
            .number("command_set", "Command set", namespace.commandSet, commandSet),
            size("size_blocks", "Size", identity.blockCount),
            size("capacity_blocks", "Capacity", identity.capacityBlockCount),
            size("used_blocks", "In use", identity.usedBlockCount),
            .flag("thin", "Thin provisioned", identity.isThinProvisioned),
            .number("block_size", "Block", format.dataByteCount, "\(format.dataByteCount) bytes"),
            .number("metadata_size", "Metadata", format.metadataByteCount, metadata),
            .flag("metadata_interleaved", "Metadata behind the data", identity.isMetadataInterleaved),
            .number("protection_type", "Protection information", identity.protectionType, protection),
            .flag("shared", "Shared", identity.isShared),
            .flag("write_protected", "Write-protected", identity.isWriteProtected),
            .number(
                "optimal_boundary_blocks", "Optimal boundary (NOIOB)", identity.optimalBoundaryBlockCount,
                identity.optimalBoundaryBlockCount == 0 ? "none" : "\(identity.optimalBoundaryBlockCount) blocks"),
            .optional("atomic_write_blocks", "Atomic write", identity.atomicWriteBlockCount, none: "the controller's"),
            .bits("reservation_capabilities", "Reservations", identity.reservationCapabilities),
            .number("deallocated_value", "Deallocated blocks read as", identity.deallocatedValue, deallocated),
            .number("ana_group", "Asymmetric access group", identity.asymmetricGroup),
            .name("uuid", "UUID", namespace.uuid), .name("nguid", "NGUID", identity.globalID),
            .name("eui64", "EUI64", identity.extendedID),
        ]
        if identity.hasPreferredSizes {
            fields += [
                .number("preferred_write_blocks", "Preferred write granularity", identity.preferredWriteGranularity),
                .number("optimal_write_blocks", "Optimal write size", identity.optimalWriteSize),
            ]
        }
        if let protection = namespace.protection {
            let bits = protection.storageTagBitCount
            fields += [
                .flag("protection_first", "Protection information first", protection.isFirst),
                .number("guard_bits", "Guard", protection.guardBitCount, "\(protection.guardBitCount) bits"),
                .number("storage_tag_bits", "Storage tag", bits, bits == 0 ? "none" : "\(bits) bits"),
            ]
        }
        if let zones = namespace.zones {
            fields += [
                .number("zone_blocks", "Zone", zones.zoneBlockCount, "\(zones.zoneBlockCount) blocks"),
                .optional("zones_active_max", "Active zones", zones.activeLimit, none: "no limit"),
                .optional("zones_open_max", "Open zones", zones.openLimit, none: "no limit"),
            ]
        }
        return Section(key: "namespace", title: "Namespace \(namespace.id)", fields: fields)
    }

    private var commandSet: String {
        switch namespace.commandSet {
        case 0: "NVM"
        case 1: "key value"
        case 2: "zoned"
        default: "\(namespace.commandSet)"
        }
    }

    private var metadata: String {
        if namespace.format.metadataByteCount == 0 { return "none" }
        return "\(namespace.format.metadataByteCount) bytes for each block"
    }

    private var protection: String { identity.protectionType == 0 ? "none" : "type \(identity.protectionType)" }

    private var deallocated: String {
        switch identity.deallocatedValue {
        case 1: "zeros"
        case 2: "ones"
        default: "not said"
        }
    }

    /// Those that can be used, by index.
    private var formats: [(index: Int, format: LBAFormat)] {
        identity.formats.enumerated().filter { $0.element.dataByteCount > 0 }.map { ($0.offset, $0.element) }
    }

    var text: String {
        var text = section.text + "  Formats\n"
        for (index, format) in formats {
            text += "    \(index): \(format.dataByteCount) bytes"
            if format.metadataByteCount > 0 { text += " and \(format.metadataByteCount) of metadata" }
            text += ", performance \(format.relativePerformance)"
            text += index == identity.formatIndex ? " (in use)\n" : "\n"
        }
        return text
    }

    var json: JSON {
        guard case .object(var members) = section.json else { return .null }
        members.append(("format_in_use", JSON(identity.formatIndex)))
        members.append(
            (
                "formats",
                .array(
                    formats.map { index, format in
                        [
                            "index": JSON(index), "block_size": JSON(format.dataByteCount),
                            "metadata_size": JSON(format.metadataByteCount),
                            "relative_performance": JSON(format.relativePerformance),
                        ]
                    })
            ))
        return .object(members)
    }
}
