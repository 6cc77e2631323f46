/// What a controller returned, read with checks: little-endian integers and texts at fixed places.
///
/// A place beyond the end reads as zero: data structures have grown with the versions of the specification, and what an
/// older controller does not say is zero.
struct DataReader {
    let bytes: [UInt8]

    func integer<Value: FixedWidthInteger & UnsignedInteger>(_: Value.Type = Value.self, at offset: Int) -> Value {
        var value: Value = 0
        for index in 0..<MemoryLayout<Value>.size where offset + index < bytes.count {
            value |= Value(bytes[offset + index]) << Value(8 * index)
        }
        return value
    }

    func byte(_ offset: Int) -> UInt8 { integer(at: offset) }
    func word(_ offset: Int) -> UInt16 { integer(at: offset) }
    func double(_ offset: Int) -> UInt32 { integer(at: offset) }
    func quad(_ offset: Int) -> UInt64 { integer(at: offset) }

    /// ASCII, without the blanks and zeros around it. Anything that does not print is a question mark: it may end up on
    /// a terminal.
    func text(_ range: Range<Int>) -> String {
        var part = bytes[min(range.lowerBound, bytes.count)..<min(range.upperBound, bytes.count)]
        while let last = part.last, last == 0x20 || last == 0 { part.removeLast() }
        while let first = part.first, first == 0x20 || first == 0 { part.removeFirst() }
        return String(decoding: part.map { 0x20..<0x7F ~= $0 ? $0 : 0x3F }, as: UTF8.self)
    }

    func array(_ range: Range<Int>) -> [UInt8] { range.map { byte($0) } }
}
