import NVMeDriver
import NVMeTools
import Reactors
import ToolSupport

/// What a controller says of itself and of its namespaces.
struct ControllerReport: Sendable {
    let name: String
    let identity: IdentifyController
    let capabilities: ControllerCapabilities
    let version: NVMeVersion
    let transferByteLimit: Int
    let namespaces: [NVMeNamespace]
    /// nil: the controller does not tell.
    let health: HealthLog?
    let errors: [ErrorLogEntry]?
    let firmware: FirmwareLog?

    /// Asks a controller that is up.
    init(of controller: NVMeController) async throws {
        name = controller.name
        capabilities = controller.capabilities
        version = controller.version
        identity = await controller.identity
        transferByteLimit = await controller.transferByteLimit
        namespaces = await controller.namespaces
        health = try await Self.unlessRefused { () async throws(NVMeError) in try await controller.health() }
        errors = try await Self.unlessRefused { () async throws(NVMeError) in try await controller.errorLog(limit: 64) }
        firmware = try await Self.unlessRefused { () async throws(NVMeError) in try await controller.firmwareLog() }
    }

    /// Nil for a page that the controller does not have.
    private static func unlessRefused<Page: Sendable>(
        _ ask: () async throws(NVMeError) -> Page
    ) async throws(NVMeError) -> Page? {
        do {
            return try await ask()
        } catch {
            if error.code == .commandFailed { return nil }
            throw error
        }
    }

    // MARK: Sections

    private var controller: Section {
        Section(
            key: "controller", title: "Controller \(name)",
            fields: [
                .text("model", "Model", identity.modelNumber), .text("serial", "Serial number", identity.serialNumber),
                .text("firmware", "Firmware", identity.firmwareRevision),
                .text("subsystem_nqn", "Subsystem", identity.subsystemName),
                .bits("vendor_id", "Vendor", identity.vendorID),
                .bits("subsystem_vendor_id", "Subsystem vendor", identity.subsystemVendorID),
                .bits("oui", "IEEE OUI", identity.organizationID),
                .number("controller_id", "Controller ID", identity.controllerID),
                .text("version", "Version", "\(version)"),
                .optional("mdts", "Transfer limit (MDTS)", identity.transferPageShift, none: "none"),
                .number(
                    "max_transfer_bytes", "Transfer limit of the driver", transferByteLimit,
                    sizeText(UInt64(transferByteLimit))),
                .flag("multi_port", "More than one port", identity.hasMultiplePorts),
                .flag("multi_controller", "More than one controller", identity.hasMultipleControllers),
                .flag("ana_reporting", "Asymmetric namespace access", identity.reportsAsymmetricAccess),
                .number("namespaces_max", "Highest namespace ID", identity.namespaceIDLimit),
                .number(
                    "total_capacity", "Total capacity", identity.totalByteCount, sizeText(identity.totalByteCount)),
                .number(
                    "unallocated_capacity", "Unallocated capacity", identity.unallocatedByteCount,
                    sizeText(identity.unallocatedByteCount)),
                .flag("volatile_write_cache", "Volatile write cache", identity.hasVolatileWriteCache),
                .temperature("warning_temperature", "Warning temperature", identity.warningTemperature),
                .temperature("critical_temperature", "Critical temperature", identity.criticalTemperature),
                .number("power_states", "Power states", identity.powerStateCount),
                .number("abort_limit", "Abort commands at once", identity.abortLimit),
                .number("event_limit", "Event requests at once", identity.asynchronousEventLimit),
                .number("error_log_entries", "Error log entries", identity.errorLogEntryCount),
            ])
    }

    private var registers: Section {
        Section(
            key: "capabilities", title: "Capabilities",
            fields: [
                .number("queue_entries_max", "Queue entries", capabilities.queueEntryLimit),
                .flag("contiguous_queues", "Contiguous queues required", capabilities.requiresContiguousQueues),
                .number(
                    "ready_timeout_ms", "Time to become ready", capabilities.readyTimeout.milliseconds,
                    "\(capabilities.readyTimeout)"),
                .number("doorbell_stride", "Doorbell stride", capabilities.doorbellStride),
                .flag("subsystem_reset", "Subsystem reset", capabilities.canResetSubsystem),
                .flag("nvm_command_set", "NVM command set", capabilities.hasNVMCommandSet),
                .flag("io_command_sets", "I/O command sets by Identify", capabilities.hasCommandSets),
                .number("page_size_min", "Least memory page", capabilities.pageByteCounts.lowerBound),
                .number("page_size_max", "Greatest memory page", capabilities.pageByteCounts.upperBound),
                .flag("memory_buffer", "Controller memory buffer", capabilities.hasMemoryBuffer),
                .flag("persistent_memory", "Persistent memory region", capabilities.hasPersistentMemoryRegion),
            ])
    }

