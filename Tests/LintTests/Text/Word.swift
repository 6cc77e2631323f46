/// Words of a line: identifiers and keywords, with what stands before and after them.
struct Word: Equatable {
    let text: String
    /// The last character before the word that is not a space, if any.
    let before: Character?
    /// The first character after the word that is not a space, if any.
    let after: Character?

    static func isPart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
            true
        default: false
        }
    }

    static func words(of line: String) -> [Word] {
        let bytes = Array(line.utf8)
        let space = UInt8(ascii: " ")
        var words: [Word] = []
        var index = 0
        while index < bytes.count {
            guard isPart(bytes[index]) else {
                index += 1
                continue
            }
            let start = index
            while index < bytes.count, isPart(bytes[index]) { index += 1 }
            let before = bytes[..<start].last { $0 != space }
            let after = bytes[index...].first { $0 != space }
            words.append(
                Word(
                    text: String(decoding: bytes[start..<index], as: UTF8.self),
                    before: before.map { Character(Unicode.Scalar($0)) },
                    after: after.map { Character(Unicode.Scalar($0)) }))
        }
        return words
    }
}

extension String {
    /// Whether `text` stands in this line as words of its own: `Date()` is in `let d = Date()`, and not in `update()`.
    /// A text that ends in `*` also stands at the beginning of a longer word.
    func mentions(_ text: String) -> Bool {
        let isPrefix = text.hasSuffix("*")
        let wanted = Array((isPrefix ? String(text.dropLast()) : text).utf8)
        let bytes = Array(utf8)
        guard let first = wanted.first, let last = wanted.last, bytes.count >= wanted.count else { return false }
        for start in 0...(bytes.count - wanted.count) where bytes[start] == first {
            let end = start + wanted.count
            guard bytes[start..<end].elementsEqual(wanted) else { continue }
            if Word.isPart(first), start > 0, Word.isPart(bytes[start - 1]) { continue }
            if !isPrefix, Word.isPart(last), end < bytes.count, Word.isPart(bytes[end]) { continue }
            return true
        }
        return false
    }
}
