import Bdev
import Reactors
import SimulatedReactors

/// Memory in pieces, each of exactly its length and at no particular address, so that a sanitizer sees a byte too many.
/// Its lists do not keep it alive.
@safe final class Pieces {
    private let segments: UnsafeMutableBufferPointer<IOMemory>

    init(_ bytes: [UInt8], lengths: [Int]) {
        precondition(lengths.reduce(0, +) == bytes.count, "the pieces are as long as the bytes")
        unsafe segments = .allocate(capacity: lengths.count)
        var place = 0
        for (index, length) in lengths.enumerated() {
            let base = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 1)
            for offset in 0..<length {
                unsafe base.storeBytes(of: bytes[place + offset], toByteOffset: offset, as: UInt8.self)
            }
            unsafe segments.initializeElement(at: index, to: IOMemory(base: base, byteCount: length, arena: 0))
            place += length
        }
    }

    convenience init(_ bytes: [UInt8]) { self.init(bytes, lengths: [bytes.count]) }

    deinit {
        for index in unsafe segments.indices { unsafe segments[index].base.deallocate() }
        unsafe segments.deallocate()
    }

    var list: Segments { unsafe Segments(UnsafePointer(segments.baseAddress!), count: segments.count) }

    /// The only piece.
    var memory: IOMemory {
        precondition(unsafe segments.count == 1, "there is one piece")
        return unsafe segments[0]
    }

    var bytes: [UInt8] {
        var all: [UInt8] = []
        for index in unsafe segments.indices {
            let segment = unsafe segments[index]
            unsafe all += UnsafeRawBufferPointer(start: segment.base, count: segment.byteCount)
        }
        return all
    }

    func flip(bit: Int) {
        var place = bit / 8
        for index in unsafe segments.indices {
            let segment = unsafe segments[index]
            if place < segment.byteCount {
                let byte = unsafe segment.base + place
                return unsafe byte.storeBytes(of: byte.load(as: UInt8.self) ^ 1 << UInt8(bit % 8), as: UInt8.self)
            }
            place -= segment.byteCount
        }
        preconditionFailure("the bit lies in one of the pieces")
    }

    /// Lengths of pieces for `count` bytes, at random; some pieces are empty.
    static func lengths(_ count: Int, _ random: inout SeededRandom) -> [Int] {
        let limit = [1, 9, 100, 1000, count].randomElement(using: &random)!
        var left = count, result: [Int] = []
        while left > 0 {
            let length = min(left, Int.random(in: limit < count ? 0...limit : count...count, using: &random))
            result.append(length)
            left -= length
        }
        return result
    }
}

/// Blocks and their protection as the specification describes them, bit by bit and byte by byte.
struct ProtectionModel {
    let information: ProtectionInformation
    let dataByteCount: Int
    let metadataByteCount: Int
    let isInterleaved: Bool

    var protection: BlockProtection {
        BlockProtection(
            information, dataByteCount: dataByteCount, metadataByteCount: metadataByteCount,
            isInterleaved: isInterleaved)
    }

    var blockByteCount: Int { dataByteCount + metadataByteCount }
    /// Where the tuple begins in a block with its metadata behind it.
    var tupleStart: Int {
        information.placement == .head ? dataByteCount : blockByteCount - information.format.byteCount
    }
    var guardByteCount: Int {
        switch information.format {
        case .guard16: 2
        case .guard32: 4
        case .guard64: 8
        }
    }
    var referenceTagBitCount: Int {
        switch information.format {
        case .guard16: 32 - information.storageTagBitCount
        case .guard32: 80 - information.storageTagBitCount
        case .guard64: 48 - information.storageTagBitCount
        }
    }

    static func crc(_ bytes: some Sequence<UInt8>, _ format: ProtectionInformation.Format) -> UInt64 {
        var value: UInt64
        switch format {
        case .guard16:
            value = 0
            for byte in bytes {
                value ^= UInt64(byte) << 8
                for _ in 0..<8 { value = (value << 1 ^ (value & 0x8000 != 0 ? 0x8BB7 : 0)) & 0xFFFF }
            }
            return value
        case .guard32, .guard64:
            let polynomial: UInt64 = format == .guard32 ? 0x82F6_3B78 : 0x9A6C_9329_AC4B_C9B5
            let ones: UInt64 = format == .guard32 ? 0xFFFF_FFFF : .max
            value = ones
            for byte in bytes {
                value ^= UInt64(byte)
                for _ in 0..<8 { value = value >> 1 ^ (value & 1 != 0 ? polynomial : 0) }
            }
            return value ^ ones
        }
    }

    private static func bigEndian(_ value: UInt64, _ byteCount: Int) -> [UInt8] {
        (0..<byteCount).reversed().map { UInt8(truncatingIfNeeded: $0 < 8 ? value >> UInt64($0 * 8) : 0) }
    }

    func referenceTag(_ tags: ProtectionTags, block: Int) -> UInt64 {
        let tag = information.type == .type3 ? tags.referenceTag : tags.referenceTag &+ UInt64(block)
        return referenceTagBitCount == 64 ? tag : tag % (1 << UInt64(referenceTagBitCount))
    }

    /// The block with its tuple written, the storage tag 0.
    func protected(_ block: [UInt8], _ tags: ProtectionTags, index: Int) -> [UInt8] {
        let format = information.format
        let sum = Self.crc(block[..<tupleStart], format)
        let space = format.byteCount - guardByteCount - 2
        let tuple =
            Self.bigEndian(sum, guardByteCount) + Self.bigEndian(UInt64(tags.applicationTag), 2)
            + Self.bigEndian(referenceTag(tags, block: index), space)
        return block[..<tupleStart] + tuple + block[(tupleStart + format.byteCount)...]
    }

    private func tuple(_ block: [UInt8]) -> [UInt8] {
        Array(block[tupleStart..<tupleStart + information.format.byteCount])
    }

    func isExempt(_ block: [UInt8]) -> Bool {
        let tuple = tuple(block)
        guard tuple[guardByteCount] == 0xFF, tuple[guardByteCount + 1] == 0xFF else { return false }
        if information.type != .type3 { return true }
        return (0..<referenceTagBitCount).allSatisfy { tuple[tuple.count - 1 - $0 / 8] & 1 << UInt8($0 % 8) != 0 }
    }

    /// What verifying says of `block`, which was right before bit `bit` of it was flipped.
    func failure(_ block: [UInt8], flipped bit: Int, _ tags: ProtectionTags) -> ProtectionFailure.Check? {
        if isExempt(block) { return nil }
        let checks = information.checks
        let place = bit / 8 - tupleStart
        switch place {
        case ..<guardByteCount: return checks.contains(.guard) ? .guard : nil
        case guardByteCount, guardByteCount + 1:
            let shift = UInt16(bit % 8 + (place == guardByteCount ? 8 : 0))
            let isCompared = checks.contains(.applicationTag) && tags.applicationTagMask & 1 << shift != 0
            return isCompared ? .applicationTag : nil
        case ..<information.format.byteCount:
            let bitFromEnd = (information.format.byteCount - 1 - place) * 8 + bit % 8
            let isCompared = checks.contains(.referenceTag) && bitFromEnd < referenceTagBitCount
            return isCompared ? .referenceTag : nil
        default: return nil
        }
    }
}
