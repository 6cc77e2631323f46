import NVMeDriver
import Reactors

/// The protection information of a namespace's blocks (NVM Command Set Specification 1.0, section 5.2).
struct SoftProtection {
    let shape: NVMeProtection
    /// LBSTM: which bits of a storage tag are checked.
    private let storageTagMask: UInt64
    /// Room for a block on its way from the host.
    let scratch: SoftBlock
    private let scratchRegion: MemoryRegion
    /// Where in the metadata it is: its guard, its application tag, and its storage and reference tags. The guard is of
    /// the metadata before it, too.
    private let offset: Int
    private let guardByteCount: Int
    private let spaceByteCount: Int

    /// Nil for a namespace that has none.
    init?(_ options: SoftNamespaceOptions) throws(ReactorError) {
        if options.protectionType == 0 { return nil }
        let shape = NVMeProtection(
            type: Int(options.protectionType), format: options.protectionFormat,
            storageTagBitCount: options.storageTagBitCount, isFirst: options.isProtectionFirst)
        guard let shape, shape.format.byteCount <= options.metadataByteCount else {
            preconditionFailure("protection information is of a type from 1 to 3, and has room in the metadata")
        }
        self.shape = shape
        storageTagMask = options.storageTagMask
        offset = options.isProtectionFirst ? 0 : options.metadataByteCount - shape.format.byteCount
        guardByteCount =
            switch shape.format {
            case .guard16: 2
            case .guard32: 4
            case .guard64: 8
            }
        spaceByteCount = shape.format.byteCount - guardByteCount - 2
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
        /// STC.
        let checksStorageTag: Bool
        /// Of the first block.
        var referenceTag: UInt64
        let storageTag: UInt64
        let applicationTag: UInt16
        let applicationTagMask: UInt16

        init(_ command: SoftCommand, _ shape: NVMeProtection) {
            action = command[12] >> 29 & 1 != 0
            checksGuard = command[12] >> 28 & 1 != 0
            checksApplicationTag = command[12] >> 27 & 1 != 0
            checksReferenceTag = command[12] >> 26 & 1 != 0
            checksStorageTag = command[12] >> 24 & 1 != 0
            // Words 2, 3 and 14, the highest first, as far as the format has bits.
            let space = UInt128(command[2]) << 64 | UInt128(command[3]) << 32 | UInt128(command[14])
            (storageTag, referenceTag) = shape.split(space)
            applicationTag = UInt16(truncatingIfNeeded: command[15])
            applicationTagMask = UInt16(truncatingIfNeeded: command[15] >> 16)
        }
    }

    /// Whether a command may say what it does.
    func allows(_ terms: Terms, _ command: SoftCommand) -> Bool {
        if !terms.checksReferenceTag { return true }
        switch shape.type {
        case 1: return terms.referenceTag == shape.split(UInt128(command.startBlock)).referenceTag
        case 3: return false
        default: return true
        }
    }

    private func referenceTag(_ index: UInt64, _ terms: Terms) -> UInt64 {
        if shape.type == 3 { return terms.referenceTag }
        return shape.split(UInt128(terms.referenceTag &+ index)).referenceTag
    }

    private func checksum(_ block: SoftBlock) -> UInt64 {
        Checksum.of(shape.format).value(of: block.data, and: block.metadata.slice(from: 0, count: offset))
    }

    // MARK: Bytes, the highest first

    private func store(_ value: UInt128, _ count: Int, at offset: Int, of block: SoftBlock) {
        for index in 0..<count {
            block.metadata.store(
                UInt8(truncatingIfNeeded: value >> UInt128(8 * (count - 1 - index))), at: offset + index)
        }
    }

    private func load(_ count: Int, at offset: Int, of block: SoftBlock) -> UInt128 {
        (0..<count).reduce(0) { $0 << 8 | UInt128(block.metadata.load(UInt8.self, at: offset + $1)) }
    }

    private func tuple(
        of block: SoftBlock
    ) -> (guard: UInt64, applicationTag: UInt16, storageTag: UInt64, referenceTag: UInt64) {
        let tags = shape.split(load(spaceByteCount, at: offset + guardByteCount + 2, of: block))
        return (
            UInt64(load(guardByteCount, at: offset, of: block)),
            UInt16(load(2, at: offset + guardByteCount, of: block)), tags.storageTag, tags.referenceTag
        )
    }

    // MARK: Making

    /// Makes that of block `index` of a command.
    func generate(_ block: SoftBlock, _ index: UInt64, _ terms: Terms) {
        store(UInt128(checksum(block)), guardByteCount, at: offset, of: block)
        store(UInt128(terms.applicationTag), 2, at: offset + guardByteCount, of: block)
        setTags(of: block, terms.storageTag, referenceTag(index, terms))
    }

