import Reactors

/// What becomes of data when a namespace is formatted (Format NVM, SES).
public enum EraseAction: UInt8, Sendable, CaseIterable {
    case none = 0
    /// What was stored cannot be read any more.
    case userData = 1
    /// The key that it was encrypted with is forgotten.
    case cryptographic = 2
}

/// When a firmware image is used (Firmware Commit, CA).
public enum FirmwareAction: UInt8, Sendable, CaseIterable {
    /// It is put into the slot, and not used yet.
    case store = 0
    /// It is put into the slot, and used from the next reset of the controller on.
    case storeAndActivateAtReset = 1
    /// What is in the slot is used from the next reset on.
    case activateAtReset = 2
    /// What is in the slot is used at once.
    case activate = 3
}

/// How everything in an NVM subsystem is made unreadable (Sanitize, SANACT).
public enum SanitizeAction: UInt8, Sendable, CaseIterable {
    /// Leaves the state that a failed one has left behind.
    case exitFailure = 1
    case blockErase = 2
    case overwrite = 3
    case cryptographicErase = 4
}

/// Which self-test is run (Device Self-test, STC).
public enum SelfTest: UInt8, Sendable {
    /// Two minutes at most.
    case short = 1
    /// As long as the controller says of itself (EDSTT).
    case extended = 2
}

/// How a namespace is made (Namespace Management, figure 384).
public struct NamespaceSpecification: Hashable, Sendable {
    /// NSZE and NCAP, in blocks.
    public var blockCount: UInt64
    /// FLBAS: which of the controller's formats, by its number.
    public var formatIndex: Int
    /// Metadata lies behind each block's data.
    public var isMetadataInterleaved = false
    /// DPS.
    public var protection: UInt8 = 0
    /// NMIC bit 0: more than one controller may have it attached.
    public var isShared = false

    public init(blockCount: UInt64, formatIndex: Int = 0) {
        self.blockCount = blockCount
        self.formatIndex = formatIndex
    }
}

// What operators do to a device. All of it as `execute(_:)`: on any task, `commandFailed` with the controller's status.
extension NVMeController {
    // MARK: Firmware

    /// Gives the controller a firmware image, and commits it (sections 5.12 and 5.11).
    ///
    /// - Parameters:
    ///   - image: a multiple of 4 bytes.
    ///   - slot: 1 to 7; 0: the controller chooses.
    ///   - action: whether it is used, and when.
    /// - Returns: whether a reset must come before the image is used.
    /// - Throws: `invalidArgument` for an image or a slot that cannot be; `notSupported`.
    @discardableResult
    public func updateFirmware(
        _ image: [UInt8], slot: Int, action: FirmwareAction
    ) async throws(NVMeError) -> Bool {
        if !identity.canUpdateFirmware { throw unsupported("update its firmware") }
        if image.isEmpty || image.count % 4 != 0 {
            throw NVMeError(
                .invalidArgument, device: name, "a firmware image of \(image.count) bytes is not whole words of 4 bytes"
            )
        }
        if !(0...7).contains(slot) {
            throw NVMeError(.invalidArgument, device: name, "there is no firmware slot \(slot): they are 1 to 7")
        }
        // FWUG, in units of 4 KiB: what a piece is a multiple of.
        let unit = Int(identity.firmwareGranularity) * 4096
        let piece = max(unit, min(transferByteLimit, 65_536) / max(unit, 4096) * max(unit, 4096))
        var offset = 0
        while offset < image.count {
            let count = min(piece, image.count - offset)
            var buffer = await reactor.local.buffer(byteCount: count)
            for index in 0..<count { buffer.store(image[offset + index], at: index) }
            var command = SubmissionQueueEntry(opcode: AdminOpcode.firmwareImageDownload)
            command.cdw10 = UInt32(count / 4 - 1)
            command.cdw11 = UInt32(offset / 4)
            try await execute(command, data: &buffer)
            offset += count
        }
        return try await commitFirmware(slot: slot, action: action)
    }

    /// Firmware Commit, of the image downloaded before or of what is in the slot.
    @discardableResult
    public func commitFirmware(slot: Int, action: FirmwareAction) async throws(NVMeError) -> Bool {
        var command = SubmissionQueueEntry(opcode: AdminOpcode.firmwareCommit)
        command.cdw10 = UInt32(slot & 7) | UInt32(action.rawValue) << 3
        do throws(NVMeError) {
            try await execute(command)
            return false
        } catch {
            // 1:0Bh, 10h, 11h: done, and used after a reset of one kind or another.
            if let status = error.status, status.type == 1, [0x0B, 0x10, 0x11].contains(status.code) { return true }
            throw error
        }
    }

    // MARK: Namespaces

