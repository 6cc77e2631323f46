import NVMeSoftController
import Reactors
import Testing

@testable import NVMeDriver

/// How blocks of a namespace are protected, and where in them the tuple is.
struct ProtectionKind: Sendable, CustomStringConvertible {
    let protection: NVMeProtection
    let isInterleaved: Bool
    /// Bytes of metadata besides the tuple.
    let extraByteCount: Int

    var description: String {
        "type \(protection.type), \(protection.format), storage tag of \(protection.storageTagBitCount) bits, "
            + "\(protection.isFirst ? "first" : "last"), \(isInterleaved ? "interleaved" : "separate"), "
            + "\(metadataByteCount) bytes"
    }

    var metadataByteCount: Int { protection.format.byteCount + extraByteCount }
    /// Where the tuple is in the metadata.
    var place: Int { protection.isFirst ? 0 : extraByteCount }
    var guardByteCount: Int { [2, 4, 8][Int(protection.format.rawValue)] }

    /// Guard, application tag, storage tag; the reference tag in types that have it checked.
    var checks: NVMeQueuePair.BlockOptions {
        let checks: NVMeQueuePair.BlockOptions = [.checksGuard, .checksApplicationTag, .checksStorageTag]
        return protection.type == 3 ? checks : checks.union(.checksReferenceTag)
    }

    /// A tuple's bytes behind the guard.
    func tags(_ applicationTag: UInt16 = 0, storage: UInt64 = 0, reference: UInt64) -> [UInt8] {
        let count = UInt128(protection.referenceTagBitCount),
            space = UInt128(storage) << count | UInt128(reference) % (1 << count)
        let bytes = (0..<protection.format.byteCount - guardByteCount - 2).map { UInt8(space >> (8 * $0) & 0xFF) }
        return [UInt8(applicationTag >> 8), UInt8(applicationTag & 0xFF)] + bytes.reversed()
    }

    func options(blockCount: UInt64) -> SoftNamespaceOptions {
        var options = SoftNamespaceOptions(blockCount: blockCount)
        options.metadataByteCount = metadataByteCount
        options.isMetadataInterleaved = isInterleaved
        options.protectionType = UInt8(protection.type)
        options.protectionFormat = protection.format
        options.storageTagBitCount = protection.storageTagBitCount
        options.isProtectionFirst = protection.isFirst
        return options
    }

    /// The fewest, some and all bits of a storage tag that a format may have.
    static func storageTagBitCounts(_ format: NVMeProtection.Format) -> [Int] {
        let all = format.storageTagBitCounts
        return [all.lowerBound, all.lowerBound + 18, all.upperBound]
    }

    static func kinds(types: ClosedRange<Int>, extraByteCounts: [Int]) -> [ProtectionKind] {
        NVMeProtection.Format.allCases.flatMap { format in
            storageTagBitCounts(format).flatMap { count in
                types.flatMap { type in
                    extraByteCounts.flatMap { extra in
                        [(false, false), (false, true), (true, false), (true, true)].map { isInterleaved, isFirst in
                            ProtectionKind(
                                protection: NVMeProtection(
                                    type: type, format: format, storageTagBitCount: count, isFirst: isFirst)!,
                                isInterleaved: isInterleaved, extraByteCount: extra)
                        }
                    }
                }
            }
        }
    }
}

/// Blocks as the host has them, and what they are written and read with.
private struct HostBlocks: ~Copyable {
    var data: IOBuffer
    var metadata: IOBuffer
    let kind: ProtectionKind
    let count: Int
    static let dataByteCount = 512

    init(_ kind: ProtectionKind, count: Int, on local: isolated LocalReactor) async {
        self.kind = kind
        self.count = count
        let size = Self.dataByteCount + (kind.isInterleaved ? kind.metadataByteCount : 0)
        data = await local.buffer(byteCount: count * size)
        metadata = await local.buffer(byteCount: count * kind.metadataByteCount)
        for index in 0..<data.byteCount / 8 { data.store(UInt64(index) &* 0x9E37_79B9, at: index * 8) }
        for index in 0..<metadata.byteCount / 8 { metadata.store(UInt64(index) &* 0x85EB_CA6B, at: index * 8) }
    }