    private func setTags(of block: SoftBlock, _ storageTag: UInt64, _ referenceTag: UInt64) {
        let space = UInt128(storageTag) << UInt128(shape.referenceTagBitCount) | UInt128(referenceTag)
        store(space, spaceByteCount, at: offset + guardByteCount + 2, of: block)
    }

    func setReferenceTag(of block: SoftBlock, _ index: UInt64, _ terms: Terms) {
        setTags(of: block, tuple(of: block).storageTag, referenceTag(index, terms))
    }

    /// Nobody checks the block from now on.
    func disable(_ block: SoftBlock) {
        for place in stride(from: 0, to: shape.format.byteCount, by: 8) {
            block.metadata.store(UInt64.max, at: offset + place)
        }
    }

    // MARK: Checking

    private func isExempt(_ applicationTag: UInt16, _ referenceTag: UInt64) -> Bool {
        applicationTag == .max && (shape.type != 3 || referenceTag == shape.split(.max).referenceTag)
    }

    /// Whether the block's tags say that nothing of it is checked.
    func isExempt(_ block: SoftBlock) -> Bool {
        let tuple = tuple(of: block)
        return isExempt(tuple.applicationTag, tuple.referenceTag)
    }

    /// What is wrong with block `index` of a command; nil: nothing that was to be checked.
    func flaw(of block: SoftBlock, _ index: UInt64, _ terms: Terms) -> NVMeStatus? {
        let tuple = tuple(of: block)
        if isExempt(tuple.applicationTag, tuple.referenceTag) { return nil }
        if terms.checksGuard, tuple.guard != checksum(block) { return .guardCheckError }
        if terms.checksApplicationTag, (tuple.applicationTag ^ terms.applicationTag) & terms.applicationTagMask != 0 {
            return .applicationTagCheckError
        }
        if terms.checksStorageTag, (tuple.storageTag ^ terms.storageTag) & storageTagMask != 0 {
            return .storageTagCheckError
        }
        if terms.checksReferenceTag, tuple.referenceTag != referenceTag(index, terms) { return .referenceTagCheckError }
        return nil
    }

    /// Whether the blocks are the same, but for their protection information.
    func areEqual(_ left: SoftBlock, _ right: SoftBlock) -> Bool {
        let end = offset + shape.format.byteCount, rest = left.metadata.byteCount - end
        return left.data.contentEquals(right.data)
            && left.metadata.slice(from: 0, count: offset)
                .contentEquals(right.metadata.slice(from: 0, count: offset))
            && left.metadata.slice(from: end, count: rest)
                .contentEquals(right.metadata.slice(from: end, count: rest))
    }
}

extension NVMeProtection {
    /// The tags in a space of which only so many low bits count as the format has.
    fileprivate func split(_ space: UInt128) -> (storageTag: UInt64, referenceTag: UInt64) {
        let low = UInt128(1) << UInt128(referenceTagBitCount) - 1, all = UInt128(1) << UInt128(format.spaceBitCount) - 1
        return (UInt64((space & all) >> UInt128(referenceTagBitCount)), UInt64(space & low))
    }
}

/// A guard: a CRC, a table at a time.
private struct Checksum {
    private let table: [UInt64]
    /// What it begins with and what its result is inverted with: nothing, or all of its bits.
    private let inversion: UInt64
    /// It goes through bytes from their lowest bit on.
    private let isReflected: Bool

    /// CRC-16/T10-DIF, CRC-32C and CRC-64/NVME.
    private static let all = [
        Checksum(0x8BB7), Checksum(reflected: 0x82F6_3B78), Checksum(reflected: 0x9A6C_9329_AC4B_C9B5),
    ]

    static func of(_ format: NVMeProtection.Format) -> Checksum { all[Int(format.rawValue)] }

    /// Of 16 bits.
    private init(_ polynomial: UInt64) {
        isReflected = false
        inversion = 0
        table = (0..<256).map { byte in
            var word = UInt64(byte) << 8
            for _ in 0..<8 { word = word & 0x8000 != 0 ? word << 1 ^ polynomial : word << 1 }
            return word & 0xFFFF
        }
    }

    private init(reflected polynomial: UInt64) {
        isReflected = true
        inversion = .max >> UInt64(polynomial.leadingZeroBitCount)
        table = (0..<256).map { byte in
            var word = UInt64(byte)
            for _ in 0..<8 { word = word & 1 != 0 ? word >> 1 ^ polynomial : word >> 1 }
            return word
        }
    }

    /// Of both, one after the other.
    func value(of data: IOMemory, and metadata: IOMemory) -> UInt64 {
        var sum = inversion
        for memory in [data, metadata] {
            for index in 0..<memory.byteCount {
                let byte = UInt64(memory.load(UInt8.self, at: index))
                if isReflected {
                    sum = sum >> 8 ^ table[Int((sum ^ byte) & 0xFF)]
                } else {
                    sum = (sum << 8 ^ table[Int((sum >> 8 ^ byte) & 0xFF)]) & 0xFFFF
                }
            }
        }
        return sum ^ inversion
    }
}