    /// Formats a namespace: all its data is lost (section 5.14). I/O to it fails until it is done.
    ///
    /// - Parameters:
    ///   - namespaceID: `UInt32.max`: all of them.
    ///   - formatIndex: which of its formats, by its number.
    ///   - isMetadataInterleaved: metadata lies behind each block's data.
    ///   - protection: type of the protection information, 0 to 3.
    ///   - erase: what becomes of the data.
    /// - Throws: `notSupported`; `invalidArgument` for a format that the namespace does not have.
    public func format(
        _ namespaceID: UInt32, formatIndex: Int, isMetadataInterleaved: Bool = false, protection: Int = 0,
        erase: EraseAction = .none
    ) async throws(NVMeError) {
        if !identity.canFormat { throw unsupported("format namespaces") }
        let count = namespaces.filter { namespaceID == .max || $0.id == namespaceID }.map(\.identity.formats.count)
            .min()
        guard let count, (0..<count).contains(formatIndex), (0...3).contains(protection) else {
            throw NVMeError(
                .invalidArgument, device: name,
                "namespace \(namespaceID) has no format \(formatIndex) with protection \(protection)")
        }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.formatNVM, namespaceID: namespaceID)
        command.cdw10 =
            UInt32(formatIndex & 0xF) | (isMetadataInterleaved ? 1 << 4 : 0) | UInt32(protection) << 5
            | UInt32(erase.rawValue) << 9 | UInt32(formatIndex >> 4) << 12
        try await execute(command)
        try await rescan()
    }

    /// Makes a namespace, which no controller has attached yet (section 5.23). Its identifier.
    public func createNamespace(_ specification: NamespaceSpecification) async throws(NVMeError) -> UInt32 {
        if !identity.canManageNamespaces { throw unsupported("make namespaces") }
        var buffer = await reactor.local.buffer(byteCount: 4096)
        buffer.fill(with: 0)
        buffer.store(specification.blockCount, at: 0)
        buffer.store(specification.blockCount, at: 8)
        let format = UInt8(truncatingIfNeeded: specification.formatIndex)
        buffer.store(
            format & 0xF | (format >> 4 & 3) << 5 | (specification.isMetadataInterleaved ? 0x10 : 0), at: 26)
        buffer.store(specification.protection, at: 29)
        buffer.store(UInt8(specification.isShared ? 1 : 0), at: 30)
        let command = SubmissionQueueEntry(opcode: AdminOpcode.namespaceManagement)
        return UInt32(truncatingIfNeeded: try await execute(command, data: &buffer))
    }

    /// Deletes a namespace and its data, wherever it is attached; `UInt32.max`: all of them.
    public func deleteNamespace(_ id: UInt32) async throws(NVMeError) {
        if !identity.canManageNamespaces { throw unsupported("delete namespaces") }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.namespaceManagement, namespaceID: id)
        command.cdw10 = 1
        try await execute(command)
        try await rescan()
    }

    /// Has a namespace come to controllers of the subsystem, or go from them (section 5.22): to this one, unless others
    /// are named by their CNTLID.
    public func attach(namespace id: UInt32, to controllers: [UInt16]? = nil) async throws(NVMeError) {
        try await attachment(id, controllers, selection: 0)
    }

    /// As ``attach(namespace:to:)``, the other way.
    public func detach(namespace id: UInt32, from controllers: [UInt16]? = nil) async throws(NVMeError) {
        try await attachment(id, controllers, selection: 1)
    }

    private func attachment(_ id: UInt32, _ controllers: [UInt16]?, selection: UInt32) async throws(NVMeError) {
        if !identity.canManageNamespaces { throw unsupported("attach and detach namespaces") }
        let controllers = controllers ?? [identity.controllerID]
        if controllers.isEmpty || controllers.count > 2047 {
            throw NVMeError(.invalidArgument, device: name, "\(controllers.count) controllers cannot be named at once")
        }
        var buffer = await reactor.local.buffer(byteCount: 4096)
        buffer.fill(with: 0)
        buffer.store(UInt16(controllers.count), at: 0)
        for (index, each) in controllers.sorted().enumerated() { buffer.store(each, at: 2 + 2 * index) }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.namespaceAttachment, namespaceID: id)
        command.cdw10 = selection
        try await execute(command, data: &buffer)
        try await rescan()
    }

    // MARK: Sanitizing and testing

    /// Has everything in the subsystem made unreadable (section 5.24). Returns when it has begun; log page 81h says how
    /// far it is. `allowsUnrestrictedExit`: a failure can be left without another sanitize. `overwriteCount`: of the
    /// overwrite, 1 to 16 passes with `pattern`.
    public func sanitize(
        _ action: SanitizeAction, allowsUnrestrictedExit: Bool = false, overwriteCount: Int = 1, pattern: UInt32 = 0
    ) async throws(NVMeError) {
        if identity.sanitizeCapabilities & 7 == 0 { throw unsupported("sanitize itself") }
        if !(1...16).contains(overwriteCount) {
            throw NVMeError(.invalidArgument, device: name, "\(overwriteCount) passes cannot be done: 1 to 16 can")
        }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.sanitize)
        command.cdw10 =
            UInt32(action.rawValue) | (allowsUnrestrictedExit ? 1 << 3 : 0) | UInt32(overwriteCount & 0xF) << 4
        command.cdw11 = pattern
        try await execute(command)
    }

    /// Begins a self-test (section 5.9) of the controller and a namespace, of all (`UInt32.max`) or of none (0); log
    /// page 06h says how far it is and how it ended.
    public func startSelfTest(_ test: SelfTest, namespaceID: UInt32 = .max) async throws(NVMeError) {
        try await selfTest(UInt32(test.rawValue), namespaceID)
    }

    /// Ends the self-test that is under way, if there is one.
    public func abortSelfTest() async throws(NVMeError) { try await selfTest(0xF, .max) }

    private func selfTest(_ code: UInt32, _ namespaceID: UInt32) async throws(NVMeError) {
        if !identity.canTestItself { throw unsupported("test itself") }
        var command = SubmissionQueueEntry(opcode: AdminOpcode.deviceSelfTest, namespaceID: namespaceID)
        command.cdw10 = code
        try await execute(command)
    }

    private func unsupported(_ what: String) -> NVMeError {
        NVMeError(.notSupported, device: name, "the controller cannot \(what)")
    }
}
