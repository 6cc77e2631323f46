import NVMeDriver
import Reactors

// What the controller says of itself and of its namespaces.
extension SoftEngine {
    func identify(_ command: SoftCommand) -> NVMeStatus {
        let id = command.namespaceID
        switch command[10] & 0xFF {
        case 0:
            guard let namespace = namespaces[id] else { return .invalidNamespace }
            return send(namespace.identity(), command)
        case 1: return send(identity(), command)
        case 2 where options.version < NVMeVersion(1, 1) || options.quirks.contains(.listsNoNamespaces):
            return .invalidField
        case 2: return send(list(after: id) { _ in true }, command)
        case 3 where options.version >= NVMeVersion(1, 3):
            guard let namespace = namespaces[id] else { return .invalidNamespace }
            var data = DataWriter(byteCount: 4096), place = 0
            if let uuid = namespace.options.uuid {
                data.put([3, 16, 0, 0] + uuid, at: 0)
                place = 20
            }
            if hasCommandSets { data.put([4, 1, 0, 0, namespace.commandSet], at: place) }
            return send(data, command)
        case 5 where hasExtendedFormats && command[11] >> 24 == 0:
            guard let namespace = namespaces[id] else { return .invalidNamespace }
            return send(namespace.extendedIdentity(), command)
        case let structure where hasCommandSets: return identify(command, structure, UInt8(command[11] >> 24))
        default: return .invalidField
        }
    }

    /// What depends on the I/O command set (NVM Express Base Specification 2.0, figure 273).
    private func identify(_ command: SoftCommand, _ structure: UInt32, _ commandSet: UInt8) -> NVMeStatus {
        if commandSet != 0 && commandSet != SoftNamespace.zonedCommandSet { return .invalidField }
        var data = DataWriter(byteCount: 4096)
        switch structure {
        case 5:
            guard let namespace = namespaces[command.namespaceID] else { return .invalidNamespace }
            if commandSet == SoftNamespace.zonedCommandSet {
                guard let zones = namespace.zones else { return .invalidField }
                data = zones.identity(formatIndex: 0)
            }
        case 6: if commandSet == SoftNamespace.zonedCommandSet { data.put(options.appendPageShift, at: 0) }
        case 7: data = list(after: command.namespaceID) { $0.commandSet == commandSet }
        // One combination: both.
        case 0x1C: data.put(UInt64(1 | 1 << SoftNamespace.zonedCommandSet), at: 0)
        default: return .invalidField
        }
        return send(data, command)
    }

    private var hasExtendedFormats: Bool { namespaces.values.contains { $0.isExtended } }

    private func list(after id: UInt32, where isChosen: (SoftNamespace) -> Bool) -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        let chosen = namespaces.values.filter { $0.id > id && isChosen($0) }.map(\.id).sorted()
        for (index, each) in chosen.prefix(1024).enumerated() { data.put(each, at: 4 * index) }
        return data
    }

    private func identity() -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        data.put(UInt16(0x1B36), at: 0)
        data.put(options.serialNumber, at: 4, count: 20)
        data.put(options.modelNumber, at: 24, count: 40)
        data.put(firmware.revision, at: 64, count: 8)
        data.put(options.transferPageShift, at: 77)
        describeSubsystem(in: &data)
        data.put(options.version.rawValue, at: 80)
        // Attributes of namespaces are told of, and which paths are open.
        data.put(UInt32(options.subsystem.reportsAccess ? 0x900 : 0x100), at: 92)
        // Extended formats.
        data.put(UInt32(hasExtendedFormats ? 1 << 15 : 0), at: 96)
        for (index, delay) in options.retryDelays.prefix(3).enumerated() { data.put(delay, at: 128 + 2 * index) }
        // Format, firmware, namespaces, self-test.
        data.put(UInt16(0x1E | (options.hasDoorbellBuffers ? 0x100 : 0)), at: 256)
        // Two slots; pieces of 4 KiB.
        data.put(UInt8(2 << 1), at: 260)
        data.put(UInt8(1), at: 319)
        data.put(options.keepAliveGranularity, at: 320)
        data.put(UInt32(7), at: 328)
        data.put(UInt8(3), at: 258)
        data.put(UInt8(3), at: 259)
        data.put(UInt8(0x66), at: 512)
        data.put(UInt8(0x44), at: 513)
        data.put(UInt32(namespaces.keys.max() ?? 1), at: 516)
        // Compare, dataset management, write zeroes, verify.
        data.put(UInt16(1 | 4 | 8 | 0x80), at: 520)
        // Compare and write as one, of as many blocks as ACWU says.
        data.put(UInt16(options.fusedBlockCountLimit > 0 ? 1 : 0), at: 522)
        data.put(UInt16(max(1, options.fusedBlockCountLimit) - 1), at: 532)
        data.put(UInt8(options.hasVolatileWriteCache ? 1 : 0), at: 525)
        data.put(UInt32(options.hasSGL ? 1 : 0), at: 536)
        data.put(options.stripePageShift, at: 3075)
        return data
    }
}
