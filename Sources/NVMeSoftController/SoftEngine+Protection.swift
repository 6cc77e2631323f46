import NVMeDriver
import Reactors

/// The host's memory that a command's blocks come from or go to, one after the other.
private struct HostBlocks {
    private let pieces: [IOMemory]
    /// Separate metadata.
    private let metadata: IOMemory?
    /// Metadata lies behind the data.
    private let isInterleaved: Bool
    private var piece = 0, offset = 0, metadataOffset = 0

    /// Nil when the command names what cannot be reached.
    init?(_ command: SoftCommand, _ namespace: SoftNamespace, movesMetadata: Bool, _ engine: SoftEngine) {
        let options = namespace.options, count = Int(command.blockCount)
        isInterleaved = movesMetadata && options.isMetadataInterleaved
        let length = options.dataByteCount + (isInterleaved ? options.metadataByteCount : 0)
        guard let pieces = engine.pieces(of: command, byteCount: count * length) else { return nil }
        self.pieces = pieces
        if movesMetadata && !options.isMetadataInterleaved {
            guard
                let apart = engine.mapper.memory(
                    at: command.metadataPointer, byteCount: count * options.metadataByteCount)
            else { return nil }
            metadata = apart
        } else {
            metadata = nil
        }
    }

    /// The next block, from the host. Metadata that it does not send is zeros.
    mutating func take(_ block: SoftBlock) {
        move(block.data) { $1.copy(from: $0) }
        block.metadata.zero()
        if isInterleaved { move(block.metadata) { $1.copy(from: $0) } }
        if let metadata {
            block.metadata.copy(from: metadata.slice(from: metadataOffset, count: block.metadata.byteCount))
            metadataOffset += block.metadata.byteCount
        }
    }

    /// The next block, to the host.
    mutating func put(_ block: SoftBlock) {
        move(block.data) { $0.copy(from: $1) }
        if isInterleaved { move(block.metadata) { $0.copy(from: $1) } }
        if let metadata {
            metadata.slice(from: metadataOffset, count: block.metadata.byteCount).copy(from: block.metadata)
            metadataOffset += block.metadata.byteCount
        }
    }

    /// Visits the host's next bytes, as many as `memory` has, with the parts of that.
    private mutating func move(_ memory: IOMemory, _ body: (_ host: IOMemory, _ own: IOMemory) -> Void) {
        var done = 0
        while done < memory.byteCount {
            let count = min(pieces[piece].byteCount - offset, memory.byteCount - done)
            body(pieces[piece].slice(from: offset, count: count), memory.slice(from: done, count: count))
            done += count
            offset += count
            if offset == pieces[piece].byteCount { (piece, offset) = (piece + 1, 0) }
        }
    }
}

// Commands for blocks with protection information.
extension SoftEngine {
    /// The protection information is all the metadata: with PRACT, none moves between host and controller.
    private func strips(_ terms: SoftProtection.Terms, _ namespace: SoftNamespace) -> Bool {
        terms.action && namespace.options.metadataByteCount == namespace.protection?.shape.format.byteCount
    }

    /// Read, Verify and Compare.
    func readProtected(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        guard let protection = namespace.protection else { return .internalError }
        let terms = SoftProtection.Terms(command, protection.shape), count = command.blockCount
        if !protection.allows(terms, command) { return .invalidProtectionInformation }
        if command.opcode == IOOpcode.verify {
            for index in 0..<count {
                let block = namespace.block(command.startBlock + index)
                if let flaw = protection.flaw(of: block, index, terms) { return flaw }
            }
            return .success
        }
        if Int(count) * namespace.blockByteCount > transferLimit { return .invalidField }
        guard var host = HostBlocks(command, namespace, movesMetadata: !strips(terms, namespace), self) else {
            return .dataTransferError
        }
        for index in 0..<count {
            let block = namespace.block(command.startBlock + index)
            if let flaw = protection.flaw(of: block, index, terms) { return flaw }
            if command.opcode == IOOpcode.read {
                host.put(block)
            } else {
                host.take(protection.scratch)
                if !protection.areEqual(block, protection.scratch) { return .compareFailure }
            }
        }
        return .success
    }

    /// Write and Zone Append. Nothing is written unless all of it can be.
    func writeProtected(_ command: SoftCommand, _ namespace: SoftNamespace, at start: UInt64) -> NVMeStatus {
        guard let protection = namespace.protection else { return .internalError }
        var terms = SoftProtection.Terms(command, protection.shape)
        let count = command.blockCount, scratch = protection.scratch
        if !protection.allows(terms, command) { return .invalidProtectionInformation }
        if Int(count) * namespace.blockByteCount > transferLimit { return .invalidField }
        guard var host = HostBlocks(command, namespace, movesMetadata: !strips(terms, namespace), self) else {
            return .dataTransferError
        }
        var again = host
        if !terms.action {
            for index in 0..<count {
                host.take(scratch)
                if let flaw = protection.flaw(of: scratch, index, terms) { return flaw }
            }
        }
        let remaps = command.opcode == IOOpcode.zoneAppend && command.remapsReferenceTags
        if remaps { terms.referenceTag &+= start - command.startBlock }
        for index in 0..<count {
            let block = namespace.block(start + index)
            again.take(scratch)
            if terms.action {
                protection.generate(scratch, index, terms)
            } else if remaps, !protection.isExempt(scratch) {
                protection.setReferenceTag(of: scratch, index, terms)
            }
            block.data.copy(from: scratch.data)
            block.metadata.copy(from: scratch.metadata)
        }
        return .success
    }

    /// Write Zeroes: blocks that are protected as all others with PRACT; without, nobody checks them.
    func protectZeroes(_ command: SoftCommand, _ namespace: SoftNamespace) -> NVMeStatus {
        guard let protection = namespace.protection else { return .internalError }
        let terms = SoftProtection.Terms(command, protection.shape)
        if !terms.action { return .success }
        for index in 0..<command.blockCount {
            protection.generate(namespace.block(command.startBlock + index), index, terms)
        }
        return .success
    }
}
