extension Rule {
    static let structure = [layers, siblings, notes, publicUnderscores, unsafeFlags]

    /// What everything above CLinux may import besides the layers named in `layerImports`.
    private static let commonImports: Set<String> = [
        "Synchronization", "SystemPackage", "BasicContainers", "BitCollections", "Collections", "ContainersPreview",
        "DequeModule", "HashTreeCollections", "HeapModule", "OrderedCollections", "_RopeModule",
    ]

    /// The layers, from the bottom up, and what each may import besides `commonImports`.
    private static let layerImports: [(folder: String, imports: Set<String>)] = [
        ("Sources/Reactors", ["CLinux", "Glibc"]),
        ("Sources/SimulatedReactors", ["Reactors"]),
        ("Sources/Bdev", ["Reactors", "Logging"]),
        ("Sources/NVMeDriver", ["Reactors", "CLinux", "Logging"]),
        ("Sources/Modules/NVMe", ["Bdev", "Reactors", "NVMeDriver", "Logging"]),
        ("Sources/Modules", ["Bdev", "Reactors", "Logging"]),
        ("Sources/Exports", ["Bdev", "Reactors", "Logging"]),
    ]

    /// The umbrella over the modules is the one that may name them all.
    private static let umbrella = "Sources/Modules/BdevModules"

    private static let layers = Rule(
        name: "Imports point down",
        check: { source in
            guard source.isSwift, !source.isIn([umbrella]) else { return [] }
            if source.isIn(["Examples"]) {
                return source.imports.filter { $0.module == "CLinux" }.map {
                    source.finding($0.line, "an example imports CLinux, which is not public", use: "use the products")
                }
            }
            guard let layer = layerImports.first(where: { source.isIn([$0.folder]) }) else { return [] }
            let allowed = layer.imports.union(commonImports)
            let names = layer.imports.sorted().joined(separator: ", ")
            return source.imports.filter { !allowed.contains($0.module) && !$0.isSibling(in: source) }.map {
                source.finding(
                    $0.line, "\(layer.folder) imports \($0.module)",
                    use: "use only \(names), Synchronization, SystemPackage and collections"
                )
            }
        },
        caught: [
            Sample("Sources/Reactors/A.swift", "import Bdev\n"),
            Sample("Sources/Bdev/A.swift", "internal import CLinux\n"),
            Sample("Sources/Bdev/A.swift", "@preconcurrency public import struct NIOCore.ByteBuffer\n"),
            Sample("Sources/Modules/Null/A.swift", "import NVMeDriver\n"),
            Sample("Sources/NVMeDriver/A.swift", "import Bdev\n"),
            Sample("Examples/A/main.swift", "import CLinux\n"),
        ],
        passed: [
            Sample("Sources/Reactors/A.swift", "import CLinux\nimport Synchronization\npublic import SystemPackage\n"),
            Sample("Sources/Bdev/A.swift", "import Reactors\nimport Logging\n// import CLinux\n"),
            Sample("Sources/Modules/NVMe/A.swift", "import Bdev\nimport NVMeDriver\n"),
            Sample("Sources/Tools/A.swift", "import ArgumentParser\nimport NullBdev\n"),
        ])

    private static let siblings = Rule(
        name: "No module imports another",
        check: { source in
            guard source.isSwift, !source.isIn([umbrella]) else { return [] }
            return source.imports.filter { $0.isSibling(in: source) }.map {
                source.finding(
                    $0.line, "a module imports its sibling \($0.module)",
                    use: "use `Bdev`: open the other bdev by name, or move what both need down into Bdev")
            }
        },
        caught: [
            Sample("Sources/Modules/Malloc/A.swift", "import NullBdev\n"),
            Sample("Sources/Modules/Uring/A.swift", "internal import MallocBdev\n"),
        ],
        passed: [
            Sample("Sources/Modules/Malloc/A.swift", "import Bdev\n"),
            Sample("Sources/Control/A.swift", "import NullBdev\n"),
        ])

    private static let notes = Rule(
        name: "No note is left for later",
        check: { source in
            ["TODO", "FIXME", "XXX"].flatMap { note in
                source.comments.enumerated().filter { $0.element.mentions(note) }.map {
                    source.finding($0.offset + 1, "\(note) in a comment", use: "finish it, or use an issue")
                }
            }
        },
        caught: ["TODO: later", "FIXME", "a XXX b"].flatMap {
            [Sample("Sources/A.swift", "let a = 1  // \($0)\n"), Sample("Sources/CLinux/a.c", "/* \($0) */\n")]
        },
        passed: [Sample("Sources/A.swift", "let a = \"TODO\"  // TODOs are not TODO_LIST\n")])

    private static let publicUnderscores = Rule(
        name: "Nothing public begins with an underscore",
        check: { source in
            guard source.isSwift, source.isIn(["Sources"]) else { return [] }
            let kinds: Set = [
                "func", "var", "let", "struct", "class", "enum", "actor", "protocol", "typealias", "macro",
                "associatedtype",
            ]
            return source.findings(
                "a public name that begins with an underscore", use: "use `package`, or a name without"
            ) { line in
                let words = Word.words(of: line)
                guard let access = words.firstIndex(where: { $0.text == "public" || $0.text == "open" }) else {
                    return false
                }
                return zip(words[access...], words[access...].dropFirst()).contains {
                    kinds.contains($0.text) && $1.text.hasPrefix("_") && $1.text != "_"
                }
            }
        },
        caught: [
            Sample("Sources/A.swift", "public func _f() {}\n"),
            Sample("Sources/A.swift", "@safe public final class _C {}\n"),
            Sample("Sources/A.swift", "public private(set) var _a = 1\n"),
        ],
        passed: [
            Sample("Sources/A.swift", "public func f(_ a: Int) {}\npublic var b: Int { _b }\npackage func _f() {}\n")
        ])

    private static let unsafeFlags = Rule(
        name: "The manifests have no unsafe flags",
        check: { source in
            guard source.path == "Package.swift" || source.path.hasSuffix("/Package.swift") else { return [] }
            return source.findings(
                "`unsafeFlags` makes a package that nobody can depend upon",
                use: "use a setting of the manifest, or the Makefile"
            ) { $0.mentions("unsafeFlags") }
        },
        caught: [Sample("Package.swift", "swiftSettings: [.unsafeFlags([\"-O\"])]\n")],
        passed: [Sample("Package.swift", "// unsafeFlags\nswiftSettings: [.strictMemorySafety()]\n")])
}

private struct Import {
    let module: String
    let line: Int

    /// Whether this is a module of Sources/Modules other than the one that `source` belongs to.
    func isSibling(in source: SourceText) -> Bool {
        let parts = source.path.split(separator: "/")
        guard parts.count > 3, parts[0] == "Sources", parts[1] == "Modules" else { return false }
        return module.hasSuffix("Bdev") && module != "Bdev" && module != parts[2] + "Bdev"
    }
}

extension SourceText {
    fileprivate var imports: [Import] {
        let kinds: Set = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias", "actor"]
        let leading: Set = [
            "public", "package", "internal", "fileprivate", "private", "testable", "preconcurrency", "_exported",
            "_spi", "_implementationOnly",
        ]
        return code.enumerated().compactMap { number, line in
            let words = Word.words(of: line).map(\.text)
            guard let keyword = words.firstIndex(of: "import"), words[..<keyword].allSatisfy(leading.contains) else {
                return nil
            }
            let rest = words[(keyword + 1)...].drop(while: kinds.contains)
            return rest.first.map { Import(module: $0, line: number + 1) }
        }
    }
}
