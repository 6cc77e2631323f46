import NVMeDriver
import Reactors

// The commands of the Zoned Namespace command set that others do not have.
extension SoftEngine {
    /// Nil: it is a command as other namespaces have it.
    func performOnZones(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeCompletion? {
        switch command.opcode {
        case IOOpcode.zoneAppend: append(command, namespace)
        case IOOpcode.zoneManagementSend: NVMeCompletion(status: manageZones(command, namespace))
        case IOOpcode.zoneManagementReceive: NVMeCompletion(status: reportZones(command, namespace))
        default: nil
        }
    }

    private func append(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeCompletion {
        guard let zones = namespace.zones, namespace.holds(command.startBlock, 1) else {
            return NVMeCompletion(status: .lbaOutOfRange)
        }
        let zone = zones.index(of: command.startBlock)
        if zones.start(of: zone) != command.startBlock { return NVMeCompletion(status: .invalidField) }
        let byteCount = Int(command.blockCount) * namespace.options.dataByteCount
        if options.appendPageShift > 0, byteCount > 4096 << Int(options.appendPageShift) {
            return NVMeCompletion(status: .invalidField)
        }
        // Reference tags that are of the zone's start would be wrong in type 1 unless they are remapped; those of type
        // 3 cannot be.
        let remaps = command.remapsReferenceTags
        switch namespace.options.protectionType {
        case 1 where !remaps, 3 where remaps: return NVMeCompletion(status: .invalidProtectionInformation)
        default: break
        }
        // One that is full has its write pointer where the next zone begins.
        let place = min(zones.writePointer(of: zone), zones.start(of: zone) + zones.options.blockCount - 1)
        if let refusal = zones.refusal(ofWriting: place, command.blockCount) {
            return NVMeCompletion(status: refusal)
        }
        let status = write(command, namespace, at: place)
        return NVMeCompletion(result: status.isSuccess ? place : 0, status: status)
    }

    private func manageZones(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        guard let action = NVMeZoneAction(rawValue: UInt8(truncatingIfNeeded: command[13])) else {
            return .invalidField
        }
        let concernsAll = command[13] >> 8 & 1 != 0
        var chosen: [Int] = []
        if concernsAll {
            chosen = namespace.zones?.chosen(for: action) ?? []
            if action == .open, namespace.zones?.canOpenAll == false { return .tooManyOpenZones }
        } else {
            guard let zones = namespace.zones, namespace.holds(command.startBlock, 1) else { return .lbaOutOfRange }
            let zone = zones.index(of: command.startBlock)
            if zones.start(of: zone) != command.startBlock { return .invalidField }
            chosen = [zone]
        }
        for zone in chosen {
            let status = namespace.zones?.manage(zone, action) ?? .success
            if !status.isSuccess { return status }
            if action == .reset, let zones = namespace.zones {
                namespace.clear(zones.start(of: zone), zones.options.blockCount)
            }
        }
        return .success
    }

    private func reportZones(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        guard let zones = namespace.zones, namespace.holds(command.startBlock, 1) else { return .lbaOutOfRange }
        let byteCount = (Int(command[12]) + 1) * 4,
            states: [NVMeZone.State] = [
                .empty, .implicitlyOpen, .explicitlyOpen, .closed, .full, .readOnly, .offline,
            ]
        let chosen = Int(command[13] >> 8 & 0xFF)
        // Extended reports are not there.
        if command[13] & 0xFF != 0 || chosen > states.count || byteCount < 64 || byteCount > transferLimit {
            return .invalidField
        }
        return send(
            zones.report(
                from: zones.index(of: command.startBlock), in: chosen == 0 ? nil : states[chosen - 1],
                isPartial: command[13] >> 16 & 1 != 0, byteCount: byteCount), command)
    }
}