    private var commands: Section {
        Section(
            key: "commands", title: "Optional commands",
            fields: [
                .bits("oacs", "Admin (OACS)", identity.optionalAdminCommands),
                .flag("security", "Security send and receive", identity.hasSecurityCommands),
                .flag("format", "Format NVM", identity.canFormat),
                .flag("firmware_update", "Firmware download and commit", identity.canUpdateFirmware),
                .flag("namespace_management", "Namespace management", identity.canManageNamespaces),
                .flag("self_test", "Device self-test", identity.canTestItself),
                .flag("virtualization", "Virtualization management", identity.canVirtualize),
                .flag("doorbell_buffers", "Doorbell buffers", identity.hasDoorbellBuffers),
                .bits("oncs", "I/O (ONCS)", identity.optionalCommands),
                .flag("compare", "Compare", identity.canCompare),
                .flag("write_uncorrectable", "Write Uncorrectable", identity.canWriteUncorrectable),
                .flag("dataset_management", "Dataset Management", identity.hasDatasetManagement),
                .flag("write_zeroes", "Write Zeroes", identity.canWriteZeroes),
                .flag("reservations", "Reservations", identity.hasReservations),
                .flag("verify", "Verify", identity.canVerify), .flag("copy", "Copy", identity.canCopy),
                .flag("compare_and_write", "Fused compare and write", identity.canFuseCompareAndWrite),
                .flag("sgl", "Scatter-gather lists", identity.hasSGL),
            ])
    }

    private var healthSection: Section? {
        health.map { health in
            var fields: [Field] = [
                .bits("critical_warning", "Critical warning", health.criticalWarning),
                .temperature("temperature", "Temperature", health.temperature),
                .number("available_spare", "Available spare", health.availableSpare, "\(health.availableSpare) %"),
                .number(
                    "available_spare_threshold", "Spare threshold", health.availableSpareThreshold,
                    "\(health.availableSpareThreshold) %"),
                .number("percentage_used", "Life used", health.percentageUsed, "\(health.percentageUsed) %"),
                .number("data_units_read", "Data units read (512,000 bytes)", health.dataUnitsRead),
                .number("data_units_written", "Data units written (512,000 bytes)", health.dataUnitsWritten),
                .number("host_reads", "Read commands", health.readCommands),
                .number("host_writes", "Write commands", health.writeCommands),
                .number("busy_minutes", "Busy", health.busyMinutes, "\(health.busyMinutes) min"),
                .number("power_cycles", "Power cycles", health.powerCycles),
                .number("power_on_hours", "Powered on", health.powerOnHours, "\(health.powerOnHours) h"),
                .number("unsafe_shutdowns", "Unsafe shutdowns", health.unsafeShutdowns),
                .number("media_errors", "Media errors", health.mediaErrors),
                .number("error_log_count", "Errors logged", health.errorLogEntries),
                .number(
                    "warning_temperature_minutes", "Above warning temperature", health.warningTemperatureMinutes,
                    "\(health.warningTemperatureMinutes) min"),
                .number(
                    "critical_temperature_minutes", "Above critical temperature", health.criticalTemperatureMinutes,
                    "\(health.criticalTemperatureMinutes) min"),
            ]
            for (number, kelvin) in health.temperatureSensors.sorted(by: { $0.key < $1.key }) {
                fields.append(.temperature("temperature_sensor_\(number)", "Sensor \(number)", kelvin))
            }
            return Section(key: "health", title: "Health (SMART)", fields: fields)
        }
    }

    private var firmwareSection: Section? {
        firmware.map { firmware in
            var fields: [Field] = [
                .number("active_slot", "Active slot", firmware.activeSlot),
                .optional("next_slot", "Slot after the next reset", firmware.nextSlot, none: "-"),
            ]
            for (slot, revision) in firmware.revisions.sorted(by: { $0.key < $1.key }) {
                fields.append(.text("slot_\(slot)", "Slot \(slot)", revision))
            }
            return Section(key: "firmware_slots", title: "Firmware", fields: fields)
        }
    }

    private func section(_ error: ErrorLogEntry) -> Section {
        Section(
            key: "error", title: "Error \(error.count)",
            fields: [
                .number("count", "Count", error.count), .text("status", "Status", "\(error.status)"),
                .optional("queue_id", "Queue", error.queueID, none: "-"),
                .optional("command_id", "Command", error.commandIdentifier, none: "-"),
                .number("namespace_id", "Namespace", error.namespaceID), .number("lba", "Block", error.block),
                .optional("parameter_byte", "Byte of the command", error.parameterByte, none: "-"),
                .optional("parameter_bit", "Bit in it", error.parameterBit, none: "-"),
            ])
    }

    // MARK: Both forms

    private var sections: [Section] { [controller, registers, commands] }

    var text: String {
        var text = (sections + [healthSection, firmwareSection].compactMap { $0 }).map(\.text).joined(separator: "\n")
        if let errors {
            text += "\nError log: \(errors.isEmpty ? "empty" : "\(errors.count) errors")\n"
            for error in errors.prefix(8) { text += section(error).text }
        }
        for namespace in namespaces { text += "\n" + NamespaceReport(namespace).text }
        return text
    }

    var json: JSON {
        var members: [(key: String, value: JSON)] = [("address", .string(name))]
        for section in sections { members.append((section.key, section.json)) }
        members.append(("health", healthSection?.json ?? .null))
        members.append(("firmware_slots", firmwareSection?.json ?? .null))
        members.append(("errors", errors.map { .array($0.map { section($0).json }) } ?? .null))
        members.append(("namespaces", .array(namespaces.map { NamespaceReport($0).json })))
        return .object(members)
    }
}

extension Duration {
    fileprivate var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
