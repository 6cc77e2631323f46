import NVMeDriver
import Reactors

extension SoftEngine {
    // MARK: Admin

    /// Nil: it ends later.
    func administrate(_ command: SoftCommand) -> NVMeCompletion? {
        switch command.opcode {
        case AdminOpcode.identify: return NVMeCompletion(status: identify(command))
        case AdminOpcode.createCompletionQueue: return NVMeCompletion(status: createCompletionQueue(command))
        case AdminOpcode.createSubmissionQueue: return NVMeCompletion(status: createSubmissionQueue(command))
        case AdminOpcode.deleteSubmissionQueue:
            return NVMeCompletion(status: deleteQueue(command, isSubmission: true))
        case AdminOpcode.deleteCompletionQueue:
            return NVMeCompletion(status: deleteQueue(command, isSubmission: false))
        case AdminOpcode.setFeatures, AdminOpcode.getFeatures: return feature(command)
        case AdminOpcode.keepAlive, AdminOpcode.firmwareImageDownload, AdminOpcode.firmwareCommit,
            AdminOpcode.formatNVM, AdminOpcode.namespaceManagement, AdminOpcode.namespaceAttachment,
            AdminOpcode.deviceSelfTest, AdminOpcode.sanitize:
            return manage(command)
        case AdminOpcode.asynchronousEventRequest:
            if !events.isEmpty { return NVMeCompletion(result: UInt64(events.removeFirst())) }
            eventRequests.append(command.identifier)
            return nil
        case AdminOpcode.getLogPage: return NVMeCompletion(status: logPage(command))
        case AdminOpcode.doorbellBufferConfig: return NVMeCompletion(status: useShadows(command))
        case AdminOpcode.abort:
            // Not aborted: bit 0 of the result says so.
            return NVMeCompletion(result: abort(UInt16(command[10] >> 16), of: Int(command[10] & 0xFFFF)) ? 0 : 1)
        default: return NVMeCompletion(status: .invalidOpcode)
        }
    }

    private func feature(_ command: SoftCommand) -> NVMeCompletion {
        switch UInt8(truncatingIfNeeded: command[10]) {
        case 7:
            let given = UInt64(options.queuePairLimit - 1)
            return NVMeCompletion(result: given << 16 | given)
        case 0x0B: return NVMeCompletion()
        case 0x0F: return NVMeCompletion(status: setKeepAlive(command[11]))
        case 0x16:
            guard let first = pieces(of: command, byteCount: 512)?.first else {
                return NVMeCompletion(status: .dataTransferError)
            }
            namesRetryDelays = first.load(UInt8.self, at: 0) == 1
            return NVMeCompletion()
        default: return NVMeCompletion(status: .invalidField)
        }
    }

    private func logPage(_ command: SoftCommand) -> NVMeStatus {
        let byteCount = (Int(command[10] >> 16 | command[11] << 16) + 1) * 4
        if byteCount > 4096 || command[12] != 0 { return .invalidField }
        if command[10] & 0xFF == 0x0C, options.subsystem.reportsAccess {
            return send(accessLog(byteCount: byteCount), command)
        }
        var data = DataWriter(byteCount: byteCount)
        switch command[10] & 0xFF {
        case 1, 2: break
        case 6: data.put(selfTest, at: 0)
        case 4:
            for (index, id) in changedNamespaces.sorted().enumerated() where 4 * index + 4 <= byteCount {
                data.put(id, at: 4 * index)
            }
            changedNamespaces = []
        default: return NVMeStatus(type: 1, code: 0x09)
        }
        return send(data, command)
    }

