import Bdev
import Foundation
import Reactors
import Testing

/// What the compiler must refuse: each program is one mistake away from the one that compiles.
@Suite("Misuse does not compile") struct MisuseTests {
    struct Program: CustomTestStringConvertible, Sendable {
        let name: String
        let body: String
        /// A part of the compiler's sentence; nil: it compiles.
        let refusal: String?
        var testDescription: String { name }
    }

    static let programs = [
        Program(
            name: "a read, a look at the buffer and a write",
            body: """
                func use(channel: isolated BdevChannel) async throws {
                    var buffer = try channel.allocateBuffer(byteCount: 4096)
                    try await channel.read(at: .block(0), into: &buffer)
                    buffer.fill(with: 1)
                    try await channel.write(from: buffer, at: .block(8))
                }
                """, refusal: nil),
        Program(
            name: "touching a buffer while a read into it is in flight",
            body: """
                func use(channel: isolated BdevChannel) async throws {
                    var buffer = try channel.allocateBuffer(byteCount: 4096)
                    async let read: Void = channel.read(at: .block(0), into: &buffer)
                    buffer.fill(with: 1)
                    try await read
                }
                """, refusal: "sending 'buffer' risks causing data races"),
        Program(
            name: "two reads into one buffer",
            body: """
                func use(channel: isolated BdevChannel) async throws {
                    var buffer = try channel.allocateBuffer(byteCount: 4096)
                    async let first: Void = channel.read(at: .block(0), into: &buffer)
                    async let second: Void = channel.read(at: .block(8), into: &buffer)
                    _ = try await (first, second)
                }
                """, refusal: "risks causing data races"),
        Program(
            name: "a copy of a buffer", body: "func use(buffer: borrowing IOBuffer) { let copy = buffer; _ = copy }",
            refusal: "'buffer' is borrowed and cannot be consumed"),
        Program(
            name: "the synchronous face from outside the reactor",
            body: "func use(channel: BdevChannel) -> EngineChannel { channel.engine }",
            refusal: "actor-isolated property 'engine' can not be referenced"),
        Program(
            name: "a synchronous face that leaves its reactor",
            body: "func use(channel: BdevChannel) async { let face = await channel.engine; _ = face }",
            refusal: "non-Sendable type 'EngineChannel'"),
        Program(
            name: "a bare integer as an offset",
            body: """
                func use(channel: isolated BdevChannel, buffer: borrowing IOBuffer) async throws {
                    try await channel.write(from: buffer, at: 8)
                }
                """, refusal: "cannot convert value of type 'Int' to expected argument type 'BdevOffset'"),
        Program(
            name: "a request completed once",
            body: """
                final class Channel: BdevModuleChannel {
                    override func submit(_ request: consuming IORequest) { request.complete() }
                }
                """, refusal: nil),
        Program(
            name: "a request completed twice",
            body: """
                final class Channel: BdevModuleChannel {
                    override func submit(_ request: consuming IORequest) {
                        request.complete()
                        request.complete()
                    }
                }
                """, refusal: "'request' consumed more than once"),
    ]

    @Test(arguments: programs) func `the compiler's answer is the right one`(_ program: Program) throws {
        let folder = URL.temporaryDirectory.appending(path: "swift-bdev-misuse-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "program.swift")
        try Data("import Bdev\nimport Reactors\n\(program.body)\n".utf8).write(to: file)
        let (status, output) = try Compiler.compile(file)
        if let refusal = program.refusal {
            #expect(status != 0, "\(program.name) compiles:\n\(program.body)")
            #expect(output.contains(refusal), "\(program.name) is refused with other words:\n\(output)")
        } else {
            #expect(status == 0, "\(program.name) does not compile:\n\(output)")
        }
    }
}

/// The compiler that built this test, and the modules it built.
private enum Compiler {
    static func compile(_ file: URL) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments =
            [
                "swiftc", "-emit-sil", "-o", "/dev/null", "-swift-version", "6", "-enable-upcoming-feature",
                "NonisolatedNonsendingByDefault", "-I", modules.path,
            ] + moduleMaps.flatMap { ["-Xcc", "-fmodule-map-file=\($0.path)"] } + [file.path]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }

    /// Where SwiftPM put this test's products.
    private static let products: URL = {
        let executable = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        return executable.deletingLastPathComponent()
    }()

    private static let modules = products.appending(path: "Modules")

    private static let moduleMaps: [URL] = {
        let sources = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let scratch = products.deletingLastPathComponent().deletingLastPathComponent()
        return [
            sources.appending(path: "Sources/CLinux/include/module.modulemap"),
            products.appending(path: "CLinux.build/module.modulemap"),
            scratch.appending(path: "checkouts/swift-system/Sources/CSystem/include/module.modulemap"),
        ].filter { FileManager.default.fileExists(atPath: $0.path) }
    }()
}
