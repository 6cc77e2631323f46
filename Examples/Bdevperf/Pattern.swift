import Bdev
import Reactors

/// What `verify` writes: every block says where it belongs, which generation it is and by which seed, and no two
/// blocks are alike.
struct Pattern: Sendable {
    let seed: UInt64
    let blockByteCount: Int

    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// The first three words of a block are its number, its generation and the seed; the others follow from them.
    private func word(_ index: Int, _ key: UInt64, _ block: UInt64, _ generation: UInt64) -> UInt64 {
        switch index {
        case 0: block
        case 1: generation
        case 2: seed
        default: key &+ UInt64(truncatingIfNeeded: index) &* Self.step
        }
    }

    private func key(_ block: UInt64, _ generation: UInt64) -> UInt64 {
        var key = block &* Self.step ^ (generation &+ seed) &* 0xBF58_476D_1CE4_E5B9
        key ^= key >> 31
        return key &* 0x94D0_49BB_1331_11EB
    }

    /// Fills `buffer` with the blocks from `first` on.
    func fill(_ buffer: inout IOBuffer, first: UInt64, generation: UInt64) {
        let words = blockByteCount / 8
        for index in 0..<buffer.byteCount / blockByteCount {
            let block = first + UInt64(index)
            let key = key(block, generation)
            for place in 0..<words {
                buffer.store(word(place, key, block, generation), at: index * blockByteCount + place * 8)
            }
        }
    }

    /// The first byte that is not what was written.
    func mismatch(in buffer: borrowing IOBuffer, first: UInt64, generation: UInt64) -> Mismatch? {
        let words = blockByteCount / 8
        for index in 0..<buffer.byteCount / blockByteCount {
            let block = first + UInt64(index)
            let key = key(block, generation)
            for place in 0..<words {
                let expected = word(place, key, block, generation)
                let found = buffer.load(UInt64.self, at: index * blockByteCount + place * 8)
                if expected == found { continue }
                let byte = (expected ^ found).trailingZeroBitCount / 8
                return Mismatch(block: block, byte: place * 8 + byte, expected: expected, found: found)
            }
        }
        return nil
    }
}

struct Mismatch: Error, CustomStringConvertible {
    let block: UInt64
    /// In the block.
    let byte: Int
    /// The word that holds it.
    let expected: UInt64
    let found: UInt64

    var description: String {
        let shift = UInt64(byte % 8) * 8
        func text(_ word: UInt64) -> String { "0x" + String(word >> shift & 0xFF, radix: 16) }
        return
            "block \(block) differs from what was written, first at its byte \(byte): "
            + "expected \(text(expected)), found \(text(found))"
    }
}
