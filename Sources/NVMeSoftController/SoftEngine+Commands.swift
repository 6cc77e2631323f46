import NVMeDriver
import Reactors

// Commands of I/O queues.
extension SoftEngine {
    /// Nil: it ends later.
    func perform(_ command: SoftCommand) -> NVMeCompletion? {
        guard let namespace = namespaces[command.namespaceID] else {
            return NVMeCompletion(status: .invalidNamespace)
        }
        // Invalid Namespace or Format.
        if namespace.isExtended, !hostKnows.extendedFormats { return NVMeCompletion(status: .invalidNamespace) }
        if let status = accesses[namespace.options.asymmetricGroup]?.status { return NVMeCompletion(status: status) }
        if namespace.zones != nil, let completion = performOnZones(command, namespace) { return completion }
        switch command.opcode {
        case IOOpcode.read, IOOpcode.compare, IOOpcode.verify:
            return NVMeCompletion(status: read(command, namespace))
        case IOOpcode.write, IOOpcode.writeZeroes:
            return NVMeCompletion(status: write(command, namespace, at: command.startBlock))
        case IOOpcode.flush: return NVMeCompletion()
        case IOOpcode.datasetManagement: return NVMeCompletion(status: deallocate(command, namespace))
        default: return NVMeCompletion(status: .invalidOpcode)
        }
    }

    private func read(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        let start = command.startBlock, count = command.blockCount
        if !namespace.holds(start, count) { return .lbaOutOfRange }
        if let refusal = namespace.zones?.refusal(ofReading: start, count) { return refusal }
        if namespace.protection != nil { return readProtected(command, namespace) }
        switch command.opcode {
        case IOOpcode.verify: return .success
        case IOOpcode.compare: return compare(command, namespace)
        default: return transfer(command, namespace, at: start, isRead: true)
        }
    }

    /// Write and Write Zeroes at `start`, and Zone Append, for which the zone says where that is.
    func write(_ command: SoftCommand, _ namespace: SoftNamespace, at start: UInt64) -> NVMeStatus {
        let count = command.blockCount
        if !namespace.holds(start, count) { return .lbaOutOfRange }
        if let refusal = namespace.zones?.refusal(ofWriting: start, count) { return refusal }
        let status: NVMeStatus
        if command.opcode == IOOpcode.writeZeroes {
            namespace.clear(start, count)
            status = namespace.protection == nil ? .success : protectZeroes(command, namespace)
        } else if namespace.protection != nil {
            status = writeProtected(command, namespace, at: start)
        } else {
            status = transfer(command, namespace, at: start, isRead: false)
        }
        if status.isSuccess { namespace.zones?.wrote(start, count) }
        return status
    }

    /// The most bytes of one command.
    var transferLimit: Int { options.transferPageShift == 0 ? Int.max : 4096 << Int(options.transferPageShift) }

    private func transfer(
        _ command: SoftCommand, _ namespace: SoftNamespace, at start: UInt64, isRead: Bool
    ) -> NVMeStatus {
        let count = command.blockCount, blocks = namespace.blocks(start, count)
        if blocks.byteCount > transferLimit { return .invalidField }
        return pair(command, blocks, namespace.metadata(start, count)) { host, part in
            if isRead { host.copy(from: part) } else { part.copy(from: host) }
            return .success
        }
    }

    private func compare(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        let start = command.startBlock, count = command.blockCount
        return pair(command, namespace.blocks(start, count), namespace.metadata(start, count)) { host, part in
            host.contentEquals(part) ? .success : .compareFailure
        }
    }

    /// Calls `body` with each piece of the host's memory and the part of the blocks that belongs to it, their metadata
    /// last, until that fails.
    private func pair(
        _ command: SoftCommand, _ blocks: IOMemory, _ metadata: IOMemory?,
        _ body: (_ host: IOMemory, _ part: IOMemory) -> NVMeStatus
    ) -> NVMeStatus {
        guard let pieces = pieces(of: command, byteCount: blocks.byteCount) else { return .dataTransferError }
        var offset = 0
        for piece in pieces {
            let status = body(piece, blocks.slice(from: offset, count: piece.byteCount))
            if !status.isSuccess { return status }
            offset += piece.byteCount
        }
        guard let metadata else { return .success }
        guard let memory = mapper.memory(at: command.metadataPointer, byteCount: metadata.byteCount) else {
            return .dataTransferError
        }
        return body(memory, metadata)
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
        for range in ranges where range.count > 0 { namespace.clear(range.start, range.count) }
        return .success
    }
}
