import Reactors

// SAFETY (below): whoever makes a list keeps its segments and their memory alive; a cursor leaves no segment's bounds.

/// A place in a list of segments that moves on as bytes are taken, whatever segments they lie in. Traps at the end.
@safe struct SegmentCursor {
    private let list: Segments
    private var index = 0
    private var segment: IOMemory
    private var offset = 0

    init(_ list: Segments) {
        self.list = list
        segment = list[0]
    }

    /// The next bytes that lie together: at most `limit` (at least 1) of them, at least 1.
    private mutating func next(_ limit: Int) -> IOMemory {
        while offset == segment.byteCount {
            index += 1
            segment = list[index]
            offset = 0
        }
        let count = min(limit, segment.byteCount - offset)
        defer { offset += count }
        return unsafe IOMemory(base: segment.base + offset, byteCount: count, arena: segment.arena)
    }

    mutating func skip(_ count: Int) {
        var left = count
        while left > 0 { left -= next(left).byteCount }
    }

    /// What `crc` makes of `state` and the next `count` bytes.
    mutating func checksum(_ count: Int, _ crc: CyclicRedundancyCheck, _ state: UInt64) -> UInt64 {
        var (left, state) = (count, state)
        while left > 0 {
            let piece = next(left)
            state = crc.update(state, with: piece)
            left -= piece.byteCount
        }
        return state
    }

    /// Copies the next `count` bytes of `source` here.
    mutating func copy(_ count: Int, from source: inout SegmentCursor) {
        var left = count
        while left > 0 {
            let target = next(left)
            var done = 0
            while done < target.byteCount {
                let piece = source.next(target.byteCount - done)
                target.slice(from: done, count: piece.byteCount).copy(from: piece)
                done += piece.byteCount
            }
            left -= done
        }
    }

    mutating func zero(_ count: Int) {
        var left = count
        while left > 0 {
            let piece = next(left)
            piece.zero()
            left -= piece.byteCount
        }
    }

    /// Takes the next tuple.
    mutating func loadTuple(_ format: ProtectionInformation.Format) -> ProtectionTuple {
        let count = format.byteCount
        if segment.byteCount - offset >= count {
            let start = unsafe UnsafeRawPointer(segment.base + offset)
            offset += count
            let first = unsafe UInt64(bigEndian: start.loadUnaligned(as: UInt64.self))
            if count == 8 { return ProtectionTuple(format, words: (first, 0)) }
            let second = unsafe UInt64(bigEndian: start.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            return ProtectionTuple(format, words: (first, second))
        }
        let first = loadWordInPieces()
        return ProtectionTuple(format, words: (first, count == 8 ? 0 : loadWordInPieces()))
    }

    /// Writes a tuple and moves on behind it.
    mutating func store(_ tuple: ProtectionTuple) {
        let count = tuple.format.byteCount
        if segment.byteCount - offset >= count {
            let start = unsafe segment.base + offset
            offset += count
            unsafe start.storeBytes(of: tuple.words.first.bigEndian, as: UInt64.self)
            if count == 16 {
                unsafe start.storeBytes(of: tuple.words.second.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            return
        }
        storeInPieces(tuple.words.first)
        if count == 16 { storeInPieces(tuple.words.second) }
    }

    private mutating func loadWordInPieces() -> UInt64 {
        var word: UInt64 = 0
        for _ in 0..<8 { word = unsafe word << 8 | UInt64(next(1).base.load(as: UInt8.self)) }
        return word
    }

    private mutating func storeInPieces(_ word: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) {
            unsafe next(1).base.storeBytes(of: UInt8(truncatingIfNeeded: word >> UInt64(shift)), as: UInt8.self)
        }
    }
}