    private func identify(_ command: SoftCommand) -> NVMeStatus {
        let id = command.namespaceID
        switch command[10] & 0xFF {
        case 0:
            guard let namespace = namespaces[id] else { return .invalidNamespace }
            return send(namespace.identity(), command)
        case 1: return send(identity(), command)
        case 2:
            var data = DataWriter(byteCount: 4096)
            for (index, each) in namespaces.keys.filter({ $0 > id }).sorted().prefix(1024).enumerated() {
                data.put(each, at: 4 * index)
            }
            return send(data, command)
        case 3:
            guard let namespace = namespaces[id] else { return .invalidNamespace }
            var data = DataWriter(byteCount: 4096)
            if let uuid = namespace.options.uuid {
                data.put([3, 16, 0, 0] + uuid, at: 0)
            }
            return send(data, command)
        default: return .invalidField
        }
    }

    private func identity() -> DataWriter {
        var data = DataWriter(byteCount: 4096)
        data.put(UInt16(0x1B36), at: 0)
        data.put(options.serialNumber, at: 4, count: 20)
        data.put(options.modelNumber, at: 24, count: 40)
        data.put(firmware.revision, at: 64, count: 8)
        data.put(options.transferPageShift, at: 77)
        describeSubsystem(in: &data)
        data.put(UInt32(0x0001_0400), at: 80)
        // Attributes of namespaces are told of, and which paths are open.
        data.put(UInt32(options.subsystem.reportsAccess ? 0x900 : 0x100), at: 92)
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
        // Compare, dataset management, write zeroes.
        data.put(UInt16(1 | 4 | 8), at: 520)
        // Compare and write as one, of up to 8 blocks.
        data.put(UInt16(1), at: 522)
        data.put(UInt16(7), at: 532)
        data.put(UInt8(options.hasVolatileWriteCache ? 1 : 0), at: 525)
        data.put(UInt32(options.hasSGL ? 1 : 0), at: 536)
        return data
    }

    private func send(_ data: DataWriter, _ command: SoftCommand) -> NVMeStatus {
        guard let pieces = pieces(of: command, byteCount: data.bytes.count) else { return .dataTransferError }
        var data = data
        faults.tampering.alter(&data)
        var offset = 0
        for piece in pieces {
            for index in 0..<piece.byteCount { piece.store(data.bytes[offset + index], at: index) }
            offset += piece.byteCount
        }
        return .success
    }

    // MARK: I/O

    /// Nil: it ends later.
    func perform(_ command: SoftCommand) -> NVMeCompletion? {
        guard let namespace = namespaces[command.namespaceID] else {
            return NVMeCompletion(status: .invalidNamespace)
        }
        if let status = accesses[namespace.options.asymmetricGroup]?.status { return NVMeCompletion(status: status) }
        switch command.opcode {
        case IOOpcode.read: return NVMeCompletion(status: transfer(command, namespace, isRead: true))
        case IOOpcode.write: return NVMeCompletion(status: transfer(command, namespace, isRead: false))
        case IOOpcode.compare: return NVMeCompletion(status: compare(command, namespace))
        case IOOpcode.flush: return NVMeCompletion()
        case IOOpcode.writeZeroes:
            if !namespace.holds(command.startBlock, command.blockCount) {
                return NVMeCompletion(status: .lbaOutOfRange)
            }
            namespace.blocks(command.startBlock, command.blockCount).zero()
            return NVMeCompletion()
        case IOOpcode.datasetManagement: return NVMeCompletion(status: deallocate(command, namespace))
        default: return NVMeCompletion(status: .invalidOpcode)
        }
    }

    private func transfer(_ command: SoftCommand, _ namespace: SoftNamespace, isRead: Bool) -> NVMeStatus {
        let count = command.blockCount
        if !namespace.holds(command.startBlock, count) { return .lbaOutOfRange }
        let blocks = namespace.blocks(command.startBlock, count)
        let limit = options.transferPageShift == 0 ? Int.max : 4096 << Int(options.transferPageShift)
        if blocks.byteCount > limit { return .invalidField }
        guard let pieces = pieces(of: command, byteCount: blocks.byteCount) else { return .dataTransferError }
        var offset = 0
        for piece in pieces {
            let part = blocks.slice(from: offset, count: piece.byteCount)
            if isRead { piece.copy(from: part) } else { part.copy(from: piece) }
            offset += piece.byteCount
        }
        guard let metadata = namespace.metadata(command.startBlock, count) else { return .success }
        guard let memory = mapper.memory(at: command.metadataPointer, byteCount: metadata.byteCount) else {
            return .dataTransferError
        }
        if isRead { memory.copy(from: metadata) } else { metadata.copy(from: memory) }
        return .success
    }

