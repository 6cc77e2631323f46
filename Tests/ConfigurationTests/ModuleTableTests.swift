import Bdev
import BdevConfiguration
import DelayBdev
import ErrorBdev
import Foundation
import LogBdev
import MallocBdev
import NVMeBdev
import NVMeSoftController
import NullBdev
import PassthruBdev
import Reactors
import SplitBdev
import Testing
import UringBdev
import ZoneBlockBdev

/// The table of `docs/modules.md`, made from what the modules' bdevs say.
@Suite("The page about the modules")
struct ModuleTableTests {
    private static let page = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "docs/modules.md")
    private static let marks = (begin: "<!-- I/O types: begin -->\n", end: "<!-- I/O types: end -->\n")

    /// How a module does a kind of I/O.
    private enum Answer: String {
        case native
        case layer
        case no = "–"
        case asBase = "as its base"

        init(_ type: IOType, of descriptor: BdevDescriptor) {
            self = descriptor.supportsNatively(type) ? .native : descriptor.supports(type) ? .layer : .no
        }

        /// Of a module whose bdev gives one answer on a base that does everything itself, and another on one that does
        /// nothing.
        init(onEverything: Answer, onNothing: Answer) {
            if onEverything == onNothing {
                self = onEverything
            } else {
                self = onEverything == .native ? .asBase : .layer
            }
        }
    }

    @Test func `shows what the modules say of themselves`() async throws {
        let made = try await Self.table()
        let text = String(decoding: try Data(contentsOf: Self.page), as: UTF8.self)
        let begin = try #require(text.range(of: Self.marks.begin)), end = try #require(text.range(of: Self.marks.end))
        if text[begin.upperBound..<end.lowerBound] == made { return }
        if ProcessInfo.processInfo.environment["UPDATE_DOCS"] != nil {
            let new = text[..<begin.upperBound] + made + text[end.lowerBound...]
            try Data(new.utf8).write(to: Self.page)
            return
        }
        Issue.record(
            """
            the table in docs/modules.md is not what the modules say. To write it again:
            UPDATE_DOCS=1 Scripts/run-tests --filter ModuleTableTests
            """)
    }

    @Test func `tells of every module and every method that makes its bdevs`() throws {
        let text = String(decoding: try Data(contentsOf: Self.page), as: UTF8.self)
        let prefixes = [
            "null", "malloc", "uring", "aio", "passthru", "split", "delay", "error", "zone_block", "log", "nvme",
        ]
        let methods = StandardModules().methods.names.filter { name in
            prefixes.contains { name.hasPrefix("bdev_\($0)_") }
        }
        #expect(methods.count > 20)
        for method in methods { #expect(text.contains("`\(method)`"), "docs/modules.md does not name \(method)") }
    }

    // MARK: Making the table

    private static func table() async throws -> String {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules(), bases = BaseModule()
        let result: Result<String, any Error>
        do {
            try await modules.register(with: engine)
            try await engine.register(bases)
            result = .success(try await table(engine, modules, bases))
        } catch {
            result = .failure(error)
        }
        await engine.stop()
        await group.shutDown()
        return try result.get()
    }

    private static func table(
        _ engine: BdevEngine, _ modules: StandardModules, _ bases: BaseModule
    ) async throws -> String {
        var columns: [(module: String, answers: [Answer])] = []
        let file = FileManager.default.temporaryDirectory.appending(path: "modules-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        try await modules.null.create(.init(name: "null", blockCount: 8))
        try await modules.malloc.create(.init(name: "malloc", blockCount: 8))
        var uring = UringModule.Options(name: "uring", path: file)
        uring.byteCount = 1 << 20
        try await modules.uring.create(uring)
        for name in ["null", "malloc", "uring"] { columns.append((name, try await answers(name, engine))) }
        columns.append(("nvme", try await nvme(engine, modules)))
        for module in ["passthru", "split", "delay", "error", "zone_block", "log"] {
            var found: [[Answer]] = []
            for (suffix, types) in [("everything", IOTypes(IOType.allCases.map(IOTypes.init))), ("nothing", [])] {
                let base = "\(module)-\(suffix)"
                try await bases.create(base, types)
                found.append(try await answers(try await make(module, on: base, modules), engine))
            }
            columns.append((module, zip(found[0], found[1]).map { Answer(onEverything: $0, onNothing: $1) }))
        }
        var lines = ["| | " + columns.map(\.module).joined(separator: " | ") + " |"]
        lines.append("| --- |" + String(repeating: " --- |", count: columns.count))
        for (index, type) in IOType.allCases.enumerated() {
            lines.append("| \(type) | " + columns.map { $0.answers[index].rawValue }.joined(separator: " | ") + " |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Of a controller that has every optional command the soft one knows.
    private static func nvme(_ engine: BdevEngine, _ modules: StandardModules) async throws -> [Answer] {
        let reactor = engine.reactors[0]
        let soft = try await reactor.run { local in
            var options = SoftController.Options()
            options.namespaces = [SoftNamespaceOptions(blockCount: 1024)]
            options.resetsSubsystem = true
            return try SoftController(options, on: local)
        }
        _ = try await modules.nvme.add(try await soft.attach(on: reactor), as: "nvme")
        let result = try await answers("nvmen1", engine)
        try await modules.nvme.detach("nvme")
        await soft.powerOff()
        return result
    }

    private static func answers(_ bdev: String, _ engine: BdevEngine) async throws -> [Answer] {
        let descriptor = try await engine.open(bdev)
        let answers = IOType.allCases.map { Answer($0, of: descriptor) }
        await descriptor.close()
        return answers
    }

    /// The name of the bdev that a module has made on a base.
    private static func make(_ module: String, on base: String, _ modules: StandardModules) async throws -> String {
        let name = "\(module) on \(base)"
        switch module {
        case "passthru": try await modules.passthru.create(name, on: base)
        case "split": return try await modules.split.create(on: base, count: 1)[0]
        case "delay": try await modules.delay.create(.init(name: name, base: base))
        case "error":
            try await modules.error.create(on: base)
            return "EE_\(base)"
        case "zone_block": try await modules.zoneBlock.create(.init(name: name, base: base, zoneCapacity: 16))
        default: try await modules.log.create(.init(name: name, base: base, log: .memory(byteCount: 1 << 20)))
        }
        return name
    }
}

/// Makes bdevs that say they do some kinds of I/O. Nothing is done with them.
private final class BaseModule: BdevModule {
    let name = "base"
    private let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(_ name: String, _ types: IOTypes) async throws(BdevError) {
        let geometry = BdevGeometry(blockByteCount: 512, blockCount: 1024)
        try await host.value.register(
            BdevProperties(name: name, productName: "Base", geometry: geometry, supportedTypes: types),
            driver: Nothing())
    }

    private final class Nothing: BdevDriver {
        func makeChannel(
            on local: isolated LocalReactor, requests: RequestTable
        ) async throws(BdevError) -> BdevModuleChannel { throw BdevError(.notSupported, "there is nothing here") }
    }
}
