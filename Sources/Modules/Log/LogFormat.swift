import Bdev
import Reactors

/// How a log lies on its blocks. All integers are little-endian, and checked by a CRC-32C (Castagnoli).
///
/// Block 0, the *superblock*: at byte 0 the magic `SWBDVLOG`, 8 the version (4 bytes: 1), 12 the block size in bytes
/// (4), 16 the generation (8), 24 the base's size in blocks (8), 32 the CRC of the bytes before it (4).
///
/// Behind it the *records*, each a block of header and the blocks of its data, in the order in which they got their
/// place, which is about that of submission. A header: at byte 0 the magic `SWBDVREC`, 8 the log's generation (8), 16
/// the number of its own block (8), 24 the kind (4: the number of the I/O type, 0 for a mark), 28 flags (4: 1 the I/O
/// failed, 2 it was to reach the medium itself), 32 the first block (8), 40 how many (8), 48 when it was submitted (8),
/// 56 when it was complete (8), 64 blocks of data (8), 72 the CRC of the data (4), 76 bytes of label (4), 80 the label
/// in UTF-8 (256), 336 the CRC of the bytes before it (4).
///
/// A block that is no header of this generation with its own number belongs to a record that was never written: its I/O
/// had not ended. The next block may be one again.
enum LogFormat {
    static let logMagic: UInt64 = 0x474F_4C56_4442_5753
    static let recordMagic: UInt64 = 0x4345_5256_4442_5753
    static let version: UInt32 = 1
    static let labelLimit = 256
    private static let labelOffset = 80
    private static let recordCRCOffset = 336
    private static let logCRCOffset = 32
    /// The least that a header fits into.
    static let blockByteCountMinimum = 512

    static let failedFlag: UInt32 = 1
    static let forcedFlag: UInt32 = 2

    private static func crc(_ buffer: borrowing IOBuffer, _ count: Int) -> UInt32 {
        let check = CyclicRedundancyCheck.crc32C
        let state = check.update(check.initialState, with: buffer.memory.slice(from: 0, count: count))
        return UInt32(truncatingIfNeeded: check.value(of: state))
    }

    // MARK: The superblock

    struct Superblock {
        var generation: UInt64
        var blockByteCount: Int
        var baseBlockCount: UInt64
    }

    static func encode(_ superblock: Superblock, into buffer: inout IOBuffer) {
        buffer.fill(with: 0)
        buffer.store(logMagic.littleEndian, at: 0)
        buffer.store(version.littleEndian, at: 8)
        buffer.store(UInt32(superblock.blockByteCount).littleEndian, at: 12)
        buffer.store(superblock.generation.littleEndian, at: 16)
        buffer.store(superblock.baseBlockCount.littleEndian, at: 24)
        buffer.store(crc(buffer, logCRCOffset).littleEndian, at: logCRCOffset)
    }

    /// Nil: there is no log.
    static func decodeSuperblock(_ buffer: borrowing IOBuffer) -> Superblock? {
        guard integer(buffer, 0, UInt64.self) == logMagic, integer(buffer, 8, UInt32.self) == version,
            integer(buffer, logCRCOffset, UInt32.self) == crc(buffer, logCRCOffset)
        else { return nil }
        return Superblock(
            generation: integer(buffer, 16), blockByteCount: Int(integer(buffer, 12, UInt32.self)),
            baseBlockCount: integer(buffer, 24))
    }

    // MARK: Records

    struct Record {
        var generation: UInt64 = 0
        var location: UInt64 = 0
        var kind: UInt32 = 0
        var flags: UInt32 = 0
        var startBlock: UInt64 = 0
        var blockCount: UInt64 = 0
        var submitted: UInt64 = 0
        var completed: UInt64 = 0
        var dataBlockCount: UInt64 = 0
        var dataCRC: UInt32 = 0
    }

    static func encode(_ record: Record, label: String = "", into buffer: inout IOBuffer) {
        buffer.store(recordMagic.littleEndian, at: 0)
        buffer.store(record.generation.littleEndian, at: 8)
        buffer.store(record.location.littleEndian, at: 16)
        buffer.store(record.kind.littleEndian, at: 24)
        buffer.store(record.flags.littleEndian, at: 28)
        buffer.store(record.startBlock.littleEndian, at: 32)
        buffer.store(record.blockCount.littleEndian, at: 40)
        buffer.store(record.submitted.littleEndian, at: 48)
        buffer.store(record.completed.littleEndian, at: 56)
        buffer.store(record.dataBlockCount.littleEndian, at: 64)
        buffer.store(record.dataCRC.littleEndian, at: 72)
        buffer.store(UInt32(label.utf8.count).littleEndian, at: 76)
        buffer.store(label, at: labelOffset)
        buffer.store(crc(buffer, recordCRCOffset).littleEndian, at: recordCRCOffset)
    }

    /// Nil: there is no header of this generation that belongs at this block.
    static func decodeRecord(_ buffer: borrowing IOBuffer, generation: UInt64, location: UInt64) -> (Record, String)? {
        guard integer(buffer, 0, UInt64.self) == recordMagic, integer(buffer, 8, UInt64.self) == generation,
            integer(buffer, 16, UInt64.self) == location,
            integer(buffer, recordCRCOffset, UInt32.self) == crc(buffer, recordCRCOffset)
        else { return nil }
        let record = Record(
            generation: generation, location: location, kind: integer(buffer, 24), flags: integer(buffer, 28),
            startBlock: integer(buffer, 32), blockCount: integer(buffer, 40), submitted: integer(buffer, 48),
            completed: integer(buffer, 56), dataBlockCount: integer(buffer, 64), dataCRC: integer(buffer, 72))
        let length = min(Int(integer(buffer, 76, UInt32.self)), labelLimit)
        let bytes = (0..<length).map { integer(buffer, labelOffset + $0, UInt8.self) }
        return (record, String(decoding: bytes, as: UTF8.self))
    }

    private static func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ buffer: borrowing IOBuffer, _ offset: Int, _ type: Value.Type = Value.self
    ) -> Value {
        Value(littleEndian: buffer.load(at: offset))
    }
}
