import Bdev
import CMallocCount
import Reactors
import SimulatedReactors
import Testing

/// What `body` fails with. Keeps `memory` alive meanwhile.
private func protectionFailure<Memory>(
    keeping memory: Memory, _ body: () throws(ProtectionFailure) -> Void
) -> ProtectionFailure? {
    defer { withExtendedLifetime(memory) {} }
    do throws(ProtectionFailure) {
        try body()
        return nil
    } catch {
        return error
    }
}

extension ProtectionInformation.Format {
    fileprivate var crc: CyclicRedundancyCheck {
        switch self {
        case .guard16: .crc16T10DIF
        case .guard32: .crc32C
        case .guard64: .crc64NVMe
        }
    }
}

struct GuardTests {
    typealias Format = ProtectionInformation.Format

    private static func value(
        _ format: Format, _ pieces: Pieces..., path: CyclicRedundancyCheck.Path = .wide
    ) -> UInt64 {
        let crc = format.crc
        defer { withExtendedLifetime(pieces) {} }
        return crc.value(of: pieces.reduce(crc.initialState) { crc.update($0, with: $1.memory, limit: path) })
    }

    static let vectors: [(Format, [UInt8], UInt64)] = [
        (.guard16, Array("123456789".utf8), 0xD0DB),
        (.guard32, Array("123456789".utf8), 0xE306_9283),
        (.guard64, Array("123456789".utf8), 0xAE8B_1486_0A79_9888),
        (.guard16, [], 0), (.guard32, [], 0), (.guard64, [], 0),
        // RFC 3720, appendix B.4.
        (.guard32, Array(repeating: 0, count: 32), 0x8A91_36AA),
        (.guard32, Array(repeating: 0xFF, count: 32), 0x62A8_AB43),
        (.guard32, Array(0..<32), 0x46DD_794E),
        // NVMe NVM Command Set Specification 1.0, sections 5.2.1.2 and 5.2.1.3.
        (.guard32, Array(repeating: 0, count: 4096), 0x98F9_4189),
        (.guard32, Array(repeating: 0xFF, count: 4096), 0x25C1_FE13),
        (.guard32, (0..<4096).map { UInt8($0 & 0xFF) }, 0x9C71_FE32),
        (.guard64, Array(repeating: 0, count: 4096), 0x6482_D367_EB22_B64E),
        (.guard64, Array(repeating: 0xFF, count: 4096), 0xC0DD_BA73_02EC_A3AC),
        (.guard64, (0..<4096).map { UInt8($0 & 0xFF) }, 0x3E72_9F5F_6750_449C),
        (.guard64, (0..<4096).map { UInt8(0xFF - $0 & 0xFF) }, 0x9A2D_F64B_8E9E_517E),
        // The test cases of T10's SBC for the guard: 32 bytes.
        (.guard16, Array(repeating: 0, count: 32), 0),
        (.guard16, Array(repeating: 0xFF, count: 32), 0xA293),
        (.guard16, Array(0..<32), 0x0224),
    ]

    @Test(arguments: CyclicRedundancyCheck.Path.allCases)
    func `guards have the published check values`(path: CyclicRedundancyCheck.Path) {
        for (format, bytes, expected) in Self.vectors {
            let value = Self.value(format, Pieces(bytes), path: path)
            #expect(value == expected, "\(format) of \(bytes.count) bytes")
        }
    }

    @Test(arguments: Format.allCases, CyclicRedundancyCheck.Path.allCases)
    func `guards of all lengths, in one piece or two, are those of the bitwise form`(
        format: Format, path: CyclicRedundancyCheck.Path
    ) {
        var random = SeededRandom(seed: 1)
        for length in Array(0..<300) + [511, 512, 513, 520, 767, 768, 769, 1023, 1024, 1040, 1343] {
            let bytes = randomBytes(length, &random)
            let expected = ProtectionModel.crc(bytes, format)
            let cut = Int.random(in: 0...length, using: &random)
            #expect(Self.value(format, Pieces(bytes), path: path) == expected, "\(length) bytes")
            let (head, tail) = (Pieces(Array(bytes[..<cut])), Pieces(Array(bytes[cut...])))
            #expect(Self.value(format, head, tail, path: path) == expected, "\(length) bytes cut at \(cut)")
        }
    }
}

