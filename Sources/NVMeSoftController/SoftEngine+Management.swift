import NVMeDriver
import Reactors

/// The firmware of a soft controller: an image is its revision, in ASCII.
struct SoftFirmware {
    private(set) var revision = "1.0"
    private var image: [UInt8] = []
    private var slots: [Int: String] = [1: "1.0"]
    private var next: String?

    mutating func download(_ bytes: [UInt8], at offset: Int) {
        if image.count < offset + bytes.count {
            image += Array(repeating: 0, count: offset + bytes.count - image.count)
        }
        image.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    /// Firmware Commit. `action`: CA.
    mutating func commit(slot: Int, action: UInt32) -> NVMeStatus {
        let slot = slot == 0 ? 2 : slot
        if slot > 2 { return NVMeStatus(type: 1, code: 0x06) }
        if action < 2 {
            if image.isEmpty { return NVMeStatus(type: 1, code: 0x07) }
            slots[slot] = String(decoding: image.prefix(8).prefix { $0 != 0 }, as: UTF8.self)
            image = []
        }
        guard let chosen = slots[slot] else { return NVMeStatus(type: 1, code: 0x07) }
        if action == 3 { revision = chosen }
        if action == 1 || action == 2 {
            next = chosen
            // Needs a reset of the controller.
            return NVMeStatus(type: 1, code: 0x11)
        }
        return .success
    }

    /// At a reset.
    mutating func activate() {
        if let next { revision = next }
        next = nil
    }
}

// What operators do to a device.
extension SoftEngine {
    func manage(_ command: SoftCommand) -> NVMeCompletion {
        switch command.opcode {
        case AdminOpcode.keepAlive:
            keepAlive?.last = clock.now()
            return NVMeCompletion()
        case AdminOpcode.firmwareImageDownload:
            let count = (Int(command[10]) + 1) * 4
            guard let pieces = pieces(of: command, byteCount: count) else {
                return NVMeCompletion(status: .dataTransferError)
            }
            firmware.download(
                pieces.flatMap { piece in (0..<piece.byteCount).map { piece.load(at: $0) } },
                at: Int(command[11]) * 4)
            return NVMeCompletion()
        case AdminOpcode.firmwareCommit:
            return NVMeCompletion(status: firmware.commit(slot: Int(command[10] & 7), action: command[10] >> 3 & 7))
        case AdminOpcode.formatNVM: return NVMeCompletion(status: format(command))
        case AdminOpcode.namespaceManagement:
            return command[10] & 0xF == 0 ? createNamespace(command) : NVMeCompletion(status: deleteNamespace(command))
        case AdminOpcode.namespaceAttachment: return NVMeCompletion(status: attach(command))
        case AdminOpcode.deviceSelfTest:
            selfTest = command[10] & 0xF == 0xF ? 0 : UInt8(command[10] & 0xF)
            return NVMeCompletion()
        case AdminOpcode.sanitize: return NVMeCompletion(status: sanitize(command))
        default: return NVMeCompletion(status: .invalidOpcode)
        }
    }

    /// Feature 0Fh, in milliseconds.
    func setKeepAlive(_ milliseconds: UInt32) -> NVMeStatus {
        if options.keepAliveGranularity == 0 { return .invalidField }
        keepAlive =
            milliseconds == 0 ? nil : (clock.now(), clock.ticks(.milliseconds(Int64(milliseconds))))
        return .success
    }

    private func format(_ command: SoftCommand) -> NVMeStatus {
        let chosen = Int(command[10] & 0xF), protection = UInt8(command[10] >> 5 & 7)
        for id in namespaces.keys.sorted() where command.namespaceID == .max || command.namespaceID == id {
            var options = namespaces[id]!.options
            let formats = SoftNamespace.formats(options)
            if chosen >= formats.count { return NVMeStatus(type: 1, code: 0x0A) }
            options.blockCount =
                options.blockCount * UInt64(options.dataByteCount) / UInt64(formats[chosen].dataByteCount)
            options.firstStoredBlock =
                options.firstStoredBlock * UInt64(options.dataByteCount) / UInt64(formats[chosen].dataByteCount)
            (options.dataByteCount, options.metadataByteCount) = formats[chosen]
            let needed = protection == 0 ? 0 : options.protectionFormat.byteCount
            if protection > 3 || options.metadataByteCount < needed { return NVMeStatus(type: 1, code: 0x0A) }
            options.protectionType = protection
            options.isProtectionFirst = protection > 0 && command[10] >> 8 & 1 != 0
            options.isMetadataInterleaved = options.metadataByteCount > 0 && command[10] >> 4 & 1 != 0
            if let zones = options.zones {
                options.blockCount -= options.blockCount % zones.blockCount
                if options.blockCount == 0 { return NVMeStatus(type: 1, code: 0x0A) }
            }
            guard let made = try? SoftNamespace(id: id, options) else { return .internalError }
            namespaces[id] = made
        }
        return .success
    }

    private func sanitize(_ command: SoftCommand) -> NVMeStatus {
        if command[10] & 7 == 1 { return .success }
        for namespace in namespaces.values { namespace.clearAll() }
        return .success
    }

    // MARK: Namespaces

    private func createNamespace(_ command: SoftCommand) -> NVMeCompletion {
        guard let data = pieces(of: command, byteCount: 4096)?.first else {
            return NVMeCompletion(status: .dataTransferError)
        }
        var options = SoftNamespaceOptions(blockCount: data.load(UInt64.self, at: 0))
        let formats = SoftNamespace.formats(options), chosen = Int(data.load(UInt8.self, at: 26) & 0xF)
        if chosen >= formats.count { return NVMeCompletion(status: NVMeStatus(type: 1, code: 0x0A)) }
        if options.blockCount == 0 || options.blockCount > 1 << 20 {
            return NVMeCompletion(status: NVMeStatus(type: 1, code: 0x15))
        }
        options.dataByteCount = formats[chosen].dataByteCount
        options.isShared = data.load(UInt8.self, at: 30) & 1 != 0
        let used = Set(namespaces.keys).union(unattached.keys), id = (1...UInt32.max).first { !used.contains($0) }!
        guard let made = try? SoftNamespace(id: id, options) else { return NVMeCompletion(status: .internalError) }
        unattached[id] = made
        return NVMeCompletion(result: UInt64(id))
    }

    private func deleteNamespace(_ command: SoftCommand) -> NVMeStatus {
        let id = command.namespaceID
        if id == .max {
            namespaces = [:]
            unattached = [:]
            return .success
        }
        let wasThere = namespaces.removeValue(forKey: id) != nil
        return unattached.removeValue(forKey: id) != nil || wasThere ? .success : .invalidNamespace
    }

    /// For the only controller of the subsystem, whose CNTLID is 0.
    private func attach(_ command: SoftCommand) -> NVMeStatus {
        guard let list = pieces(of: command, byteCount: 4096)?.first else { return .dataTransferError }
        let id = command.namespaceID
        if list.load(UInt16.self, at: 0) != 1 || list.load(UInt16.self, at: 2) != 0 {
            return NVMeStatus(type: 1, code: 0x1C)
        }
        if command[10] & 0xF == 0 {
            guard let namespace = unattached.removeValue(forKey: id) else {
                return namespaces[id] == nil ? .invalidNamespace : NVMeStatus(type: 1, code: 0x18)
            }
            namespaces[id] = namespace
        } else {
            guard let namespace = namespaces.removeValue(forKey: id) else { return NVMeStatus(type: 1, code: 0x1A) }
            unattached[id] = namespace
        }
        return .success
    }
}
