/// A file as the rules see it: three views of the same text, line by line, of the same length.
///
/// In `code` everything that is a comment or the inside of a string literal is blank; in `comments` everything else is.
/// What stands inside an interpolation is code.
struct SourceText {
    /// From the package's folder, such as `Sources/Reactors/Ring/Ring.swift`.
    let path: String
    let lines: [String]
    let code: [String]
    let comments: [String]

    init(path: String, text: String) {
        self.path = path
        var scanner = Scanner(text: Array(text.utf8), isC: path.hasSuffix(".c") || path.hasSuffix(".h"))
        scanner.scan()
        lines = Self.split(scanner.text)
        code = Self.split(scanner.code)
        comments = Self.split(scanner.comments)
    }

    private static func split(_ bytes: [UInt8]) -> [String] {
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    func isIn(_ folders: [String]) -> Bool { folders.contains { path.hasPrefix($0 + "/") || path == $0 } }

    func finding(_ line: Int, _ what: String, use replacement: String) -> Finding {
        Finding(path: path, line: line, what: what, use: replacement)
    }
}

/// Something a rule objects to. Lines count from 1.
struct Finding: Hashable, CustomStringConvertible {
    let path: String
    let line: Int
    let what: String
    let use: String

    var description: String { "\(path):\(line): \(what); \(use)" }
}

/// Separates code from comments and strings.
private struct Scanner {
    let text: [UInt8]
    let isC: Bool
    var code: [UInt8]
    var comments: [UInt8]
    private var index = 0

    init(text: [UInt8], isC: Bool) {
        self.text = text
        self.isC = isC
        let blank = text.map { $0 == UInt8(ascii: "\n") ? $0 : UInt8(ascii: " ") }
        code = blank
        comments = blank
    }

    mutating func scan() { scanCode(untilClosingParenthesis: false) }

    private func at(_ offset: Int) -> UInt8 { index + offset < text.count ? text[index + offset] : 0 }
    private func sees(_ string: StaticString) -> Bool {
        let wanted = Array("\(string)".utf8)
        return index + wanted.count <= text.count && text[index..<index + wanted.count].elementsEqual(wanted)
    }

    private mutating func take(asCode: Bool = false, asComment: Bool = false) {
        if asCode { code[index] = text[index] }
        if asComment { comments[index] = text[index] }
        index += 1
    }

    private mutating func scanCode(untilClosingParenthesis: Bool) {
        var depth = 0
        while index < text.count {
            if sees("//") {
                while index < text.count, at(0) != UInt8(ascii: "\n") { take(asComment: true) }
            } else if sees("/*") {
                scanBlockComment()
            } else if at(0) == UInt8(ascii: "\"") || (!isC && at(0) == UInt8(ascii: "#") && opensRawString) {
                scanString()
            } else if isC, at(0) == UInt8(ascii: "'") {
                scanCharacter()
            } else if !isC, at(0) == UInt8(ascii: "`") {
                scanQuotedIdentifier()
            } else {
                if at(0) == UInt8(ascii: "(") { depth += 1 }
                if at(0) == UInt8(ascii: ")") {
                    if untilClosingParenthesis, depth == 0 { return }
                    depth -= 1
                }
                take(asCode: true)
            }
        }
    }

    private mutating func scanBlockComment() {
        var depth = 0
        while index < text.count {
            let opens = sees("/*") && (depth == 0 || !isC)
            let closes = sees("*/")
            if opens { depth += 1 }
            if closes { depth -= 1 }
            take(asComment: true)
            if opens || closes, index < text.count { take(asComment: true) }
            if depth == 0 { return }
        }
    }

    private var opensRawString: Bool {
        var offset = 0
        while at(offset) == UInt8(ascii: "#") { offset += 1 }
        return at(offset) == UInt8(ascii: "\"")
    }

    private mutating func scanString() {
        var pounds = 0
        while at(0) == UInt8(ascii: "#") {
            pounds += 1
            take(asCode: true)
        }
        let quotes = sees("\"\"\"") && !isC ? 3 : 1
        for _ in 0..<quotes { take(asCode: true) }
        while index < text.count {
            if closesString(quotes: quotes, pounds: pounds) {
                for _ in 0..<quotes + pounds { take(asCode: true) }
                return
            }
            if quotes == 1, at(0) == UInt8(ascii: "\n") { return }
            if at(0) == UInt8(ascii: "\\"), (0..<pounds).allSatisfy({ at(1 + $0) == UInt8(ascii: "#") }) {
                let isInterpolation = !isC && at(1 + pounds) == UInt8(ascii: "(")
                for _ in 0..<min(2 + pounds, text.count - index) { take() }
                if isInterpolation {
                    scanCode(untilClosingParenthesis: true)
                    if index < text.count { take() }
                }
            } else {
                take()
            }
        }
    }

    private func closesString(quotes: Int, pounds: Int) -> Bool {
        (0..<quotes).allSatisfy { at($0) == UInt8(ascii: "\"") }
            && (0..<pounds).allSatisfy { at(quotes + $0) == UInt8(ascii: "#") }
    }

    private mutating func scanCharacter() {
        take(asCode: true)
        while index < text.count, at(0) != UInt8(ascii: "'"), at(0) != UInt8(ascii: "\n") {
            if at(0) == UInt8(ascii: "\\") { take() }
            if index < text.count { take() }
        }
        if index < text.count { take(asCode: true) }
    }

    /// The name between backticks is code when it is a word, and blank when it is a sentence.
    private mutating func scanQuotedIdentifier() {
        var end = index + 1
        while end < text.count, text[end] != UInt8(ascii: "`"), text[end] != UInt8(ascii: "\n") { end += 1 }
        let isWord = text[index + 1..<min(end, text.count)].allSatisfy { Word.isPart($0) }
        while index < min(end + 1, text.count) {
            take(asCode: isWord || index == end || at(0) == UInt8(ascii: "`"))
        }
    }
}