struct ProtectionTests {
    typealias Information = ProtectionInformation

    private static func counting(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0 & 0xFF) } }

    // MARK: Layout

    /// Bytes written out by hand from the field layout; the guards are those of the published or bitwise CRC.
    static let goldenTuples: [(Information, data: Int, leading: Int, trailing: Int, tuple: [UInt8])] = [
        (
            Information(.type1, format: .guard16, placement: .tail), 512, 0, 0,
            [0x4F, 0x10, 0xBE, 0xEF, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type1, format: .guard16, placement: .tail), 512, 8, 0,
            [0xE8, 0x76, 0xBE, 0xEF, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type2, format: .guard16, placement: .head), 512, 0, 8,
            [0x4F, 0x10, 0xBE, 0xEF, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type3, format: .guard16, storageTagBitCount: 8), 512, 0, 0,
            [0x4F, 0x10, 0xBE, 0xEF, 0x00, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type1, format: .guard32, placement: .tail), 4096, 0, 0,
            [0x9C, 0x71, 0xFE, 0x32, 0xBE, 0xEF, 0, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type1, format: .guard32, storageTagBitCount: 32), 4096, 8, 0,
            [0xE3, 0x0F, 0xBB, 0x62, 0xBE, 0xEF, 0, 0, 0, 0, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type2, format: .guard64, placement: .tail), 4096, 0, 0,
            [0x3E, 0x72, 0x9F, 0x5F, 0x67, 0x50, 0x44, 0x9C, 0xBE, 0xEF, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type1, format: .guard64, placement: .tail), 4096, 8, 0,
            [0xBE, 0x76, 0x46, 0x93, 0x8A, 0x01, 0x5F, 0xB6, 0xBE, 0xEF, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
        ),
        (
            Information(.type1, format: .guard64, placement: .head, storageTagBitCount: 44), 4096, 0, 48,
            [0x3E, 0x72, 0x9F, 0x5F, 0x67, 0x50, 0x44, 0x9C, 0xBE, 0xEF, 0, 0, 0, 0, 0, 0x0F]
        ),
    ]

    @Test(arguments: goldenTuples.indices, [true, false])
    func `a tuple has its fields where the specification puts them`(index: Int, isInterleaved: Bool) {
        let golden = Self.goldenTuples[index]
        let protection = BlockProtection(
            golden.0, dataByteCount: golden.data,
            metadataByteCount: golden.leading + golden.tuple.count + golden.trailing, isInterleaved: isInterleaved)
        let data = Self.counting(golden.data)
        let (leading, trailing) = (
            Array(repeating: UInt8(0xA5), count: golden.leading), Array(repeating: UInt8(0x5A), count: golden.trailing)
        )
        let before = leading + Array(repeating: 0xEE, count: golden.tuple.count) + trailing
        let expected = leading + golden.tuple + trailing
        let tags = ProtectionTags(referenceTag: 0x0123_4567_89AB_CDEF, applicationTag: 0xBEEF)
        if isInterleaved {
            let blocks = Pieces(data + before)
            protection.generate(blocks.list, blockCount: 1, tags: tags)
            #expect(blocks.bytes == data + expected)
        } else {
            let (blocks, metadata) = (Pieces(data), Pieces(before))
            protection.generate(blocks.list, metadata: metadata.memory, blockCount: 1, tags: tags)
            #expect(blocks.bytes == data)
            #expect(metadata.bytes == expected)
        }
    }

    /// Blocks of 16 bytes of data and one tuple.
    private static func small(_ information: Information, storage: Int? = nil) -> BlockProtection {
        BlockProtection(
            information, dataByteCount: 16, metadataByteCount: information.format.byteCount, isInterleaved: true)
    }

    private static func referenceTags(_ protection: BlockProtection, start: UInt64, byteCount: Int) -> [[UInt8]] {
        let blocks = Pieces(Array(repeating: 0, count: 3 * protection.blockByteCount))
        protection.generate(blocks.list, blockCount: 3, tags: ProtectionTags(referenceTag: start))
        let bytes = blocks.bytes
        return (1...3).map { Array(bytes[..<($0 * protection.blockByteCount)].suffix(byteCount)) }
    }

    @Test func `reference tags count up and around for types 1 and 2 and stay for type 3`() {
        let ones = UInt64.max
        for type in [Information.ProtectionType.type1, .type2] {
            let short = Self.referenceTags(Self.small(Information(type)), start: ones - 1, byteCount: 4)
            #expect(short == [[0xFF, 0xFF, 0xFF, 0xFE], [0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0]])
            let middle = Self.referenceTags(Self.small(Information(type, format: .guard64)), start: ones, byteCount: 6)
            #expect(middle == [Array(repeating: 0xFF, count: 6), [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
            let long = Self.referenceTags(Self.small(Information(type, format: .guard32)), start: ones, byteCount: 8)
            #expect(long == [Array(repeating: 0xFF, count: 8), [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]])
            // Block numbers of more than 32 bits are not cut where there is room.
            let far = Self.referenceTags(Self.small(Information(type, format: .guard32)), start: 1 << 40, byteCount: 8)
            #expect(far.last == [0, 0, 1, 0, 0, 0, 0, 2])
        }
        let same = Self.referenceTags(Self.small(Information(.type3)), start: 7, byteCount: 4)
        #expect(same == [[0, 0, 0, 7], [0, 0, 0, 7], [0, 0, 0, 7]])
    }

    // MARK: Checks

    /// One block, made with some tags, damaged in the data, and verified with others.
    private static func outcome(
        _ information: Information, written: ProtectionTags, expected: ProtectionTags, damaged: Bool,
        excluding: Information.Checks = []
    ) -> ProtectionFailure? {
        let protection = small(information).excluding(excluding)
        let blocks = Pieces(Array(repeating: 1, count: protection.blockByteCount))
        protection.generate(blocks.list, blockCount: 1, tags: written)
        if damaged { blocks.flip(bit: 3) }
        return protectionFailure(keeping: blocks) { () throws(ProtectionFailure) in
            try protection.verify(blocks.list, blockCount: 1, tags: expected)
        }
    }

    @Test(arguments: Information.ProtectionType.allCases, Information.Format.allCases)
    func `the guard is checked before the application tag, and that before the reference tag`(
        type: Information.ProtectionType, format: Information.Format
    ) {
        let information = Information(type, format: format)
        let written = ProtectionTags(referenceTag: 5, applicationTag: 0x1234)
        let wrong = ProtectionTags(referenceTag: 6, applicationTag: 0x1235)
        let all = Self.outcome(information, written: written, expected: wrong, damaged: true)
        #expect(all?.check == .guard)
        #expect(all?.block == 0)
        let tags = Self.outcome(information, written: written, expected: wrong, damaged: false)
        #expect(tags?.check == .applicationTag)
        #expect(tags?.expected == 0x1235)
        #expect(tags?.found == 0x1234)
        let masked = ProtectionTags(referenceTag: 6, applicationTag: 0x1235, applicationTagMask: 0xFFFE)
        let reference = Self.outcome(information, written: written, expected: masked, damaged: false)
        // Type 3 leaves the reference tag to its user.
        #expect(reference?.check == (type == .type3 ? nil : .referenceTag))
        #expect(reference?.expected == (type == .type3 ? nil : 6))
        #expect(reference?.found == (type == .type3 ? nil : 5))
    }

    @Test func `a check that is not asked for is not made`() {
        let written = ProtectionTags(referenceTag: 5, applicationTag: 1), wrong = ProtectionTags(referenceTag: 6)
        func check(_ checks: Information.Checks, excluding: Information.Checks) -> ProtectionFailure.Check? {
            Self.outcome(
                Information(.type1, checks: checks), written: written, expected: wrong, damaged: true,
                excluding: excluding)?.check
        }
        #expect(check(.all, excluding: []) == .guard)
        #expect(check(.all, excluding: .guard) == .applicationTag)
        #expect(check(.all, excluding: [.guard, .applicationTag]) == .referenceTag)
        #expect(check(.all, excluding: .all) == nil)
        #expect(check(.guard, excluding: []) == .guard)
        #expect(check(.applicationTag, excluding: []) == .applicationTag)
        #expect(check(.referenceTag, excluding: []) == .referenceTag)
        #expect(check([], excluding: []) == nil)
        #expect(check(.guard, excluding: .guard) == nil)
        #expect(Information(.type3).checks == [.guard, .applicationTag])
        #expect(Information(.type2).checks == .all)
    }

    @Test(arguments: Information.Format.allCases)
    func `the escape values switch the checks of a block off`(format: Information.Format) {
        let wrong = ProtectionTags(referenceTag: 6, applicationTag: 1)
        func check(
            _ type: Information.ProtectionType, reference: UInt64, application: UInt16, storage: Int? = nil
        ) -> ProtectionFailure.Check? {
            let written = ProtectionTags(referenceTag: reference, applicationTag: application)
            let information = Information(type, format: format, storageTagBitCount: storage)
            return Self.outcome(information, written: written, expected: wrong, damaged: true)?.check
        }
        #expect(check(.type1, reference: 5, application: 0xFFFF) == nil)
        #expect(check(.type2, reference: 5, application: 0xFFFF) == nil)
        #expect(check(.type1, reference: .max, application: 0xFFFE) == .guard)
        #expect(check(.type2, reference: .max, application: 0xFEFF) == .guard)
        #expect(check(.type3, reference: 5, application: 0xFFFF) == .guard)
        #expect(check(.type3, reference: .max - 1, application: 0xFFFF) == .guard)
        #expect(check(.type3, reference: .max, application: 0xFFFE) == .guard)
        #expect(check(.type3, reference: .max, application: 0xFFFF) == nil)
        // All ones is as wide as the reference tag, beside a storage tag of 0.
        #expect(check(.type3, reference: .max, application: 0xFFFF, storage: 17) == nil)
        #expect(check(.type3, reference: 0x3FFF, application: 0xFFFF, storage: 17) == .guard)
    }

    @Test func `a failure is an NVMe status`() {
        let written = ProtectionTags(referenceTag: 5), application = ProtectionTags(referenceTag: 5, applicationTag: 9)
        let reference = ProtectionTags(referenceTag: 6), information = Information(.type1)
        func status(_ expected: ProtectionTags, damaged: Bool = false) -> IOStatus? {
            Self.outcome(information, written: written, expected: expected, damaged: damaged)?.ioStatus
        }
        // Status code type 2, media and data integrity errors.
        #expect(status(written, damaged: true) == IOStatus(.nvmeError, detail: 2 << 8 | 0x82))
        #expect(status(application) == IOStatus(.nvmeError, detail: 2 << 8 | 0x83))
        #expect(status(reference) == IOStatus(.nvmeError, detail: 2 << 8 | 0x84))
        let failure = Self.outcome(information, written: written, expected: application, damaged: false)
        #expect(failure?.description == "the application tag of block 0 is 0x0, not 0x9")
    }

    // MARK: Whole I/Os against the model

    struct Plan {
        let model: ProtectionModel
        let blockCount: Int
        let tags: ProtectionTags

        init(_ random: inout SeededRandom) {
            func pick<Value>(_ values: [Value]) -> Value { values.randomElement(using: &random)! }
            let format = pick(Information.Format.allCases)
            let information = Information(
                pick(Information.ProtectionType.allCases), format: format, placement: pick([.head, .tail]),
                checks: pick([.all, .all, .all, .guard, [.guard, .referenceTag], [.applicationTag, .referenceTag]]),
                storageTagBitCount: pick([nil, nil, Int.random(in: format.storageTagBitCounts, using: &random)]))
            model = ProtectionModel(
                information: information, dataByteCount: pick([1, 8, 63, 64, 100, 256, 512, 520, 1000]),
                metadataByteCount: format.byteCount + pick([0, 0, 1, 8, 48]),
                isInterleaved: Bool.random(using: &random))
            blockCount = Int.random(in: 1...6, using: &random)
            tags = ProtectionTags(
                referenceTag: pick([0, 1, random.next(), 0xFFFF_FFFE, .max - 2, .max]),
                applicationTag: pick([0, UInt16(truncatingIfNeeded: random.next()), 0xFFFF]),
                applicationTagMask: pick([0xFFFF, 0xFFFF, 0, UInt16(truncatingIfNeeded: random.next())]))
        }
    }

    /// Blocks of a plan in memory: in pieces, with their metadata beside them when that is separate.
    private struct Memory {
        let plan: Plan
        let blocks: Pieces
        let metadata: Pieces?

        init(_ plan: Plan, _ content: [[UInt8]], _ random: inout SeededRandom) {
            self.plan = plan
            let model = plan.model
            let data = model.isInterleaved ? content.flatMap(\.self) : content.flatMap { $0[..<model.dataByteCount] }
            blocks = Pieces(data, lengths: Pieces.lengths(data.count, &random))
            metadata = model.isInterleaved ? nil : Pieces(content.flatMap { $0[model.dataByteCount...] })
        }

        /// Each block with its metadata behind it.
        var content: [[UInt8]] {
            let (model, data, extra) = (plan.model, blocks.bytes, metadata?.bytes ?? [])
            let (size, rest) = (data.count / plan.blockCount, extra.count / plan.blockCount)
            #expect(size + rest == model.blockByteCount)
            return (0..<plan.blockCount).map {
                Array(data[$0 * size..<($0 + 1) * size] + extra[$0 * rest..<($0 + 1) * rest])
            }
        }

        func flip(block: Int, bit: Int) {
            let (model, place) = (plan.model, bit / 8)
            if let metadata, place >= model.dataByteCount {
                metadata.flip(bit: (block * model.metadataByteCount - model.dataByteCount) * 8 + bit)
            } else {
                blocks.flip(bit: block * model.protection.blockByteCount * 8 + bit)
            }
        }

        func generate() {
            plan.model.protection.generate(
                blocks.list, metadata: metadata?.memory, blockCount: plan.blockCount, tags: plan.tags)
        }

        func verify(_ tags: ProtectionTags) -> ProtectionFailure? {
            protectionFailure(keeping: self) { () throws(ProtectionFailure) in
                try plan.model.protection.verify(
                    blocks.list, metadata: metadata?.memory, blockCount: plan.blockCount, tags: tags)
            }
        }

        func remap(from old: UInt64, to new: UInt64) -> ProtectionFailure? {
            protectionFailure(keeping: self) { () throws(ProtectionFailure) in
                try plan.model.protection.remap(
                    blocks.list, metadata: metadata?.memory, blockCount: plan.blockCount, from: old, to: new)
            }
        }
    }

    @Test(arguments: UInt64(0)..<400)
    func `blocks that were generated verify, and one wrong bit fails the right check at the right block`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let plan = Plan(&random)
        let before = (0..<plan.blockCount).map { _ in randomBytes(plan.model.blockByteCount, &random) }
        let memory = Memory(plan, before, &random)
        memory.generate()
        let content = memory.content
        for (index, block) in before.enumerated() {
            let isRight = content[index] == plan.model.protected(block, plan.tags, index: index)
            #expect(isRight, "seed \(seed), block \(index)")
        }
        #expect(memory.verify(plan.tags) == nil, "seed \(seed)")
        var other = plan.tags
        other.applicationTag ^= ~other.applicationTagMask
        #expect(memory.verify(other) == nil, "seed \(seed)")
        for attempt in 0..<12 {
            let block = Int.random(in: 0..<plan.blockCount, using: &random)
            // Half of the bits are of the metadata.
            let first = attempt % 2 == 0 ? 0 : plan.model.dataByteCount * 8
            let bit = Int.random(in: first..<plan.model.blockByteCount * 8, using: &random)
            memory.flip(block: block, bit: bit)
            let expected = plan.model.failure(memory.content[block], flipped: bit, plan.tags)
            let failure = memory.verify(plan.tags)
            #expect(failure?.check == expected, "seed \(seed), bit \(bit) of block \(block)")
            #expect(failure?.block == expected.map { _ in block }, "seed \(seed), bit \(bit) of block \(block)")
            #expect(failure.map { $0.expected != $0.found } ?? true, "seed \(seed), bit \(bit) of block \(block)")
            memory.flip(block: block, bit: bit)
        }
        #expect(memory.content == content, "seed \(seed)")
    }

    @Test(arguments: UInt64(0)..<200)
    func `remapped blocks verify at their new place, and a wrong start changes nothing`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let plan = Plan(&random), information = plan.model.information
        let memory = Memory(
            plan, (0..<plan.blockCount).map { _ in randomBytes(plan.model.blockByteCount, &random) }, &random)
        memory.generate()
        let before = memory.content
        var moved = plan.tags
        moved.referenceTag = random.next()
        let isExempt = plan.model.isExempt(before[0])

        // One wrong bit in the last block's reference tag, when it has one that is checked: all or nothing.
        if information.checks.contains(.referenceTag) && plan.model.referenceTagBitCount > 0 && !isExempt {
            let bit = (plan.model.tupleStart + information.format.byteCount - 1) * 8
            memory.flip(block: plan.blockCount - 1, bit: bit)
            let damaged = memory.content
            let failure = memory.remap(from: plan.tags.referenceTag, to: moved.referenceTag)
            #expect(failure?.check == .referenceTag, "seed \(seed)")
            #expect(failure?.block == plan.blockCount - 1, "seed \(seed)")
            #expect(memory.content == damaged, "seed \(seed)")
            memory.flip(block: plan.blockCount - 1, bit: bit)
        }

        #expect(memory.remap(from: plan.tags.referenceTag, to: moved.referenceTag) == nil, "seed \(seed)")
        if isExempt || information.type == .type3 {
            #expect(memory.content == before, "seed \(seed)")
            #expect(memory.verify(plan.tags) == nil, "seed \(seed)")
        } else {
            let expected = before.enumerated().map { plan.model.protected($1, moved, index: $0) }
            #expect(memory.content == expected, "seed \(seed)")
            #expect(memory.verify(moved) == nil, "seed \(seed)")
        }
    }

    @Test func `remapping keeps storage tags`() {
        let protection = Self.small(Information(.type1, storageTagBitCount: 16))
        let blocks = Pieces(Array(repeating: 3, count: protection.blockByteCount))
        protection.generate(blocks.list, blockCount: 1, tags: ProtectionTags(referenceTag: 0x1_0002))
        // The tuple stands at byte 16, its storage tag at byte 20.
        blocks.flip(bit: 20 * 8)
        let failure = protectionFailure(keeping: blocks) { () throws(ProtectionFailure) in
            try protection.remap(blocks.list, blockCount: 1, from: 2, to: 0x5_1234)
        }
        #expect(failure == nil)
        #expect(Array(blocks.bytes.suffix(4)) == [0x01, 0x00, 0x12, 0x34])
    }

    @Test(arguments: UInt64(0)..<200)
    func `data that was inserted comes back when it is stripped`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var plan = Plan(&random)
        while !plan.model.isInterleaved { plan = Plan(&random) }
        let model = plan.model, protection = model.protection
        let bytes = randomBytes(plan.blockCount * model.dataByteCount, &random)
        func scattered(_ bytes: [UInt8]) -> Pieces { Pieces(bytes, lengths: Pieces.lengths(bytes.count, &random)) }
        let blocks = scattered(Array(repeating: 0xA5, count: plan.blockCount * model.blockByteCount))
        let source = scattered(bytes)
        protection.insert(from: source.list, into: blocks.list, blockCount: plan.blockCount, tags: plan.tags)
        #expect(source.bytes == bytes, "seed \(seed)")
        // Around the tuple, the metadata is zero.
        let zeros = Array(repeating: UInt8(0), count: model.metadataByteCount)
        let expected = (0..<plan.blockCount).map { index in
            let data = bytes[index * model.dataByteCount..<(index + 1) * model.dataByteCount]
            return model.protected(data + zeros, plan.tags, index: index)
        }
        let isRight = blocks.bytes == expected.flatMap(\.self)
        #expect(isRight, "seed \(seed)")

        func strip() -> (data: [UInt8], failure: ProtectionFailure?) {
            let data = scattered(Array(repeating: 0x5A, count: bytes.count))
            let failure = protectionFailure(keeping: data) { () throws(ProtectionFailure) in
                try protection.strip(from: blocks.list, into: data.list, blockCount: plan.blockCount, tags: plan.tags)
            }
            return (data.bytes, failure)
        }
        let whole = strip()
        #expect(whole.failure == nil, "seed \(seed)")
        #expect(whole.data == bytes, "seed \(seed)")

        let block = Int.random(in: 0..<plan.blockCount, using: &random)
        let bit = Int.random(in: 0..<model.blockByteCount * 8, using: &random)
        var damaged = expected[block]
        damaged[bit / 8] ^= 1 << UInt8(bit % 8)
        blocks.flip(bit: block * model.blockByteCount * 8 + bit)
        let check = model.failure(damaged, flipped: bit, plan.tags)
        let partial = strip()
        #expect(partial.failure?.check == check, "seed \(seed), bit \(bit) of block \(block)")
        #expect(partial.failure?.block == check.map { _ in block }, "seed \(seed), bit \(bit) of block \(block)")
        // What lies before the failure is there.
        let good = check == nil ? 0 : block * model.dataByteCount
        #expect(partial.data[..<good] == bytes[..<good], "seed \(seed)")
    }

    // MARK: The public face

    @Test func `spans are protected too`() {
        let tags = ProtectionTags(referenceTag: 9, applicationTag: 3), wrong = ProtectionTags(referenceTag: 8)
        let information = Information(.type1, checks: [.guard, .referenceTag])
        var blocks = Array(repeating: UInt8(7), count: 3 * 24)
        var data = Array(repeating: UInt8(7), count: 3 * 16), metadata = Array(repeating: UInt8(0), count: 3 * 8)
        let together = Self.small(information)
        let apart = BlockProtection(information, dataByteCount: 16, metadataByteCount: 8, isInterleaved: false)
        var span = blocks.mutableSpan
        var bytes = unsafe span.mutableBytes
        together.generate(&bytes, tags: tags)
        var extraSpan = metadata.mutableSpan
        var extra = unsafe extraSpan.mutableBytes
        unsafe apart.generate(data.span.bytes, metadata: &extra, tags: tags)
        #expect(Array(blocks[64...]) == Array(metadata[16...]))
        for (tags, check) in [(tags, nil), (wrong, ProtectionFailure.Check.referenceTag)] {
            let one = protectionFailure(keeping: ()) { () throws(ProtectionFailure) in
                try unsafe together.verify(blocks.span.bytes, tags: tags)
            }
            let other = protectionFailure(keeping: ()) { () throws(ProtectionFailure) in
                try unsafe apart.verify(data.span.bytes, metadata: metadata.span.bytes, tags: tags)
            }
            #expect(one?.check == check)
            #expect(other == one)
        }
        data[40] = 0
        let failure = protectionFailure(keeping: ()) { () throws(ProtectionFailure) in
            try unsafe apart.verify(data.span.bytes, metadata: metadata.span.bytes, tags: tags)
        }
        #expect(failure?.check == .guard)
        #expect(failure?.block == 2)
        let nothing: [UInt8] = []
        let none = protectionFailure(keeping: ()) { () throws(ProtectionFailure) in
            try unsafe together.verify(nothing.span.bytes, tags: tags)
        }
        #expect(none == nil)
    }

    @Test func `memory that ends before the blocks do traps`() async {
        await #expect(processExitsWith: .failure) {
            let protection = BlockProtection(
                ProtectionInformation(.type1), dataByteCount: 16, metadataByteCount: 8, isInterleaved: true)
            let blocks = Pieces(Array(repeating: 0, count: 47))
            protection.generate(blocks.list, blockCount: 2, tags: ProtectionTags(referenceTag: 0))
        }
        await #expect(processExitsWith: .failure) {
            let protection = BlockProtection(
                ProtectionInformation(.type1), dataByteCount: 16, metadataByteCount: 8, isInterleaved: false)
            let data = Pieces(Array(repeating: 0, count: 16))
            protection.generate(data.list, blockCount: 1, tags: ProtectionTags(referenceTag: 0))
        }
    }

    // MARK: Geometry

    static let geometries: [(name: String, message: String, BdevGeometry)] = [
        ("less than no metadata", "-8 bytes of metadata", .test.with { $0.metadataByteCount = -8 }),
        (
            "metadata that leaves no room for data", "512 bytes of metadata",
            .test.with { ($0.metadataByteCount, $0.isMetadataInterleaved) = (512, true) }
        ),
        (
            "protection without metadata", "8 bytes in 0 bytes of metadata",
            .test.with { $0.protection = ProtectionInformation(.type1) }
        ),
        (
            "metadata shorter than the tuple", "16 bytes in 15 bytes of metadata",
            .test.with {
                ($0.metadataByteCount, $0.protection) = (15, ProtectionInformation(.type1, format: .guard64))
            }
        ),
        (
            "a storage tag too short for its format", "a storage tag of 15 bits",
            .test.with {
                $0.metadataByteCount = 16
                $0.protection = ProtectionInformation(.type1, format: .guard32, storageTagBitCount: 15)
            }
        ),
        (
            "a storage tag too long for its format", "a storage tag of 33 bits",
            .test.with {
                ($0.metadataByteCount, $0.protection) = (8, ProtectionInformation(.type1, storageTagBitCount: 33))
            }
        ),
    ]

    @Test(arguments: geometries.indices)
    func `impossible metadata is refused with advice`(index: Int) throws {
        let (_, message, geometry) = Self.geometries[index]
        try simulate { _, scene in
            let error = await failure { () throws(BdevError) in
                try await scene.module.host.value.register(
                    BdevProperties(name: "bad", productName: "Bad", geometry: geometry, supportedTypes: [.read]),
                    driver: TestDevice(.test, types: .everything))
            }
            #expect(error?.code == .invalidGeometry)
            #expect(error?.message.contains(message) == true)
            #expect(error?.advice != nil)
        }
    }

    @Test func `a geometry knows how its blocks are protected`() throws {
        #expect(BdevGeometry.test.dataByteCountPerBlock == 512)
        #expect(BdevGeometry.test.blockProtection == nil)
        let interleaved = BdevGeometry(blockByteCount: 528, blockCount: 10).with {
            ($0.metadataByteCount, $0.isMetadataInterleaved) = (16, true)
            $0.protection = ProtectionInformation(.type2, placement: .head)
        }
        #expect(interleaved.dataByteCountPerBlock == 512)
        #expect(interleaved.byteCount == 5280)
        #expect(interleaved.blockProtection?.blockByteCount == 528)
        #expect(interleaved.blockProtection?.information.placement == .head)
        let separate = interleaved.with { ($0.blockByteCount, $0.isMetadataInterleaved) = (512, false) }
        #expect(separate.dataByteCountPerBlock == 512)
        #expect(separate.blockProtection?.blockByteCount == 512)
        #expect(separate.blockProtection?.metadataByteCount == 16)
        for geometry in [interleaved, separate] {
            try simulate(geometry: geometry) { _, scene in
                let info = try await scene.engine.info("disk")
                let filled = geometry.with { ($0.compareAndWriteBlockCountLimit, $0.physicalBlockByteCount) = (1, 512) }
                #expect(info.geometry == filled)
            }
        }
    }
}

