/// A function with a body. Lines count from 1.
struct Function {
    let name: String
    /// The line of `func`, `init` or `deinit`.
    let start: Int
    /// The line of the closing brace.
    let end: Int

    var lineCount: Int { end - start + 1 }
}

extension SourceText {
    /// Every function, initializer and deinitializer that has a body, nested ones too.
    var functions: [Function] {
        var tokens = tokens[...]
        var found: [Function] = []
        while let token = tokens.popFirst() {
            guard let name = functionName(token, next: tokens.first), let open = bodyStart(in: tokens) else { continue }
            let end = closingLine(in: tokens[open...])
            found.append(Function(name: name, start: token.line, end: end ?? lines.count))
        }
        return found
    }

    private struct Token {
        let text: Substring
        let line: Int
        let isMember: Bool
    }

    /// Words and the characters between them.
    private var tokens: [Token] {
        var tokens: [Token] = []
        for (number, line) in code.enumerated() {
            var rest = line[...]
            while let first = rest.utf8.first {
                let isWord = Word.isPart(first)
                let text = isWord ? rest.prefix { $0.utf8.allSatisfy(Word.isPart) } : rest.prefix(1)
                rest = rest.dropFirst(text.count)
                if text == " " { continue }
                tokens.append(Token(text: text, line: number + 1, isMember: tokens.last?.text == "."))
            }
        }
        return tokens
    }

    private func functionName(_ token: Token, next: Token?) -> String? {
        if token.isMember { return nil }
        switch token.text {
        case "func": return next.map { String($0.text) } ?? ""
        case "init": return next.map { "(<?!".contains($0.text) } == true ? "init" : nil
        case "deinit": return "deinit"
        default: return nil
        }
    }

    /// The index of the brace that opens the body, or nil when the declaration ends without one, as in a protocol.
    private func bodyStart(in tokens: ArraySlice<Token>) -> Int? {
        let next: Set<Substring> = [
            "func", "init", "deinit", "var", "let", "case", "subscript", "associatedtype", "static", "mutating",
            "public",
            "private", "package", "struct", "class", "enum", "extension", "import", "override", "fileprivate", "#",
        ]
        var depth = 0
        for (offset, token) in zip(tokens.indices, tokens) {
            switch token.text {
            case "(", "[": depth += 1
            case ")", "]": depth -= 1
            case "{" where depth == 0: return offset
            case "}" where depth == 0: return nil
            case let text where depth == 0 && !token.isMember && offset > tokens.startIndex && next.contains(text):
                return nil
            default: break
            }
        }
        return nil
    }

    private func closingLine(in tokens: ArraySlice<Token>) -> Int? {
        var depth = 0
        for token in tokens {
            if token.text == "{" { depth += 1 }
            if token.text == "}" {
                depth -= 1
                if depth == 0 { return token.line }
            }
        }
        return nil
    }
}
