import Foundation

/// A program of the package, run as a user would run it. It is found beside the test bundle, where the build puts both.
struct Program {
    let name: String

    struct Result {
        var status: Int32
        /// Whether a signal ended it.
        var crashed: Bool
        var output: String
        var errors: String

        var errorLines: [Substring] { errors.split(separator: "\n") }
        var json: [String: Any]? { (try? JSONSerialization.jsonObject(with: Data(output.utf8))) as? [String: Any] }
        var jobs: [[String: Any]] { json?["jobs"] as? [[String: Any]] ?? [] }
    }

    private static let folder = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()

    /// - Parameters:
    ///   - core: the only core it may use; nil: any.
    ///   - signals: what is sent to it, and after how long.
    func run(
        _ arguments: [String], core: Int? = nil, signals: [(after: TimeInterval, number: Int32)] = []
    ) throws -> Result {
        let process = Process()
        let program = Self.folder.appending(path: name)
        process.executableURL = core == nil ? program : URL(filePath: "/usr/bin/taskset")
        process.arguments = (core.map { ["-c", String($0), program.path()] } ?? []) + arguments
        process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        let output = Pipe()
        let errors = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        for signal in signals {
            Thread.sleep(forTimeInterval: signal.after)
            kill(process.processIdentifier, signal.number)
        }
        // Errors are a few lines, which fit the pipe while the output is read.
        let text = output.fileHandleForReading.readDataToEndOfFile()
        let errorText = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, crashed: process.terminationReason == .uncaughtSignal,
            output: String(decoding: text, as: UTF8.self), errors: String(decoding: errorText, as: UTF8.self))
    }

    /// bdevperf, beside whatever else runs on the cores.
    static func bdevperf(_ line: String, signals: [(after: TimeInterval, number: Int32)] = []) throws -> Result {
        let words = line.split(separator: " ").map(String.init)
        return try Program(name: "bdevperf").run(words + ["--disable-cpumask-locks"], signals: signals)
    }
}

/// A folder in memory that is gone afterwards.
struct Scratch: ~Copyable {
    let path: String

    init() throws {
        path = "/dev/shm/bdev-example-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
