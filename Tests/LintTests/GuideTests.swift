import Testing

@Suite("The guide") struct GuideTests {
    @Test(arguments: ["PatternModule.swift", "SlowModule.swift"])
    func `shows code that the example package compiles and tests`(_ name: String) throws {
        let guide = try SourceTree.text(of: "Sources/Bdev/Bdev.docc/WritingAModule.md")
        let source = try SourceTree.text(of: "Examples/ExternalModule/Sources/PatternBdev/\(name)")
        let shown = guide.codeBlocks
        #expect(shown.count == 2)
        #expect(shown.contains { source.contains($0) }, "\(name) and the guide differ: make them the same again")
    }

    @Test func `shows a virtual module that the example package compiles and tests`() throws {
        let guide = try SourceTree.text(of: "Sources/Bdev/Bdev.docc/WritingAVirtualModule.md")
        let source = try SourceTree.text(of: "Examples/ExternalModule/Sources/MirrorBdev/MirrorModule.swift")
        #expect(guide.codeBlocks.count == 1)
        #expect(guide.codeBlocks.allSatisfy { source == $0 + "\n" }, "the module and the guide differ")
    }

    @Test(arguments: ["README.md", "Sources/Bdev/Bdev.docc/Bdev.md"])
    func `begins with the program that is the example`(_ page: String) throws {
        let source = try SourceTree.text(of: "Examples/HelloBdev/main.swift")
        let shown = try SourceTree.text(of: page).codeBlocks
        #expect(shown.contains { source.contains($0) }, "\(page) and the example differ: make them the same again")
    }
}

extension String {
    /// What stands between the fences of its Swift code blocks.
    fileprivate var codeBlocks: [String] {
        var blocks: [String] = [], block: [Substring]?
        for line in split(separator: "\n", omittingEmptySubsequences: false) {
            if line == "```swift" {
                block = []
            } else if line == "```", let lines = block {
                blocks.append(lines.joined(separator: "\n"))
                block = nil
            } else {
                block?.append(line)
            }
        }
        return blocks
    }
}
