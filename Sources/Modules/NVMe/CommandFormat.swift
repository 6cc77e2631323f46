import Bdev
import NVMeDriver
import Reactors

/// How commands for one namespace look: what depends on its format and on what the controller takes.
struct CommandFormat: Sendable, Hashable {
    static let forceUnitAccess: UInt32 = 1 << 30
    static let protectionAction: UInt32 = 1 << 29
    private static let deallocates: UInt32 = 1 << 25

    /// A flush is a command: the controller has a volatile cache.
    let needsFlush: Bool
    /// Metadata that moves through memory of its own, in bytes for each block.
    let separateMetadataByteCount: Int
    /// The blocks have metadata.
    let hasExtras: Bool
    let protection: ProtectionInformation?
    /// The bits that reference tags have.
    private let referenceTagMask: UInt64
    /// The metadata is the protection information and nothing else: the controller can make and strip it.
    let canOmitMetadata: Bool
    /// CRDT1 to 3.
    let retryDelays: [Duration]
    let limits: RangeLimits
    /// nil: it has none.
    let zones: IdentifyZones?

    init(_ namespace: NVMeNamespace, _ identity: IdentifyController, _ facts: NamespaceFacts) {
        needsFlush = identity.hasVolatileWriteCache
        separateMetadataByteCount = namespace.separateMetadataByteCount
        hasExtras = namespace.format.metadataByteCount > 0
        protection = facts.protection
        referenceTagMask = namespace.protection?.referenceTagMask ?? 0
        canOmitMetadata = namespace.canOmitMetadata
        retryDelays = identity.retryDelays.map { .milliseconds(100 * max(1, Int64($0))) }
        limits = facts.limits
        zones = namespace.zones
    }

    /// Whether commands that are made for `other` are right here, too: on another path to the same namespace.
    func isSame(as other: CommandFormat) -> Bool {
        needsFlush == other.needsFlush && hasExtras == other.hasExtras && limits == other.limits
            && separateMetadataByteCount == other.separateMetadataByteCount && zones == other.zones
    }

    // MARK: Protection information

    /// What the controller is to check, and the reference tag of the first block: its number, as the layer has it.
    func protect(_ command: inout SubmissionQueueEntry, excluding excluded: ProtectionInformation.Checks) {
        guard let protection else { return }
        setTags(&command)
        // PIREMAP: tags that count from the zone's start become those of where the blocks go.
        if command.opcode == IOOpcode.zoneAppend, protection.type != .type3 { command.cdw12 |= 1 << 25 }
        let checks = protection.checks.subtracting(excluded)
        if checks.contains(.guard) { command.cdw12 |= 1 << 28 }
        if checks.contains(.applicationTag) { command.cdw12 |= 1 << 27 }
        if checks.contains(.referenceTag) { command.cdw12 |= 1 << 26 }
    }

    private func setTags(_ command: inout SubmissionQueueEntry) {
        command.setStandardTag(mask: referenceTagMask)
        command.cdw15 = 0xFFFF_0000
    }

    // MARK: Ranges

    /// A command for the request's blocks that moves no data.
    func range(_ opcode: UInt8, _ request: borrowing IORequest) -> SubmissionQueueEntry {
        var command = SubmissionQueueEntry(opcode: opcode)
        command.startBlock = request.startBlock
        command.cdw12 = UInt32(truncatingIfNeeded: request.blockCount &- 1)
        return command
    }

    func writeZeroes(_ request: borrowing IORequest) -> SubmissionQueueEntry {
        var command = range(IOOpcode.writeZeroes, request)
        if protection != nil {
            // The blocks are to be valid afterwards.
            command.cdw12 |= Self.protectionAction
            setTags(&command)
        } else {
            // DEAC: the blocks may be deallocated, as long as they read as zeros.
            command.cdw12 |= Self.deallocates
        }
        return command
    }

