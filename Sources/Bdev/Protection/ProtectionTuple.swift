/// The 8 or 16 bytes of protection information of one block, as one or two big-endian words.
///
///     guard16  first:  guard 16 · application tag 16 · space 32
///     guard32  first:  guard 32 · application tag 16 · space, high 16    second: space, low 64
///     guard64  first:  guard 64    second: application tag 16 · space 48
///
/// The space holds the storage tag and, in its low bits, the reference tag.
struct ProtectionTuple {
    let format: ProtectionInformation.Format
    private(set) var words: (first: UInt64, second: UInt64)

    init(_ format: ProtectionInformation.Format, words: (first: UInt64, second: UInt64)) {
        self.format = format
        self.words = words
    }

    /// With a storage tag of 0.
    init(_ format: ProtectionInformation.Format, guard: UInt64, applicationTag: UInt16, referenceTag: UInt64) {
        self.format = format
        let tag = UInt64(applicationTag)
        words =
            switch format {
            case .guard16: (`guard` << 48 | tag << 32 | referenceTag, 0)
            case .guard32: (`guard` << 32 | tag << 16, referenceTag)
            case .guard64: (`guard`, tag << 48 | referenceTag)
            }
    }

    var `guard`: UInt64 {
        switch format {
        case .guard16: words.first >> 48
        case .guard32: words.first >> 32
        case .guard64: words.first
        }
    }

    var applicationTag: UInt16 {
        switch format {
        case .guard16: UInt16(truncatingIfNeeded: words.first >> 32)
        case .guard32: UInt16(truncatingIfNeeded: words.first >> 16)
        case .guard64: UInt16(truncatingIfNeeded: words.second >> 48)
        }
    }

    func referenceTag(mask: UInt64) -> UInt64 { (format == .guard16 ? words.first : words.second) & mask }

    mutating func setReferenceTag(_ tag: UInt64, mask: UInt64) {
        if format == .guard16 {
            words.first = words.first & ~mask | tag & mask
        } else {
            words.second = words.second & ~mask | tag & mask
        }
    }
}