    private func compare(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        if !namespace.holds(command.startBlock, command.blockCount) { return .lbaOutOfRange }
        let blocks = namespace.blocks(command.startBlock, command.blockCount)
        guard let pieces = pieces(of: command, byteCount: blocks.byteCount) else { return .dataTransferError }
        var offset = 0
        for piece in pieces {
            if !piece.contentEquals(blocks.slice(from: offset, count: piece.byteCount)) { return .compareFailure }
            offset += piece.byteCount
        }
        return .success
    }

    private func deallocate(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        let count = Int(command[10] & 0xFF) + 1
        guard let pieces = pieces(of: command, byteCount: count * 16) else { return .dataTransferError }
        var ranges: [(start: UInt64, count: UInt64)] = []
        for piece in pieces {
            for offset in stride(from: 0, to: piece.byteCount, by: 16) {
                ranges.append((piece.load(at: offset + 8), UInt64(piece.load(UInt32.self, at: offset + 4))))
            }
        }
        for range in ranges where !namespace.holds(range.start, range.count) { return .lbaOutOfRange }
        if command[11] & 4 == 0 { return .success }
        for range in ranges where range.count > 0 { namespace.blocks(range.start, range.count).zero() }
        return .success
    }

    // MARK: Where the data is

    /// The host's memory that a command names, `byteCount` bytes in all; nil when it names what cannot be reached.
    func pieces(of command: SoftCommand, byteCount: Int) -> [IOMemory]? {
        command.usesSGL ? descriptors(command, byteCount) : pages(command, byteCount)
    }

    private func pages(_ command: SoftCommand, _ byteCount: Int) -> [IOMemory]? {
        var result: [IOMemory] = [], left = byteCount
        func add(_ address: UInt64) -> Bool {
            let count = min(left, 4096 - Int(address & 4095))
            // Only the first may begin inside a page.
            if !result.isEmpty, address & 4095 != 0 { return false }
            guard address & 3 == 0, let memory = mapper.memory(at: address, byteCount: count) else { return false }
            result.append(memory)
            left -= count
            return true
        }
        if !add(command.dataPointer1) { return nil }
        if left == 0 { return result }
        if left <= 4096 { return add(command.dataPointer2) ? result : nil }
        var list = command.dataPointer2
        while left > 0 {
            let isLastOfPage = list & 4095 == 4088
            guard let entry = mapper.memory(at: list, byteCount: 8)?.load(UInt64.self, at: 0) else { return nil }
            if isLastOfPage, left > 4096 {
                list = entry
                continue
            }
            if !add(entry) { return nil }
            list += 8
        }
        return result
    }

    private func descriptors(_ command: SoftCommand, _ byteCount: Int) -> [IOMemory]? {
        if !options.hasSGL { return nil }
        let kind = command.dataPointer2 >> 60, length = Int(command.dataPointer2 & 0xFFFF_FFFF)
        if kind == 0 {
            return length < byteCount ? nil : mapper.memory(at: command.dataPointer1, byteCount: byteCount).map { [$0] }
        }
        guard kind == 3, length % 16 == 0,
            let list = mapper.memory(at: command.dataPointer1, byteCount: length)
        else { return nil }
        var result: [IOMemory] = [], left = byteCount
        for offset in stride(from: 0, to: length, by: 16) where left > 0 {
            let second: UInt64 = list.load(at: offset + 8)
            let count = min(left, Int(second & 0xFFFF_FFFF))
            guard second >> 60 == 0, let memory = mapper.memory(at: list.load(at: offset), byteCount: count) else {
                return nil
            }
            result.append(memory)
            left -= count
        }
        return left == 0 ? result : nil
    }
}