    /// Writes the ranges of an unmap or a copy to `list`, and what the command says of them. The part that was written.
    func list(
        _ request: borrowing IORequest, in list: IOMemory, _ command: inout SubmissionQueueEntry
    ) -> IOMemory {
        let isCopy = request.type == .copy
        let limit = isCopy ? limits.copyRangeBlockCount : limits.unmapRangeBlockCount
        var block = isCopy ? request.sourceBlock : request.startBlock, left = request.blockCount, count = 0
        while left > 0 {
            let part = min(left, limit)
            let range = BlockRange(start: block, count: UInt32(part))
            if isCopy {
                range.store(inCopy: list, at: count)
            } else {
                range.store(inDatasetManagement: list, at: count)
            }
            count += 1
            block += part
            left -= part
        }
        if isCopy {
            command.startBlock = request.startBlock
            command.cdw12 = UInt32(count - 1)
        } else {
            command.cdw10 = UInt32(count - 1)
            // AD: deallocate.
            command.cdw11 = 4
        }
        return list.slice(from: 0, count: count * (isCopy ? 32 : 16))
    }
}

/// How much one command with ranges may name.
struct RangeLimits: Sendable, Hashable {
    /// Of one range, and of all.
    var unmapRangeBlockCount = UInt64(UInt32.max)
    var unmapBlockCount = 256 * UInt64(UInt32.max)
    var writeZeroesBlockCount: UInt64 = 65_536
    var copyRangeBlockCount: UInt64 = 0
    var copyBlockCount: UInt64 = 0
    /// Of a compare-and-write that the controller does as one; 0: it does not.
    var fusedBlockCount: UInt64 = 0
    /// Of a report of zones, in bytes.
    var reportByteCount = 4096
}

/// What a namespace says of itself besides what the driver has asked it.
struct NamespaceFacts: Sendable, Hashable {
    var limits = RangeLimits()
    var protection: ProtectionInformation?
    /// Completed writes may be lost until a flush.
    var hasWriteCache = false

    /// Asks the controller. What it does not answer is as the specification says it is without.
    init(
        of namespace: NVMeNamespace, _ controller: NVMeController, checks: ProtectionInformation.Checks
    ) async {
        let identity = await controller.identity
        if identity.hasVolatileWriteCache {
            // Feature 6 says whether it is switched on.
            hasWriteCache = (try? await controller.feature(6)).map { $0 & 1 != 0 } ?? true
        }
        await setLimits(namespace, controller, identity)
        limits.reportByteCount = min(65_536, await controller.transferByteLimit)
        limits.fusedBlockCount = Self.fusedBlockCount(namespace, controller, identity)
        protection = namespace.protection.flatMap { ProtectionInformation($0, checks: checks) }
    }

    private static func fusedBlockCount(
        _ namespace: NVMeNamespace, _ controller: NVMeController, _ identity: IdentifyController
    ) -> UInt64 {
        // Metadata would have to be compared too, and what zones hold is not written twice.
        if !identity.canFuseCompareAndWrite || !identity.canCompare || namespace.zones != nil
            || namespace.format.metadataByteCount > 0
        {
            return 0
        }
        // Two commands side by side, and an entry that stays empty.
        let entryCount = min(controller.options.queueEntryCount, controller.capabilities.queueEntryLimit)
        if entryCount < 3 || controller.options.requestCount < 2 { return 0 }
        // Blocks on both sides of an atomic boundary are not written as one; the first of a namespace's limits means
        // that it has none of its own.
        if namespace.identity.atomicBoundaryBlockCount != nil { return 1 }
        let own = namespace.identity.atomicCompareAndWriteBlockCount.flatMap { $0 > 1 ? $0 : nil }
        return UInt64(min(own ?? identity.atomicCompareAndWriteBlockCount, namespace.transferBlockCountLimit))
    }