extension AllocationTests {
    @Test(arguments: ProtectionInformation.Format.allCases)
    func `protecting blocks allocates nothing`(format: ProtectionInformation.Format) {
        let model = ProtectionModel(
            information: ProtectionInformation(.type1, format: format), dataByteCount: 512,
            metadataByteCount: format.byteCount + 8, isInterleaved: true)
        let protection = model.protection
        let data = Pieces(Array(repeating: 1, count: 1024), lengths: [100, 924])
        let blocks = Pieces(
            Array(repeating: 0, count: 2 * model.blockByteCount), lengths: [515, model.blockByteCount * 2 - 515])
        let (dataList, blockList, tags) = (data.list, blocks.list, ProtectionTags(referenceTag: 1))
        var failure: ProtectionFailure?
        for round in 0...100 {
            // The first round finds what the runtime and the libraries make at their first use.
            if round == 1 { malloc_count_begin() }
            protection.insert(from: dataList, into: blockList, blockCount: 2, tags: tags)
            protection.generate(blockList, blockCount: 2, tags: tags)
            do throws(ProtectionFailure) {
                try protection.verify(blockList, blockCount: 2, tags: tags)
                try protection.remap(blockList, blockCount: 2, from: 1, to: 5)
                try protection.strip(
                    from: blockList, into: dataList, blockCount: 2, tags: ProtectionTags(referenceTag: 5))
            } catch {
                failure = error
            }
        }
        #expect(malloc_count_end() == 0)
        #expect(failure == nil)
        withExtendedLifetime((data, blocks)) {}
    }
}
