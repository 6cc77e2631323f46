extension Rule {
    /// How far above a line of `unsafe` its reason may stand when it does not stand in the same function.
    private static let reach = 12

    static let safetyLines = Rule(
        name: "Every line with `unsafe` has its reason above it",
        check: { source in
            guard source.isSwift, source.isIn(["Sources"]) else { return [] }
            let missing = source.unsafeLines.subtracting(source.justifiedLines(reach: reach))
            let allowed = Ratchets.unjustifiedUnsafeLines[source.path] ?? 0
            if missing.count == allowed { return [] }
            if missing.count < allowed {
                return [
                    source.finding(
                        1, "only \(missing.count) lines of `unsafe` lack a reason",
                        use: "lower the entry in Ratchets.swift")
                ]
            }
            return missing.sorted().map {
                source.finding(
                    $0, "`unsafe` without a reason",
                    use: "write a `// SAFETY:` comment above it in the same function, or within \(reach) lines; "
                        + "one that speaks for the rest of its file begins `// SAFETY (below):`")
            }
        },
        caught: [
            Sample("Sources/Reactors/Ring/A.swift", "func f() {\n    unsafe g()\n}\n"),
            Sample(
                "Sources/Reactors/Ring/A.swift",
                "func e() {\n    // SAFETY: of another function.\n" + String(repeating: "    h()\n", count: 12)
                    + "}\nfunc f() {\n    unsafe g()\n}\n"),
        ],
        passed: [
            Sample("Sources/Reactors/Ring/A.swift", "func f() {\n    // SAFETY: it is ours.\n    unsafe g()\n}\n"),
            Sample(
                "Sources/Reactors/Ring/A.swift",
                "func f() {\n    // SAFETY: all of it is ours.\n" + String(repeating: "    h()\n", count: 20)
                    + "    unsafe g()\n}\n"),
            Sample("Sources/Reactors/Ring/A.swift", "/// SAFETY: whole.\n/// More.\nfunc f() {\n    unsafe g()\n}\n"),
            Sample(
                "Sources/Reactors/Ring/A.swift",
                "// SAFETY (below): all of it is ours.\n" + String(repeating: "h()\n", count: 20)
                    + "func f() {\n    unsafe g()\n}\n"),
            Sample("Sources/Reactors/Ring/A.swift", "// unsafe\nlet text = \"unsafe\", unsafely = 1\n"),
        ])

    /// The folders and files that may hold `unsafe`. Of the protection of blocks, which is arithmetic over memory, only
    /// the file that walks the segments an I/O was given.
    private static let fence =
        ["Ring", "Memory", "Executor", "Reactor", "Backend", "Topology", "Pollers", "Files"].map {
            "Sources/Reactors/\($0)"
        }
        + [
            "Sources/CLinux", "Sources/Bdev/Request", "Sources/Bdev/Protection/SegmentCursor.swift",
            "Sources/NVMeDriver/VFIO", "Sources/NVMeDriver/MMIO", "Sources/NVMeDriver/Kernel",
        ]

    static let unsafeFence = Rule(
        name: "`unsafe` stays in the folders that are there for it",
        check: { source in
            guard source.isSwift, source.isIn(["Sources", "Examples"]), !source.isIn(fence) else { return [] }
            return source.unsafeLines.sorted().map {
                source.finding(
                    $0, "`unsafe` outside of its folders",
                    use: "use a safe type of Reactors/Memory, or move the code (CONTRIBUTING.md names the folders)"
                )
            }
        },
        caught: [
            Sample("Sources/Bdev/Channel/A.swift", "unsafe g()\n"),
            Sample("Sources/Bdev/Protection/A.swift", "unsafe g()\n"),
            Sample("Sources/Modules/Null/A.swift", "nonisolated(unsafe) var a = 1\n"),
            Sample("Examples/Hello/main.swift", "unsafe g()\n"),
        ],
        passed: [
            Sample("Sources/Bdev/Request/A.swift", "unsafe g()\n"),
            Sample("Sources/Reactors/Ring/A.swift", "unsafe g()\n"),
            Sample("Sources/Bdev/Channel/A.swift", "// unsafe\n"),
            Sample(
                "Sources/Bdev/Channel/A.swift",
                "nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe home.asUnownedSerialExecutor() }\n"),
        ])

    static let forUnsafe = Rule(
        name: "No loop is written `for unsafe`",
        check: { source in
            guard source.isSwift else { return [] }
            return source.findings(
                "swift-format makes one word of `for unsafe x`",
                use: "use `while let x = unsafe list.popLast()` or indices"
            ) { $0.mentions("for unsafe") }
        },
        caught: [Sample("Sources/A.swift", "for unsafe x in unsafe list {}\n")],
        passed: [Sample("Sources/A.swift", "for index in unsafe list.indices {}\n")])
}

extension SourceText {
    /// Without the one line that an actor with an executor of its own cannot spell otherwise.
    fileprivate var unsafeLines: Set<Int> {
        Set(
            code.indices.filter { code[$0].mentions("unsafe") && !code[$0].mentions("unownedExecutor") }
                .map { $0 + 1 })
    }

    /// The lines that a `SAFETY:` comment speaks for.
    fileprivate func justifiedLines(reach: Int) -> Set<Int> {
        var justified: Set<Int> = []
        let functions = functions
        if let first = comments.firstIndex(where: { $0.contains("SAFETY (below):") }), first < comments.count {
            justified.formUnion(first + 1...comments.count)
        }
        for (index, comment) in comments.enumerated() where comment.contains("SAFETY:") {
            let line = index + 1
            justified.formUnion(line...line + reach)
            for function in functions where headStart(of: function) <= line && line <= function.end {
                justified.formUnion(line...function.end)
            }
        }
        return justified
    }

    /// The first line of the comments and attributes that stand right above a function.
    private func headStart(of function: Function) -> Int {
        var line = function.start
        while line > 1 {
            let above = code[line - 2].filter { $0 != " " }
            let isComment = above.isEmpty && !comments[line - 2].allSatisfy { $0 == " " }
            if !isComment && !above.hasPrefix("@") { break }
            line -= 1
        }
        return line
    }
}
