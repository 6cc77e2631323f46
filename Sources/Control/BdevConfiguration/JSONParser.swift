/// Reads one JSON document. Its own, because Foundation's decoder says neither where a mistake is (without unsafe
/// code) nor that a key is there twice, and tells types apart only by trying one after another.
struct JSONParser {
    private let bytes: [UInt8]
    private var position = 0
    private static let deepest = 128

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(ConfigurationError) -> JSONValue {
        // A byte order mark is ignored, as section 8.1 allows.
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        let value = try value(depth: 0)
        skipSpace()
        if position < bytes.count { throw mistake("something follows the end of the document") }
        return value
    }

    // MARK: Mistakes

    private func mistake(_ what: String, at place: Int? = nil) -> ConfigurationError {
        let before = bytes[..<min(place ?? position, bytes.count)]
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let start = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        let column = String(decoding: before[start...], as: UTF8.self).count + 1
        return ConfigurationError(
            .syntax, path: "line \(line), column \(column)", "not valid JSON: \(what)", advice: "correct the document")
    }

    private func unexpected(_ wanted: String) -> ConfigurationError {
        guard position < bytes.count else { return mistake("the document ends where \(wanted) is expected") }
        let rest = String(decoding: bytes[position..<min(position + 4, bytes.count)], as: UTF8.self)
        return mistake("'\(rest.first.map(String.init) ?? "")' where \(wanted) is expected")
    }

    // MARK: Bytes

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        if next != byte { return false }
        position += 1
        return true
    }

    private mutating func take(word: StaticString, _ value: JSONValue) throws(ConfigurationError) -> JSONValue {
        let text = Array("\(word)".utf8)
        guard bytes[position...].starts(with: text) else { throw unexpected("a value") }
        position += text.count
        return value
    }

    // MARK: Values

    private mutating func value(depth: Int) throws(ConfigurationError) -> JSONValue {
        skipSpace()
        if depth > Self.deepest { throw mistake("it is nested deeper than \(Self.deepest)") }
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth))
        case UInt8(ascii: "["): return .array(try array(depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try take(word: "true", .bool(true))
        case UInt8(ascii: "f"): return try take(word: "false", .bool(false))
        case UInt8(ascii: "n"): return try take(word: "null", .null)
        case let byte? where byte == UInt8(ascii: "-") || Self.isDigit(byte): return try number()
        default: throw unexpected("a value")
        }
    }

    private mutating func object(_ depth: Int) throws(ConfigurationError) -> [String: JSONValue] {
        position += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return members }
        while true {
            skipSpace()
            if next != UInt8(ascii: "\"") { throw unexpected("a key in double quotes") }
            let place = position
            let key = try string()
            if members[key] != nil { throw mistake("the key \"\(key)\" is there twice", at: place) }
            skipSpace()
            if !take(UInt8(ascii: ":")) { throw unexpected("':'") }
            members[key] = try value(depth: depth + 1)
            skipSpace()
            if take(UInt8(ascii: "}")) { return members }
            if !take(UInt8(ascii: ",")) { throw unexpected("',' or '}'") }
        }
    }

    private mutating func array(_ depth: Int) throws(ConfigurationError) -> [JSONValue] {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return elements }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return elements }
            if !take(UInt8(ascii: ",")) { throw unexpected("',' or ']'") }
        }
    }

    // MARK: Numbers

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private mutating func digits() throws(ConfigurationError) {
        let start = position
        while let byte = next, Self.isDigit(byte) { position += 1 }
        if position == start { throw unexpected("a digit") }
    }

    private mutating func number() throws(ConfigurationError) -> JSONValue {
        let start = position
        var isWhole = true
        let isNegative = take(UInt8(ascii: "-"))
        if take(UInt8(ascii: "0")) {
            if let byte = next, Self.isDigit(byte) { throw mistake("a number begins with 0") }
        } else {
            try digits()
        }
        if take(UInt8(ascii: ".")) {
            isWhole = false
            try digits()
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isWhole = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole && !isNegative, let value = UInt64(text) { return .unsigned(value) }
        if isWhole && isNegative, let value = Int64(text) { return value == 0 ? .unsigned(0) : .negative(value) }
        guard let value = Double(text), value.isFinite else {
            throw mistake("the number \(text) is too big", at: start)
        }
        return .double(value)
    }

    // MARK: Strings

    private mutating func string() throws(ConfigurationError) -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        while true {
            guard let byte = next else { throw mistake("a string does not end", at: start) }
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: content, as: UTF8.self) else {
                    throw mistake("a string that is not UTF-8", at: start)
                }
                return text
            case UInt8(ascii: "\\"): try escape(into: &content)
            case ..<0x20: throw mistake("a control character in a string", at: position - 1)
            default: content.append(byte)
            }
        }
    }

    private static let simpleEscapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "\\"): UInt8(ascii: "\\"),
        UInt8(ascii: "/"): UInt8(ascii: "/"),
        UInt8(ascii: "b"): 0x08, UInt8(ascii: "f"): 0x0C, UInt8(ascii: "n"): 0x0A, UInt8(ascii: "r"): 0x0D,
        UInt8(ascii: "t"): 0x09,
    ]

    private mutating func escape(into content: inout [UInt8]) throws(ConfigurationError) {
        let start = position - 1
        guard let byte = next else { throw mistake("a string does not end") }
        position += 1
        if let simple = Self.simpleEscapes[byte] { return content.append(simple) }
        if byte != UInt8(ascii: "u") { throw mistake("an escape that JSON does not have", at: start) }
        var scalar = UInt32(try hexadecimal())
        if scalar & 0xFC00 == 0xD800, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
            let low = UInt32(try hexadecimal())
            // A low half that is none leaves the value in the range of halves, which is refused below.
            if low & 0xFC00 == 0xDC00 { scalar = 0x10000 + (scalar & 0x3FF) << 10 + low & 0x3FF }
        }
        guard let character = Unicode.Scalar(scalar) else { throw mistake("half of a surrogate pair", at: start) }
        content.append(contentsOf: Array(String(character).utf8))
    }

    private mutating func hexadecimal() throws(ConfigurationError) -> UInt16 {
        let text = String(decoding: bytes[position..<min(position + 4, bytes.count)], as: UTF8.self)
        guard text.utf8.count == 4, text.allSatisfy(\.isHexDigit), let value = UInt16(text, radix: 16) else {
            throw unexpected("four hexadecimal digits")
        }
        position += 4
        return value
    }
}
