import Testing

/// One rule of the code, with texts that prove that it still works.
struct Rule: Sendable, CustomTestStringConvertible {
    /// A sentence: what has to be so.
    let name: String
    /// What the rule objects to in one file.
    let check: @Sendable (SourceText) -> [Finding]
    /// Texts in each of which the rule must find something.
    let caught: [Sample]
    /// Texts that look alike and in which it must find nothing.
    let passed: [Sample]

    var testDescription: String { name }

    static let all = banned + [safetyLines, unsafeFence, forUnsafe] + sizes + structure + headers
}

/// A text as it would stand at `path`.
struct Sample: Sendable {
    let path: String
    let text: String

    init(_ path: String, _ text: String) {
        self.path = path
        self.text = text
    }

    var source: SourceText { SourceText(path: path, text: text) }
}

extension SourceText {
    var isSwift: Bool { path.hasSuffix(".swift") }

    /// One finding for each line of code for which `objects` is true.
    func findings(_ what: String, use replacement: String, where objects: (String) -> Bool) -> [Finding] {
        code.enumerated().filter { objects($0.element) }.map { finding($0.offset + 1, what, use: replacement) }
    }
}
