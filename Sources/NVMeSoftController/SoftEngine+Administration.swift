import NVMeDriver
import Reactors

extension SoftEngine {
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
            hostKnows = (first.load(UInt8.self, at: 0) == 1, first.load(UInt8.self, at: 2) == 1)
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

    func send(_ data: DataWriter, _ command: SoftCommand) -> NVMeStatus {
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
}
