/// Sixty-four bits that stand for all that a simulation did, in order: FNV-1a over words.
struct TraceDigest {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ word: UInt64) {
        value = (value ^ word) &* 0x0000_0100_0000_01B3
        // The product alone would leave the low bits without a trace of the word's high ones.
        value ^= value >> 29
    }
}
