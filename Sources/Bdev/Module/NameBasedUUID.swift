extension BdevUUID {
    /// The UUID that stands for `name` in `namespace`: always the same, and another for every other pair (RFC 9562,
    /// section 5.5: version 5, over SHA-1).
    ///
    /// For what is made again and again from the same thing: whoever knows it by its UUID finds it again.
    public init(of name: String, in namespace: BdevUUID) {
        var hash = SHA1()
        hash.append(namespace.high)
        hash.append(namespace.low)
        for byte in name.utf8 { hash.append(byte) }
        let digest = hash.finish()
        high = digest.0 & 0xFFFF_FFFF_FFFF_0FFF | 0x5000
        low = digest.1 & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }
}

/// FIPS 180-4, section 6.1, for names: nothing here is a secret.
private struct SHA1 {
    private var state: InlineArray<5, UInt32> = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    /// The block that is being filled.
    private var block = InlineArray<16, UInt32>(repeating: 0)
    private var byteCount = 0

    mutating func append(_ byte: UInt8) {
        let place = byteCount % 64
        block[place / 4] |= UInt32(byte) << UInt32(24 - place % 4 * 8)
        byteCount += 1
        if place == 63 { mix() }
    }

    mutating func append(_ word: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) { append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
    }

    /// The first 128 bits.
    mutating func finish() -> (UInt64, UInt64) {
        let bitCount = UInt64(byteCount) * 8
        append(UInt8(0x80))
        while byteCount % 64 != 56 { append(UInt8(0)) }
        append(bitCount)
        return (UInt64(state[0]) << 32 | UInt64(state[1]), UInt64(state[2]) << 32 | UInt64(state[3]))
    }

    private mutating func mix() {
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for round in 0..<80 {
            if round >= 16 {
                let (first, second) = (block[(round + 13) & 15] ^ block[(round + 8) & 15], block[(round + 2) & 15])
                block[round & 15] = Self.rotate(first ^ second ^ block[round & 15], by: 1)
            }
            let (f, constant): (UInt32, UInt32) =
                switch round {
                case ..<20: (b & c | ~b & d, 0x5A82_7999)
                case ..<40: (b ^ c ^ d, 0x6ED9_EBA1)
                case ..<60: (b & c | b & d | c & d, 0x8F1B_BCDC)
                default: (b ^ c ^ d, 0xCA62_C1D6)
                }
            let next = Self.rotate(a, by: 5) &+ f &+ e &+ constant &+ block[round & 15]
            (e, d, c, b, a) = (d, c, Self.rotate(b, by: 30), a, next)
        }
        for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
        block = InlineArray<16, UInt32>(repeating: 0)
    }

    private static func rotate(_ word: UInt32, by count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}
