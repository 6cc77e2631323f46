extension Rule {
    static let sizes = [fileLength, functionLength, lineLength]

    private static let fileLength = Rule(
        name: "Files are short",
        check: { source in
            let count = source.lines.count
            let listed = Ratchets.fileLength[source.path]
            if count > Limits.longestFile {
                return [
                    source.finding(
                        count, "\(count) lines, and no file has more than \(Limits.longestFile)",
                        use: "use a file for each facet (`Type+Facet.swift`)")
                ]
            }
            guard source.isIn(["Sources"]) else { return [] }
            if let listed, count <= Limits.file {
                return [
                    source.finding(
                        count, "\(count) lines, and listed with \(listed)", use: "remove the entry in Ratchets.swift")
                ]
            }
            if count > listed ?? Limits.file {
                return [
                    source.finding(
                        count, "\(count) lines, and at most \(listed ?? Limits.file) are allowed",
                        use: "use a file for each facet (`Type+Facet.swift`)")
                ]
            }
            return []
        },
        caught: [
            Sample("Sources/A.swift", String(repeating: "a()\n", count: 301)),
            Sample("Tests/ATests/A.swift", String(repeating: "a()\n", count: 801)),
        ],
        passed: [
            Sample("Sources/A.swift", String(repeating: "a()\n", count: 300)),
            Sample("Tests/ATests/A.swift", String(repeating: "a()\n", count: 800)),
        ])

    private static let functionLength = Rule(
        name: "Functions are short",
        check: { source in
            guard source.isSwift else { return [] }
            return source.functions.compactMap { function in
                let entry = "\(source.path): \(function.name)"
                let allowed = Ratchets.functionLength[entry] ?? Limits.function
                if function.lineCount <= allowed { return nil }
                return source.finding(
                    function.start,
                    "`\(function.name)` has \(function.lineCount) lines, and at most \(allowed) are allowed",
                    use: "use a function for each step")
            }
        },
        caught: [
            Sample("Sources/A.swift", "func f() {\n" + String(repeating: "    a(\"}\") // }\n", count: 69) + "}\n"),
            Sample(
                "Sources/A.swift",
                "struct S {\n    init(\n        a: Int\n    ) {\n" + String(repeating: "a()\n", count: 68) + "}\n}\n"),
        ],
        passed: [
            Sample("Sources/A.swift", "func f() {\n" + String(repeating: "    a(\"{\") /* { */\n", count: 68) + "}\n"),
            Sample(
                "Sources/A.swift",
                "protocol P {\n    func f()\n    var a: Int { get }\n}\nstruct S {\n"
                    + String(repeating: "\n", count: 80) + "}\n"),
            Sample(
                "Sources/A.swift", "let a = S.init()\nlet b = [\n" + String(repeating: "    1,\n", count: 80) + "]\n"),
        ])

    private static let lineLength = Rule(
        name: "Lines fit in \(Limits.line) characters",
        check: { source in
            let long = source.lines.enumerated().filter { $0.element.count > Limits.line }
            let allowed = Ratchets.longLines[source.path] ?? 0
            if long.count == allowed { return [] }
            if long.count < allowed {
                return [source.finding(1, "only \(long.count) long lines", use: "lower the entry in Ratchets.swift")]
            }
            return long.map {
                source.finding($0.offset + 1, "\($0.element.count) characters", use: "use at most \(Limits.line)")
            }
        },
        caught: [Sample("Sources/CLinux/a.c", String(repeating: "a", count: 121) + "\n")],
        passed: [Sample("Sources/CLinux/a.c", String(repeating: "é", count: 120) + "\n")])
}
