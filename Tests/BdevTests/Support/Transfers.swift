import Bdev
import Glibc
import Reactors
import SimulatedReactors

extension BdevChannel {
    /// A list of buffers with segments of the given lengths in bytes, each `offset` bytes into its buffer, and
    /// `data` in them.
    func makeList(_ lengths: [Int], offset: Int = 0, data: [UInt8]? = nil) throws(BdevError) -> IOBufferList {
        var list = IOBufferList(capacity: lengths.count)
        var place = 0
        for length in lengths {
            var buffer = try allocateBuffer(byteCount: length + offset)
            buffer.fill(with: 0xEE)
            if let data {
                var bytes = buffer.mutableBytes
                _ = unsafe bytes.withUnsafeMutableBytes { target in
                    unsafe data.withUnsafeBytes { source in
                        unsafe UnsafeMutableRawBufferPointer(rebasing: target[offset...])
                            .copyMemory(from: .init(rebasing: source[place..<place + length]))
                    }
                }
            }
            place += length
            list.append(buffer, from: offset, length: length)
        }
        return list
    }

    /// Writes `data` at a block from segments of the given lengths.
    func write(_ data: [UInt8], at block: UInt64, segments: [Int], offset: Int = 0) async throws(BdevError) {
        let list = try makeList(segments, offset: offset, data: data)
        try await write(from: list, at: .block(block))
    }

    /// Reads at a block into segments of the given lengths; what they hold then.
    func read(at block: UInt64, segments: [Int], offset: Int = 0) async throws(BdevError) -> [UInt8] {
        var list = try makeList(segments, offset: offset)
        try await read(at: .block(block), into: &list)
        var result: [UInt8] = []
        for (index, length) in segments.enumerated() {
            list.withBuffer(index) { buffer in
                let all = buffer.array
                result += all[offset..<offset + length]
            }
        }
        return result
    }
}

/// `count` random bytes.
func randomBytes(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    let words = (0..<(count + 7) / 8).map { _ in random.next() }
    return unsafe words.withUnsafeBytes { unsafe Array($0.prefix(count)) }
}

extension [UInt8] {
    /// memcmp(3) over the shorter of the two: comparing elements takes seconds in debug builds.
    func isSame(as other: [UInt8]) -> Bool {
        unsafe withUnsafeBytes { a in
            unsafe other.withUnsafeBytes { b in
                unsafe memcmp(a.baseAddress!, b.baseAddress!, Swift.min(a.count, b.count)) == 0
            }
        }
    }
}