    /// A byte of a block's tuple.
    subscript(block: Int, offset: Int) -> UInt8 {
        get {
            let place = kind.place + offset
            if kind.isInterleaved { return data.load(at: interleaved(block, place)) }
            return metadata.load(at: block * kind.metadataByteCount + place)
        }
        set {
            let place = kind.place + offset
            if kind.isInterleaved {
                data.store(newValue, at: interleaved(block, place))
            } else {
                metadata.store(newValue, at: block * kind.metadataByteCount + place)
            }
        }
    }

    private func interleaved(_ block: Int, _ place: Int) -> Int {
        block * (Self.dataByteCount + kind.metadataByteCount) + Self.dataByteCount + place
    }

    /// The bytes of a block's tuple behind the guard.
    func tags(_ block: Int) -> [UInt8] {
        (kind.guardByteCount..<kind.protection.format.byteCount).map { self[block, $0] }
    }

    nonisolated(nonsending) func write(
        _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, at block: UInt64,
        _ options: NVMeQueuePair.BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await pair.write(namespace, at: block, data, metadata, options, tags)
    }

    nonisolated(nonsending) mutating func read(
        _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, at block: UInt64,
        _ options: NVMeQueuePair.BlockOptions = [], tags: NVMeProtectionTags? = nil
    ) async throws(NVMeError) {
        try await pair.read(namespace, at: block, &data, &metadata, options, tags)
    }

    /// Has the controller make their tuples, and writes them.
    nonisolated(nonsending) func protect(
        _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, at block: UInt64, tags: NVMeProtectionTags? = nil,
        on local: LocalReactor
    ) async throws(NVMeError) {
        if namespace.canOmitMetadata {
            var plain = await local.buffer(byteCount: count * Self.dataByteCount)
            for index in 0..<plain.byteCount / 8 { plain.store(UInt64(index), at: index * 8) }
            try await pair.write(namespace, at: block, from: plain, options: .protectionAction, tags: tags)
        } else {
            try await write(pair, namespace, at: block, .protectionAction, tags: tags)
        }
    }
}

@Suite("Protection information with wide guards and storage tags")
struct WideProtectionTests {
    /// Where the low half of a block's number goes over.
    private static let crossing: UInt64 = 3 << 32

