import Testing

@Suite struct LintTests {
    @Test func `the source tree is found`() {
        let paths = SourceTree.files.map(\.path)
        #expect(paths.contains("Package.swift"))
        #expect(paths.contains { $0.hasPrefix("Sources/Reactors/") })
        #expect(paths.contains { $0.hasPrefix("Sources/CLinux/include/") })
        #expect(paths.contains("Tests/LintTests/LintTests.swift"))
    }

    @Test(arguments: Rule.all) func `the source tree keeps the rule`(_ rule: Rule) {
        let findings = SourceTree.files.flatMap(rule.check)
        if findings.isEmpty { return }
        Issue.record("\(findings.count) findings:\n\(Self.list(findings))")
    }

    @Test func `no ratchet speaks of a file that is gone`() {
        let paths = Set(SourceTree.files.map(\.path))
        let listed =
            Array(Ratchets.fileLength.keys) + Array(Ratchets.unjustifiedUnsafeLines.keys)
            + Array(Ratchets.longLines.keys)
            + Ratchets.functionLength.keys.map { String($0.prefix { $0 != ":" }) }
        #expect(listed.filter { !paths.contains($0) } == [])
    }

    @Test(arguments: Rule.all) func `a rule finds what it is there for`(_ rule: Rule) {
        #expect(!rule.caught.isEmpty && !rule.passed.isEmpty, "a rule without samples can rot")
        for sample in rule.caught {
            if !rule.check(sample.source).isEmpty { continue }
            Issue.record("not caught in \(sample.path):\n\(sample.text)")
        }
    }

    @Test(arguments: Rule.all) func `a rule lets pass what only looks alike`(_ rule: Rule) {
        for sample in rule.passed {
            let findings = rule.check(sample.source)
            if findings.isEmpty { continue }
            Issue.record("\(Self.list(findings)) in \(sample.path):\n\(sample.text)")
        }
    }

    @Test func `a finding says where, what and what to use instead`() {
        let source = SourceText(path: "Sources/Bdev/A.swift", text: "let a = 1\nlet b = try! f()\n")
        let findings = Rule.banned.flatMap { $0.check(source) }.map(\.description)
        #expect(
            findings == [
                "Sources/Bdev/A.swift:2: `try!` turns an operating error into a trap that does not explain itself; "
                    + "use a typed `throws`, or `do`/`catch` with a message"
            ])
    }

    private static func list(_ findings: [Finding]) -> String {
        findings.map(\.description).joined(separator: "\n")
    }
}
