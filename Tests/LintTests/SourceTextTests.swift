import Testing

@Suite struct SourceTextTests {
    /// The code of a line, with the blanks closed up.
    private func code(_ text: String, path: String = "a.swift") -> [String] {
        SourceText(path: path, text: text).code.map { $0.split(separator: " ").joined(separator: " ") }
    }

    @Test func `comments and strings are not code`() {
        #expect(code("a() // b\n\"c\" /* d /* e */ f */ g\n") == ["a()", "\" \" g"])
        #expect(code("let a = #\"b\"c\"# + d\n") == ["let a = #\" \"# + d"])
        #expect(code("let a = \"b\\\"c\" + d\n") == ["let a = \" \" + d"])
    }

    @Test func `an interpolation is code`() {
        #expect(code("\"a \\(b(\"c)\", d) ) e) f\" + g\n") == ["\" b(\" \", d) \" + g"])
        #expect(code("#\"a \\(b) \\#(c)\"#\n") == ["#\" c \"#"])
    }

    @Test func `a multi-line string ends at its three quotes`() {
        #expect(code("a = \"\"\"\n  b \" // c\n  \"\"\" + d\n") == ["a = \"\"\"", "", "\"\"\" + d"])
    }

    @Test func `a name that is a sentence is not code`() {
        #expect(code("func `it's \"odd\" // here`() { `default`() }\n") == ["func ` `() { `default`() }"])
    }

    @Test func `a character literal of C does not open a string`() {
        #expect(code("a = '\"'; b = '\\''; c\n", path: "a.c") == ["a = ' '; b = ' '; c"])
    }

    @Test func `comments are kept apart, on the same lines`() {
        let source = SourceText(path: "a.swift", text: "a // SAFETY: b\n/* c\nd */ e\n")
        #expect(
            source.comments.map { $0.split(separator: " ").joined(separator: " ") } == ["// SAFETY: b", "/* c", "d */"])
        #expect(source.lines.count == 3 && source.code.count == 3)
    }

    @Test func `functions are measured from their name to their brace`() {
        let source = SourceText(
            path: "a.swift",
            text: """
                protocol P {
                    func none()
                    init(a: Int)
                    func some<T>(a: T, b: () -> Void) async throws(E) -> [Int] where T: Q
                }
                struct S {
                    init?(a: Int = { 1 }()) {
                        self.init()
                    }
                    func outer(
                        a: Int
                    ) -> Int {
                        func inner() { a() }
                        return S.init().b { 1 }
                    }
                    deinit { c() }
                    static func + (a: S, b: S) -> S { a }
                }
                """)
        let found = source.functions.map { "\($0.name) \($0.start)-\($0.end)" }
        #expect(found == ["init 7-9", "outer 10-15", "inner 13-13", "deinit 16-16", "+ 17-17"])
    }

    @Test func `a word is found only as a word`() {
        #expect("let d = Date()".mentions("Date()"))
        #expect(!"update(); upDate()".mentions("Date()"))
        #expect("DispatchSourceTimer".mentions("DispatchSource*"))
        #expect(!"unsafely notunsafe unsafe_".mentions("unsafe"))
        #expect("a.random(in: b)".mentions(".random(*"))
        #expect(!"".mentions("a"))
    }
}