    /// A namespace of which the blocks around `crossing` are stored, or the first 256.
    private func withNamespace(
        _ kind: ProtectionKind, zones: SoftZoneOptions? = nil, storageTagMask: UInt64 = .max,
        _ body:
            @escaping @Sendable (
                isolated LocalReactor, NVMeController, NVMeQueuePair, NVMeNamespace
            ) async throws -> Void
    ) throws {
        var options = SoftController.Options()
        options.namespaces = [kind.options(blockCount: zones == nil ? Self.crossing + 128 : 256)]
        if zones == nil { options.namespaces[0].firstStoredBlock = Self.crossing - 128 }
        options.namespaces[0].zones = zones
        options.namespaces[0].storageTagMask = storageTagMask
        // So that transfers are cut, and tags go on from part to part.
        options.transferPageShift = 1
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            let pair = try await local.makeQueuePair(of: controller)
            let namespace = try #require(await controller.namespaces.first)
            try await body(local, controller, pair, namespace)
            await local.close(pair, of: controller)
            await controller.detach()
        }
    }

    private nonisolated(nonsending) func status(_ body: () async throws -> Void) async -> NVMeStatus? {
        do {
            try await body()
            return .success
        } catch { return (error as? NVMeError)?.status.map { NVMeStatus(type: $0.type, code: $0.code) } }
    }

    // MARK: Transfers

    @Test(arguments: ProtectionKind.kinds(types: 1...3, extraByteCounts: [0, 8]))
    func `is made, stripped and checked by the controller, in parts and above block 2^32`(
        kind: ProtectionKind
    ) throws {
        try withNamespace(kind) { local, _, pair, namespace in
            #expect(namespace.protection == kind.protection)
            #expect(namespace.canOmitMetadata == (kind.extraByteCount == 0))
            let first = Self.crossing - 13, count = 40
            var blocks = await HostBlocks(kind, count: count, on: local)
            try await blocks.protect(pair, namespace, at: first, on: local)
            if namespace.canOmitMetadata {
                var found = await local.buffer(byteCount: count * HostBlocks.dataByteCount)
                try await pair.read(
                    namespace, at: first, into: &found, options: kind.checks.union(.protectionAction))
                let isSame = (0..<found.byteCount / 8).allSatisfy { found.load(UInt64.self, at: $0 * 8) == UInt64($0) }
                #expect(isSame)
            } else {
                try await blocks.read(pair, namespace, at: first, kind.checks.union(.protectionAction))
            }
            try await blocks.read(pair, namespace, at: first, kind.checks)
            for block in 0..<count {
                let number = kind.protection.type == 3 ? first : first + UInt64(block)
                #expect(blocks.tags(block) == kind.tags(reference: number), "block \(block)")
            }
            try await pair.verify(namespace, at: first, count: count, options: kind.checks)
            // As they are they are right here only.
            try await blocks.write(pair, namespace, at: first, kind.checks)
            if kind.protection.type != 3, kind.protection.referenceTagBitCount > 0 {
                #expect(
                    await status {
                        try await blocks.write(pair, namespace, at: first + 1, kind.checks)
                    } == .referenceTagCheckError)
            }
            try await pair.writeZeroes(namespace, at: first, count: count, options: .protectionAction)
            try await blocks.read(pair, namespace, at: first, kind.checks)
            #expect(blocks.tags(count - 1)[..<2] == [0, 0])
        }
    }

    @Test(arguments: ProtectionKind.kinds(types: 1...3, extraByteCounts: [8]))
    func `that is wrong is found by what the command has checked`(kind: ProtectionKind) throws {
        try withNamespace(kind) { local, _, pair, namespace in
            let first = Self.crossing - 20, tuple = kind.protection.format.byteCount, guards = kind.guardByteCount
            var blocks = await HostBlocks(kind, count: 24, on: local)
            try await blocks.protect(pair, namespace, at: first, on: local)
            try await blocks.read(pair, namespace, at: first)
            typealias Flaw = (offset: Int, bit: UInt8, option: NVMeQueuePair.BlockOptions, status: NVMeStatus)
            var flaws: [Flaw] = [
                (guards - 1, 1, .checksGuard, .guardCheckError), (0, 0x80, .checksGuard, .guardCheckError),
                (guards + 1, 1, .checksApplicationTag, .applicationTagCheckError),
            ]
            if kind.protection.storageTagBitCount > 0 {
                flaws.append((guards + 2, 0x80, .checksStorageTag, .storageTagCheckError))
            }
            if kind.checks.contains(.checksReferenceTag), kind.protection.referenceTagBitCount > 0 {
                flaws.append((tuple - 1, 1, .checksReferenceTag, .referenceTagCheckError))
            }
            for flaw in flaws {
                // In the second part.
                blocks[18, flaw.offset] ^= flaw.bit
                let others = kind.checks.subtracting(flaw.option)
                #expect(await status { try await blocks.write(pair, namespace, at: first, flaw.option) } == flaw.status)
                try await blocks.write(pair, namespace, at: first, others)
                #expect(await status { try await blocks.read(pair, namespace, at: first, flaw.option) } == flaw.status)
                #expect(
                    await status {
                        try await pair.verify(namespace, at: first, count: 24, options: flaw.option)
                    } == flaw.status)
                #expect(await status { try await blocks.read(pair, namespace, at: first, others) } == .success)
                blocks[18, flaw.offset] ^= flaw.bit
            }
        }
    }

    @Test(arguments: ProtectionKind.kinds(types: 2...2, extraByteCounts: [0]))
    func `has the user's tags, of which one goes round and the other stays`(kind: ProtectionKind) throws {
        let unchecked: UInt64 = 1
        try withNamespace(kind, storageTagMask: ~unchecked) { local, _, pair, namespace in
            let first = Self.crossing, shape = kind.protection
            var tags = NVMeProtectionTags(referenceTag: shape.referenceTagMask &- min(17, shape.referenceTagMask))
            tags.storageTag = shape.storageTagMask & ~2
            tags.applicationTag = 0x1234
            var blocks = await HostBlocks(kind, count: 40, on: local)
            try await blocks.protect(pair, namespace, at: first, tags: tags, on: local)
            try await blocks.read(pair, namespace, at: first, kind.checks, tags: tags)
            for block in 0..<40 {
                let expected = kind.tags(
                    0x1234, storage: tags.storageTag, reference: tags.referenceTag &+ UInt64(block))
                #expect(blocks.tags(block) == expected, "block \(block)")
            }
            try await pair.verify(namespace, at: first, count: 40, options: kind.checks, tags: tags)
            try await pair.writeZeroes(namespace, at: first, count: 40, options: .protectionAction, tags: tags)
            try await blocks.read(pair, namespace, at: first, kind.checks, tags: tags)
            #expect(blocks.tags(1) == kind.tags(0x1234, storage: tags.storageTag, reference: tags.referenceTag &+ 1))
            if shape.storageTagBitCount > 1 {
                // The bit that the namespace leaves out, and another.
                tags.storageTag ^= unchecked
                try await blocks.read(pair, namespace, at: first, kind.checks, tags: tags)
                tags.storageTag ^= 2
                #expect(
                    await status {
                        try await blocks.read(pair, namespace, at: first, kind.checks, tags: tags)
                    } == .storageTagCheckError)
            }
        }
    }

    @Test(arguments: ProtectionKind.kinds(types: 1...3, extraByteCounts: [0]).filter { !$0.isInterleaved })
    func `of what is appended to a zone is that of where it goes`(kind: ProtectionKind) throws {
        try withNamespace(kind, zones: SoftZoneOptions(blockCount: 64)) { local, _, pair, namespace in
            var tags = NVMeProtectionTags(of: kind.protection, at: 64)
            tags.storageTag = kind.protection.storageTagMask
            var blocks = await HostBlocks(kind, count: 8, on: local)
            let plain = await local.buffer(byteCount: 8 * HostBlocks.dataByteCount)
            for place in [UInt64(64), 72] {
                let found = try await pair.append(
                    namespace, zone: 64, from: plain, options: .protectionAction, tags: tags)
                #expect(found == place)
            }
            var expected = tags
            if kind.protection.type != 3 { expected.referenceTag = 72 & kind.protection.referenceTagMask }
            try await blocks.read(pair, namespace, at: 72, kind.checks, tags: expected)
            let last = kind.protection.type == 3 ? expected.referenceTag : 79
            #expect(blocks.tags(7) == kind.tags(storage: tags.storageTag, reference: last))
            // The host's own, which count from the zone's start.
            try await blocks.read(pair, namespace, at: 64)
            let place = try await pair.append(
                namespace, zone: 64, from: blocks.data, metadata: blocks.metadata, options: kind.checks, tags: tags)
            #expect(place == 80)
            if kind.protection.type != 3 { expected.referenceTag = 80 & kind.protection.referenceTagMask }
            try await blocks.read(pair, namespace, at: 80, kind.checks, tags: expected)
        }
    }

    @Test func `has the checksums that the specification names`() throws {
        let guards: [(NVMeProtection.Format, UInt8, UInt64)] = [
            (.guard32, 0, 0x98F9_4189), (.guard32, 0xFF, 0x25C1_FE13), (.guard64, 0, 0x6482_D367_EB22_B64E),
            (.guard64, 0xFF, 0xC0DD_BA73_02EC_A3AC),
        ]
        for (format, byte, expected) in guards {
            let kind = ProtectionKind(
                protection: NVMeProtection(type: 1, format: format)!, isInterleaved: false, extraByteCount: 0)
            var options = SoftController.Options()
            options.namespaces = [kind.options(blockCount: 8)]
            options.namespaces[0].dataByteCount = 4096
            try simulateSoft(options: options) { local, soft in
                let controller = try await soft.attach(on: local.reactor)
                let pair = try await local.makeQueuePair(of: controller)
                let namespace = try #require(await controller.namespaces.first)
                var data = await local.buffer(byteCount: 4096), metadata = await local.buffer(byteCount: 16)
                data.fill(with: byte)
                try await pair.write(namespace, at: 5, from: data, options: .protectionAction)
                try await pair.read(namespace, at: 5, into: &data, metadata: &metadata)
                let found = (0..<kind.guardByteCount).reduce(UInt64(0)) {
                    $0 << 8 | UInt64(metadata.load(UInt8.self, at: $1))
                }
                #expect(found == expected)
                await local.close(pair, of: controller)
                await controller.detach()
            }
        }
    }

    @Test func `is there after a reset, as the host says again that it knows such formats`() throws {
        let kind = ProtectionKind(
            protection: NVMeProtection(type: 1, format: .guard64)!, isInterleaved: false, extraByteCount: 0)
        try withNamespace(kind) { local, controller, pair, namespace in
            let blocks = await HostBlocks(kind, count: 4, on: local)
            try await controller.reset()
            try await blocks.protect(pair, namespace, at: Self.crossing, on: local)
            // Without its word the controller does nothing.
            var behavior = await local.buffer(byteCount: 512)
            behavior.fill(with: 0)
            var command = SubmissionQueueEntry(opcode: AdminOpcode.setFeatures)
            command.cdw10 = 0x16
            try await controller.execute(command, data: &behavior)
            #expect(
                await status { try await blocks.protect(pair, namespace, at: Self.crossing, on: local) }
                    == .invalidNamespace)
        }
    }

    // MARK: Words of a command

    /// Words 2, 3 and 14.
    private func tagWords(_ command: SubmissionQueueEntry) -> UInt128 {
        UInt128(command.cdw2) << 64 | UInt128(command.cdw3) << 32 | UInt128(command.cdw14)
    }

    @Test(arguments: NVMeProtection.Format.allCases)
    func `has tags that stand in a command as one number, whose reference tag counts and carries nothing away`(
        format: NVMeProtection.Format
    ) throws {
        for (type, count) in (1...3).flatMap({ type in format.storageTagBitCounts.map { (type, $0) } }) {
            let shape = try #require(NVMeProtection(type: type, format: format, storageTagBitCount: count))
            let bits = UInt128(shape.referenceTagBitCount), wrap = UInt128(1) << bits
            for distance in [UInt64(0), 1, 7, .random(in: 0 ... .max)] {
                var tags = NVMeProtectionTags(referenceTag: UInt64((wrap - 1) ^ UInt128(distance) % wrap))
                tags.storageTag = UInt64(UInt128.random(in: 0..<UInt128(1) << UInt128(count)))
                tags.applicationTag = .random(in: 0 ... .max)
                tags.applicationTagMask = .random(in: 0 ... .max)
                var command = SubmissionQueueEntry(opcode: IOOpcode.write)
                try command.set(tags, of: shape, at: 7)
                #expect(tagWords(command) == UInt128(tags.storageTag) << bits | UInt128(tags.referenceTag))
                #expect(command.cdw15 == UInt32(tags.applicationTag) | UInt32(tags.applicationTagMask) << 16)
                for step in [UInt64(1), 8, 65_536, .random(in: 0 ... .max)] {
                    var part = command
                    part.countTag(of: command, by: step, mask: shape.countingTagMask)
                    let next =
                        type == 3 ? UInt128(tags.referenceTag) : (UInt128(tags.referenceTag) + UInt128(step)) % wrap
                    #expect(tagWords(part) == UInt128(tags.storageTag) << bits | next, "\(shape), \(tags), \(step)")
                }
            }
            // Standard ones, and those that are too long.
            var command = SubmissionQueueEntry(opcode: IOOpcode.write)
            command.startBlock = .random(in: 0 ... .max)
            try command.set(nil, of: shape, at: command.startBlock)
            #expect(tagWords(command) == UInt128(command.startBlock) % wrap)
            var other = command
            (other.cdw3, other.cdw14) = (0, 0)
            other.setStandardTag(mask: shape.referenceTagMask)
            #expect(other == command)
            var long: [NVMeProtectionTags] = []
            if bits < 64 { long.append(NVMeProtectionTags(referenceTag: UInt64(wrap))) }
            if count < 64 {
                long.append(NVMeProtectionTags(referenceTag: 0))
                long[long.count - 1].storageTag = 1 << UInt64(count)
            }
            for tags in long {
                let error = #expect(throws: NVMeError.self) { try command.set(tags, of: shape, at: 0) }
                #expect(error?.code == .invalidArgument)
            }
        }
    }

    @Test func `has tags that stand in a command as in the specification's examples`() throws {
        func command(_ format: NVMeProtection.Format, _ count: Int, _ storage: UInt64, _ reference: UInt64) throws
            -> SubmissionQueueEntry
        {
            var command = SubmissionQueueEntry(opcode: IOOpcode.write)
            var tags = NVMeProtectionTags(referenceTag: reference)
            tags.storageTag = storage
            try command.set(tags, of: NVMeProtection(type: 1, format: format, storageTagBitCount: count), at: 0)
            return command
        }
        var found = try command(.guard16, 0, 0, 0x8765_4321)
        #expect((found.cdw2, found.cdw3, found.cdw14) == (0, 0, 0x8765_4321))
        found = try command(.guard32, 32, 0x1122_3344, 0x5566_7788_99AA)
        #expect((found.cdw2, found.cdw3, found.cdw14) == (0x1122, 0x3344_5566, 0x7788_99AA))
        found = try command(.guard64, 18, 0x2_1237, 0x1234_5678)
        #expect((found.cdw2, found.cdw3, found.cdw14) == (0, 0x848D, 0xD234_5678))
        found = try command(.guard64, 0, 0, 0x1234_5678_9ABC)
        #expect((found.cdw2, found.cdw3, found.cdw14) == (0, 0x1234, 0x5678_9ABC))
    }

    // MARK: What a controller says of it

    @Test func `is believed where it can be`() {
        var data = [UInt8](repeating: 0, count: 4096), extended = data
        for entry in UInt32(0)..<0x4000 {
            let index = Int.random(in: 0..<64), place = 12 + 4 * index, isQualified = Bool.random()
            let type = Int.random(in: 0...7), isFirst = Bool.random(),
                room = [0, 7, 8, 15, 16, 17, 64].randomElement()!
            data[26] = UInt8(index & 0xF | (index & 0x30) << 1)
            data[29] = UInt8(type | (isFirst ? 8 : 0))
            extended[8] = isQualified ? 8 : 0
            for byte in 0..<4 { extended[place + byte] = UInt8(truncatingIfNeeded: entry >> (8 * UInt32(byte))) }
            let found = NVMeProtection(
                IdentifyNamespace(data: data), metadataByteCount: room, extended: DataReader(bytes: extended))
            for byte in 0..<4 { extended[place + byte] = 0xFF }
            let count = Int(entry % 128), plain = Int(entry / 128 % 4), qualifier = Int(entry / 512 % 16)
            let number = plain == 3 && isQualified ? qualifier : plain
            let limits = [0: (8, 0...32), 1: (16, 16...64), 2: (16, 0...48)][number]
            let isPossible = limits.map { $0.0 <= room && $0.1.contains(count) } ?? false
            if isPossible && 1...3 ~= type {
                #expect(
                    found
                        == NVMeProtection(
                            type: type, format: NVMeProtection.Format(rawValue: UInt8(number))!,
                            storageTagBitCount: count, isFirst: isFirst))
            } else {
                #expect(found == nil, "entry \(entry), type \(type), \(room) bytes")
            }
        }
    }

    @Test func `that cannot be has its namespace left out`() throws {
        // A qualifier that nobody has, a guard that has no room, storage tags that are too short or too long.
        let claims: [(entry: UInt32, capabilities: UInt8, isThere: Bool)] = [
            (0, 0, true), (3 << 7, 0, false), (3 << 7, 8, true), (3 << 7 | 3 << 9, 8, false), (1 << 7, 0, false),
            (1 << 7 | 16, 0, true), (2 << 7 | 49, 0, false), (2 << 7 | 48, 0, true), (33, 0, false), (32, 0, true),
        ]
        for claim in claims {
            var options = SoftController.Options()
            options.namespaces = [SoftNamespaceOptions(blockCount: 8), SoftNamespaceOptions(blockCount: 8)]
            options.namespaces[0].metadataByteCount = 16
            options.namespaces[0].protectionType = 1
            options.namespaces[0].claimedExtendedFormat = (claim.entry, claim.capabilities)
            try simulateSoft(options: options) { local, soft in
                let controller = try await soft.attach(on: local.reactor)
                #expect(await controller.namespaces.map(\.id) == (claim.isThere ? [1, 2] : [2]), "\(claim)")
                await controller.detach()
            }
        }
        // Where blocks have less metadata than the tuple has.
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 8)]
        options.namespaces[0].metadataByteCount = 8
        options.namespaces[0].protectionType = 1
        options.namespaces[0].claimedExtendedFormat = (2 << 7, 0)
        try simulateSoft(options: options) { local, soft in
            let controller = try await soft.attach(on: local.reactor)
            #expect(await controller.namespaces.isEmpty)
            await controller.detach()
        }
    }
}
