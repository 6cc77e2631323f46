import NVMeDriver
import Reactors

/// The protection information of a namespace's blocks, with a guard of 16 bits (NVM Command Set Specification 1.0,
/// section 5.2).
struct SoftProtection {
    /// Of the protection information of one block.
    static let byteCount = 8

    let type: UInt8
    /// Room for a block on its way from the host.
    let scratch: SoftBlock
    private let scratchRegion: MemoryRegion
    /// Where in the metadata it is.
    private let offset: Int
    /// Bytes of metadata before it, which the guard is of too.
    private let guardedByteCount: Int

    /// Nil for a namespace that has none.
    init?(_ options: SoftNamespaceOptions) throws(ReactorError) {
        if options.protectionType == 0 { return nil }
        precondition(
            options.protectionType <= 3 && options.metadataByteCount >= Self.byteCount,
            "protection information is of type 1 to 3, and has 8 bytes of metadata")
        type = options.protectionType
        offset = options.isProtectionFirst ? 0 : options.metadataByteCount - Self.byteCount
        guardedByteCount = offset
        scratchRegion = try MemoryRegion(byteCount: options.dataByteCount + options.metadataByteCount)
        scratch = SoftBlock(
            data: scratchRegion.memory(from: 0, count: options.dataByteCount),
            metadata: scratchRegion.memory(from: options.dataByteCount, count: options.metadataByteCount))
    }

    /// What a command says of it.
    struct Terms {
        /// PRACT: the controller makes it, or strips it.
        let action: Bool
        let checksGuard: Bool
        let checksApplicationTag: Bool
        let checksReferenceTag: Bool
        /// Of the first block.
        var referenceTag: UInt32
        let applicationTag: UInt16
        let applicationTagMask: UInt16

        init(_ command: SoftCommand) {
            action = command[12] >> 29 & 1 != 0
            checksGuard = command[12] >> 28 & 1 != 0
            checksApplicationTag = command[12] >> 27 & 1 != 0
            checksReferenceTag = command[12] >> 26 & 1 != 0
            referenceTag = command[14]
            applicationTag = UInt16(truncatingIfNeeded: command[15])
            applicationTagMask = UInt16(truncatingIfNeeded: command[15] >> 16)
        }
    }

    /// Whether a command may say what it does.
    func allows(_ terms: Terms, _ command: SoftCommand) -> Bool {
        if !terms.checksReferenceTag { return true }
        switch type {
        case 1: return terms.referenceTag == UInt32(truncatingIfNeeded: command.startBlock)
        case 3: return false
        default: return true
        }
    }

    private func referenceTag(_ index: UInt64, _ terms: Terms) -> UInt32 {
        type == 3 ? terms.referenceTag : terms.referenceTag &+ UInt32(truncatingIfNeeded: index)
    }

    private func checksum(_ block: SoftBlock) -> UInt16 {
        let sum = Self.checksum(block.data, block.data.byteCount, after: 0)
        return Self.checksum(block.metadata, guardedByteCount, after: sum)
    }

    // MARK: Making

    /// Makes that of block `index` of a command.
    func generate(_ block: SoftBlock, _ index: UInt64, _ terms: Terms) {
        block.metadata.store(checksum(block).bigEndian, at: offset)
        block.metadata.store(terms.applicationTag.bigEndian, at: offset + 2)
        setReferenceTag(of: block, index, terms)
    }

    func setReferenceTag(of block: SoftBlock, _ index: UInt64, _ terms: Terms) {
        block.metadata.store(referenceTag(index, terms).bigEndian, at: offset + 4)
    }

    /// Nobody checks the block from now on.
    func disable(_ block: SoftBlock) { block.metadata.store(UInt64.max, at: offset) }

    // MARK: Checking

    private func isExempt(_ applicationTag: UInt16, _ referenceTag: UInt32) -> Bool {
        applicationTag == .max && (type != 3 || referenceTag == .max)
    }

    /// Whether the block's tags say that nothing of it is checked.
    func isExempt(_ block: SoftBlock) -> Bool {
        isExempt(
            block.metadata.load(at: offset + 2), UInt32(bigEndian: block.metadata.load(at: offset + 4)))
    }

    /// What is wrong with block `index` of a command; nil: nothing that was to be checked.
    func flaw(of block: SoftBlock, _ index: UInt64, _ terms: Terms) -> NVMeStatus? {
        let applicationTag = UInt16(bigEndian: block.metadata.load(at: offset + 2)),
            tag = UInt32(bigEndian: block.metadata.load(at: offset + 4))
        if isExempt(applicationTag, tag) { return nil }
        if terms.checksGuard, UInt16(bigEndian: block.metadata.load(at: offset)) != checksum(block) {
            return .guardCheckError
        }
        if terms.checksApplicationTag, (applicationTag ^ terms.applicationTag) & terms.applicationTagMask != 0 {
            return .applicationTagCheckError
        }
        if terms.checksReferenceTag, tag != referenceTag(index, terms) { return .referenceTagCheckError }
        return nil
    }

    /// Whether the blocks are the same, but for their protection information.
    func areEqual(_ left: SoftBlock, _ right: SoftBlock) -> Bool {
        let end = offset + Self.byteCount, rest = left.metadata.byteCount - end
        return left.data.contentEquals(right.data)
            && left.metadata.slice(from: 0, count: offset)
                .contentEquals(right.metadata.slice(from: 0, count: offset))
            && left.metadata.slice(from: end, count: rest)
                .contentEquals(right.metadata.slice(from: end, count: rest))
    }

    // MARK: CRC

    /// CRC-16/T10-DIF: the polynomial 8BB7h, nothing reflected.
    private static let table: [UInt16] = (0..<256).map { byte in
        var word = UInt16(byte) << 8
        for _ in 0..<8 { word = word & 0x8000 != 0 ? word << 1 ^ 0x8BB7 : word << 1 }
        return word
    }

    private static func checksum(_ memory: IOMemory, _ byteCount: Int, after sum: UInt16) -> UInt16 {
        var sum = sum
        for index in 0..<byteCount {
            sum = sum << 8 ^ table[Int(sum >> 8 ^ UInt16(memory.load(UInt8.self, at: index)))]
        }
        return sum
    }
}
