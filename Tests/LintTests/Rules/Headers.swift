extension Rule {
    static let headers = [cPrefixes, cIncludes]

    private static let cPrefixes = Rule(
        name: "Every C name that others see is prefixed",
        check: { source in
            guard source.isIn(["Sources/CLinux/include"]) else { return [] }
            return source.declaredCNames.filter { !$0.name.lowercased().hasPrefix("clinux_") }.map {
                source.finding($0.line, "`\($0.name)` has no prefix", use: "use `clinux_\($0.name)`")
            }
        },
        caught: [
            Sample("Sources/CLinux/include/a.h", "int ring_enter(int fd);\n"),
            Sample("Sources/CLinux/include/a.h", "static inline void spin(void) { pause(); }\n"),
            Sample("Sources/CLinux/include/a.h", "#define RING_SIZE 3\n"),
            Sample("Sources/CLinux/include/a.h", "struct ring {\n    int fd;\n};\n"),
            Sample("Sources/CLinux/include/a.h", "typedef struct clinux_ring ring_t;\n"),
            Sample("Sources/CLinux/include/a.h", "typedef struct { int a; } pair;\n"),
            Sample("Sources/CLinux/include/a.h", "typedef void (*callback)(int fd);\n"),
            Sample("Sources/CLinux/include/a.h", "enum clinux_kind {\n    CLINUX_ONE = 1,\n    TWO\n};\n"),
        ],
        passed: [
            Sample(
                "Sources/CLinux/include/a.h",
                """
                #ifndef CLINUX_A_H
                #define CLINUX_A_H
                #include <stdint.h>
                #include "clinux_b.h"
                /// enter(fd)
                struct iovec;
                struct clinux_ring {
                    int (*close)(int fd);
                    struct { int a; } b;
                };
                typedef struct clinux_ring clinux_ring;
                typedef struct { int a; } clinux_pair;
                #define _GNU_SOURCE
                typedef void (*clinux_callback)(void *context);
                enum { CLINUX_ONE, CLINUX_TWO = 2 };
                int clinux_enter(struct clinux_ring *ring, const struct iovec *vectors) __attribute__((nonnull(1)));
                static inline int clinux_fd(void) { return getpid(); }
                _Static_assert(sizeof(int) == 4, "int");
                #endif
                """),
            Sample("Sources/CLinux/a.c", "static int helper(void) { return 1; }\n"),
        ])

    private static let cIncludes = Rule(
        name: "The headers of other libraries are included in .c files only",
        check: { source in
            guard source.isIn(["Sources/CLinux/include"]) else { return [] }
            return source.findings(
                "a header of ours includes another library's",
                use: "use an opaque handle here, and include it in the .c file"
            ) { line in
                line.mentions("include") && ["liburing", "numa", "numaif", "blkid"].contains(where: line.mentions)
            }
        },
        caught: [
            Sample("Sources/CLinux/include/a.h", "#include <liburing.h>\n"),
            Sample("Sources/CLinux/include/a.h", "#include <blkid/blkid.h>\n"),
        ],
        passed: [
            Sample("Sources/CLinux/include/a.h", "#include <stdint.h>\n// #include <liburing.h>\n"),
            Sample("Sources/CLinux/a.c", "#include <liburing.h>\n"),
        ])
}

extension SourceText {
    /// The names that a header declares: functions, types, enumerators and macros.
    fileprivate var declaredCNames: [(name: String, line: Int)] {
        var names: [(String, Int)] = []
        var statement: [String] = []
        var depth = 0
        var isInEnumeration = false
        var isInTypedef = false
        for (index, line) in code.enumerated() {
            let trimmed = line.drop { $0 == " " }
            if trimmed.hasPrefix("#") {
                let words = Word.words(of: line)
                if words.first?.text == "define", words.count > 1, !Self.isFeatureTest(words[1].text) {
                    names.append((words[1].text, index + 1))
                }
                continue
            }
            for token in Self.cTokens(of: line) {
                if depth == 1, isInEnumeration, [",", "}"].contains(token) {
                    if let name = statement.first { names.append((name, index + 1)) }
                    statement = []
                }
                switch token {
                case "{":
                    depth += 1
                    if depth == 1 {
                        isInEnumeration = statement.contains("enum")
                        isInTypedef = statement.first == "typedef"
                        if let name = Self.cName(of: statement, hasBody: true) { names.append((name, index + 1)) }
                        statement = []
                    }
                case "}":
                    depth -= 1
                    if depth == 0 { statement = isInTypedef ? ["typedef"] : [] }
                case ";":
                    if depth == 0 {
                        if let name = Self.cName(of: statement, hasBody: false) { names.append((name, index + 1)) }
                        statement = []
                    }
                default:
                    if depth == 0 || depth == 1 && isInEnumeration && token != "," { statement.append(token) }
                }
            }
        }
        return names
    }

    /// `_GNU_SOURCE` and the like, which ask the C library for more.
    private static func isFeatureTest(_ macro: String) -> Bool { macro.hasPrefix("_") && macro.hasSuffix("_SOURCE") }

    private static func cTokens(of line: String) -> [String] {
        var tokens: [String] = []
        var word = ""
        for character in line {
            if character == "_" || character.isLetter || character.isNumber {
                word.append(character)
                continue
            }
            if !word.isEmpty { tokens.append(word) }
            word = ""
            if character != " " { tokens.append(String(character)) }
        }
        if !word.isEmpty { tokens.append(word) }
        return tokens
    }

    /// The name a statement declares, or nil when it declares none of ours.
    private static func cName(of statement: [String], hasBody: Bool) -> String? {
        let notNames: Set = [
            "__attribute__", "_Static_assert", "static_assert", "_Alignas", "alignas", "__asm__", "extern",
        ]
        guard let first = statement.first, !["_Static_assert", "static_assert"].contains(first) else { return nil }
        if first == "extern", statement.contains("\"") { return nil }
        if first == "typedef" {
            if hasBody { return nil }
            if let star = zip(statement, statement.dropFirst()).enumerated().first(where: { $0.element == ("(", "*") })
            {
                return statement.dropFirst(star.offset + 2).first
            }
            return statement.last { $0.first?.isLetter == true || $0.first == "_" }
        }
        for (word, next) in zip(statement, statement.dropFirst()) where next == "(" {
            if word.first?.isLetter == true || word.first == "_", !notNames.contains(word) { return word }
        }
        guard hasBody, let kind = statement.firstIndex(where: ["struct", "union", "enum"].contains) else { return nil }
        return statement[(kind + 1)...].first
    }
}
