import Reactors

/// How a command says where its data is.
enum DataPointerError: Error {
    /// Memory that the device cannot be made to reach.
    case unreachable
    /// Addresses or lengths that neither PRP entries nor the controller's SGLs can name.
    case misaligned
    /// More pages or segments than a list holds.
    case tooLong
}

/// Builds PRP entries and SGLs (NVM Express Base Specification 2.0, sections 4.1.1 and 4.1.2).
struct DataPointers {
    /// Of the controller's memory pages, a power of two.
    let pageByteCount: Int
    /// The controller takes SGLs for I/O.
    let hasSGL: Bool
    /// SGL addresses and lengths are multiples of 4.
    let needsAlignedSGL: Bool
    let table: TranslationTable
    /// A PRP entry cannot name addresses with one of these bits: those between two words, or all.
    private let sglMask: UInt64

    /// `namesLengths`: commands say how many bytes they move, which PRP entries do not.
    init(
        pageByteCount: Int, hasSGL: Bool, needsAlignedSGL: Bool, table: TranslationTable, namesLengths: Bool = false
    ) {
        self.pageByteCount = pageByteCount
        self.hasSGL = hasSGL || namesLengths
        self.needsAlignedSGL = needsAlignedSGL && !namesLengths
        self.table = table
        sglMask = namesLengths ? .max : 3
    }

    /// One stretch of memory.
    @inline(__always)
    func set(_ data: IOMemory, for slot: Int, in memory: QueueMemory) -> DataPointerError? {
        guard let address = table.address(of: data) else { return .unreachable }
        return setPages(address, data.byteCount, for: slot, in: memory)
    }

    @inline(__always)
    private func setPages(
        _ address: IOVA, _ byteCount: Int, for slot: Int, in memory: QueueMemory
    ) -> DataPointerError? {
        let offset = Int(truncatingIfNeeded: address.rawValue) & (pageByteCount &- 1)
        if address.rawValue & sglMask != 0 {
            return hasSGL ? setBlock(address, byteCount, for: slot, in: memory) : .misaligned
        }
        memory[slot].command.dataPointer1 = address.rawValue
        let rest = byteCount &- (pageByteCount &- offset)
        if rest <= 0 {
            memory[slot].command.dataPointer2 = 0
            return nil
        }
        let second = address + (pageByteCount &- offset)
        if rest <= pageByteCount {
            memory[slot].command.dataPointer2 = second.rawValue
            return nil
        }
        return setList(second, rest, for: slot, in: memory)
    }

    private func setList(
        _ second: IOVA, _ rest: Int, for slot: Int, in memory: QueueMemory
    ) -> DataPointerError? {
        let count = (rest &+ pageByteCount &- 1) / pageByteCount
        if count > QueueMemory.listEntryCount { return .tooLong }
        for index in 0..<count { memory.setListEntry(slot, index, second + index &* pageByteCount) }
        memory[slot].command.dataPointer2 = memory.list(slot).rawValue
        return nil
    }

    /// One SGL data block descriptor, in the command itself.
    private func setBlock(
        _ address: IOVA, _ byteCount: Int, for slot: Int, in memory: QueueMemory
    ) -> DataPointerError? {
        if needsAlignedSGL, (address.rawValue | UInt64(byteCount)) & 3 != 0 { return .misaligned }
        memory[slot].command.flags |= Self.usesSGL
        memory[slot].command.dataPointer1 = address.rawValue
        memory[slot].command.dataPointer2 = UInt64(byteCount)
        return nil
    }

    /// PSDT: an SGL for the data; metadata, if any, as one buffer.
    private static let usesSGL: UInt8 = 0x40
    /// Identifier of an SGL last segment descriptor, in the highest byte of its second word.
    private static let lastSegment: UInt64 = 0x30 << 56

    /// Several stretches, one after the other: PRP entries where all borders between them lie at borders of pages,
    /// otherwise an SGL where the controller takes one.
    func set(_ data: [IOMemory], for slot: Int, in memory: QueueMemory) -> DataPointerError? {
        if data.count == 1 { return set(data[0], for: slot, in: memory) }
        if let error = setPages(data, for: slot, in: memory) {
            if error != .misaligned || !hasSGL { return error }
            return setDescriptors(data, for: slot, in: memory)
        }
        return nil
    }

    private func setPages(_ data: [IOMemory], for slot: Int, in memory: QueueMemory) -> DataPointerError? {
        let mask = UInt64(pageByteCount - 1)
        var count = 0
        for (index, piece) in data.enumerated() {
            guard let address = table.address(of: piece) else { return .unreachable }
            let end = address.rawValue &+ UInt64(piece.byteCount)
            if index == 0 ? address.rawValue & sglMask != 0 : address.rawValue & mask != 0 { return .misaligned }
            if index < data.count - 1, end & mask != 0 { return .misaligned }
            var page = address.rawValue
            while page < end {
                if count > QueueMemory.listEntryCount { return .tooLong }
                if count == 0 {
                    memory[slot].command.dataPointer1 = page
                } else {
                    memory.setListEntry(slot, count - 1, IOVA(page))
                }
                count += 1
                page = (page & ~mask) &+ UInt64(pageByteCount)
                if count == 2 { memory[slot].command.dataPointer2 = page &- UInt64(pageByteCount) }
            }
        }
        if count <= 1 { memory[slot].command.dataPointer2 = 0 }
        if count > 2 { memory[slot].command.dataPointer2 = memory.list(slot).rawValue }
        return nil
    }

    private func setDescriptors(
        _ data: [IOMemory], for slot: Int, in memory: QueueMemory
    ) -> DataPointerError? {
        if data.count > QueueMemory.descriptorCount { return .tooLong }
        for (index, piece) in data.enumerated() {
            guard let address = table.address(of: piece) else { return .unreachable }
            if needsAlignedSGL, (address.rawValue | UInt64(piece.byteCount)) & 3 != 0 { return .misaligned }
            memory.setDescriptor(slot, index, address, byteCount: piece.byteCount)
        }
        memory[slot].command.flags |= Self.usesSGL
        memory[slot].command.dataPointer1 = memory.list(slot).rawValue
        memory[slot].command.dataPointer2 = UInt64(data.count * 16) | Self.lastSegment
        return nil
    }

    /// The metadata, one stretch at a multiple of 4 bytes.
    func setMetadata(_ metadata: IOMemory, for slot: Int, in memory: QueueMemory) -> DataPointerError? {
        guard let address = table.address(of: metadata) else { return .unreachable }
        if address.rawValue & 3 != 0 { return .misaligned }
        memory[slot].command.metadataPointer = address.rawValue
        if sglMask == .max { memory[slot].command.dataPointer2 |= UInt64(metadata.byteCount & 0xFF_FFFF) << 32 }
        return nil
    }
}