    private mutating func setLimits(
        _ namespace: NVMeNamespace, _ controller: NVMeController, _ identity: IdentifyController
    ) async {
        // Identify with CNS 6 of the NVM command set (NVM Command Set Specification 1.0, figure 101).
        if let data = try? await controller.identify(6) {
            func number(_ offset: Int, _ count: Int) -> UInt64 {
                (0..<count).reduce(0) { $0 | UInt64(data[offset + $1]) << UInt64(8 * $1) }
            }
            let pages = UInt64(controller.capabilities.pageByteCounts.lowerBound)
            if case let shift = data[1], 1..<32 ~= shift {
                let most = max(1, pages << UInt64(shift) / UInt64(namespace.format.dataByteCount))
                limits.writeZeroesBlockCount = min(65_536, most)
            }
            let rangeCount = number(3, 1) == 0 ? 256 : number(3, 1), length = number(4, 4), total = number(8, 8)
            if length > 0 { limits.unmapRangeBlockCount = length }
            limits.unmapBlockCount = rangeCount * limits.unmapRangeBlockCount
            if total > 0 { limits.unmapBlockCount = min(limits.unmapBlockCount, total) }
        }
        if identity.canCopy, namespace.identity.copyRangeBlockLimit > 0, namespace.identity.copyBlockLimit > 0 {
            let ranges = UInt64(min(128, namespace.identity.copyRangeLimit))
            limits.copyRangeBlockCount = UInt64(namespace.identity.copyRangeBlockLimit)
            limits.copyBlockCount = min(
                UInt64(namespace.identity.copyBlockLimit), ranges * limits.copyRangeBlockCount)
        }
    }
}

extension ProtectionInformation {
    /// As the layer has it, of what the driver knows; storage tags are 0.
    fileprivate init?(_ protection: NVMeProtection, checks: Checks) {
        guard let type = ProtectionType(rawValue: UInt8(protection.type)),
            let format = Format(rawValue: protection.format.rawValue)
        else { return nil }
        self.init(
            type, format: format, placement: protection.isFirst ? .head : .tail, checks: checks,
            storageTagBitCount: protection.storageTagBitCount)
    }
}

extension SubmissionQueueEntry {
    /// A user's command. Nil for one that says itself where its data is, or is one of two that belong together.
    init?(passingThrough command: NVMeCommand) {
        if command.words[0] >> 8 & 0xFF != 0 { return nil }
        self.init(opcode: command.opcode, namespaceID: command.namespace)
        cdw2 = command.words[2]
        cdw3 = command.words[3]
        cdw10 = command.words[10]
        cdw11 = command.words[11]
        cdw12 = command.words[12]
        cdw13 = command.words[13]
        cdw14 = command.words[14]
        cdw15 = command.words[15]
    }
}

extension SubmissionQueueEntry {
    /// The same, with the namespace that it names.
    init?(anyNamespace command: NVMeCommand) {
        self.init(passingThrough: command)
        namespaceID = command.namespace
    }
}

extension AdminOpcode {
    /// Commands that would pull the ground from under the driver: queues, events, aborts, doorbells, keep-alive.
    static func isDriversOwn(_ opcode: UInt8) -> Bool {
        switch opcode {
        case deleteSubmissionQueue, createSubmissionQueue, deleteCompletionQueue, createCompletionQueue, abort,
            asynchronousEventRequest, keepAlive, doorbellBufferConfig:
            true
        default: false
        }
    }

    /// Commands after which namespaces may be others: format, management, attachment, sanitize.
    fileprivate static func changesNamespaces(_ opcode: UInt8) -> Bool {
        [formatNVM, namespaceManagement, namespaceAttachment, sanitize].contains(opcode)
    }
}

extension NVMeController {
    /// A user's admin command, and what came of it.
    func passThrough(_ command: SubmissionQueueEntry, _ data: IOMemory?) async -> (IOStatus, UInt64) {
        if let data, data.byteCount > transferByteLimit { return (.invalidField, 0) }
        do throws(NVMeError) {
            let result = try await perform(command, data)
            if AdminOpcode.changesNamespaces(command.opcode) { try? await rescan() }
            return (.success, result)
        } catch {
            if error.code == .aborted { return (.aborted, 0) }
            guard let status = error.status else { return (.failed, 0) }
            return (IOStatus(.nvmeError, detail: Int32(status.type) << 8 | Int32(status.code)), 0)
        }
    }
}
