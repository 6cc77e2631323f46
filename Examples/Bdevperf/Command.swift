import Bdev
import BdevConfiguration
import FoundationEssentials
import MallocBdev
import NullBdev
import Reactors
import ToolSupport
import UringBdev

/// The measuring run: bdevs, jobs, results.
struct Command {
    let options: Options

    /// - Returns: the exit status.
    func run() async throws -> Int32 {
        let plan = try options.plan(Tool.complain)
        let format = try options.outputFormat()
        if !options.usesNull && options.mallocSize == nil && options.file == nil && options.configuration == nil {
            throw UsageError("there is no bdev to use; add --null, --malloc 256M, --file PATH[:SIZE] or -c FILE")
        }
        if options.nullIsParked && !options.usesNull {
            throw UsageError("--null-parked changes the bdev of --null; add --null")
        }
        let document = try options.configuration.map { try ConfigurationDocument(contentsOf: $0) }
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = !options.sharesCores
        if options.polls { reactorOptions.idlePolicy = .poll }
        let file = try options.file.map { try Self.fileOptions($0) }
        // A file that was made for a run which is then refused goes away again.
        let isNew = file.map { !FileManager.default.fileExists(atPath: $0.path) } ?? false
        do {
            return try await measure(plan, format, document, reactorOptions)
        } catch {
            if isNew, let file { try? FileManager.default.removeItem(atPath: file.path) }
            throw error
        }
    }

    private func measure(
        _ plan: Plan, _ format: Options.Output, _ document: ConfigurationDocument?, _ reactorOptions: ReactorOptions
    ) async throws -> Int32 {
        try await Session.with(cores: try options.coreList(), options: reactorOptions) { session in
            let names = try await bdevs(session, document)
            let stop = StopFlag()
            let jobs = try await session.jobs(plan, on: names, stop: stop)
            let result = try await perform(plan, jobs, stop, format)
            for job in jobs { await job.descriptor.close() }
            Tool.print(format == .json ? JSONReport.text(result) : Table.text(result, detail: plan.latencyDetail))
            if let failure = result.jobs.compactMap(\.firstFailure).first {
                Tool.complain("\(result.jobs.reduce(0) { $0 + $1.failed }) I/Os failed, the first: \(failure)")
            }
            return result.hasFailed ? 1 : 0
        }
    }

    private func perform(_ plan: Plan, _ jobs: [Job], _ stop: StopFlag, _ format: Options.Output) async throws
        -> RunResult
    {
        if format == .table { Tool.print("Running I/O for \(goal(plan))...\n") }
        let rewinds = Tool.printsToTerminal && format == .table
        let run = Run(plan: plan, jobs: jobs, stop: stop) { line in
            if format == .json {
                Tool.complain(line)
            } else {
                Tool.print(rewinds ? "\r\(line)" : "\(line)\n")
            }
        }
        do {
            let result = try await Tool.heedingInterrupts(stop.set) { try await run.perform() }
            if rewinds && plan.liveInterval != nil { Tool.print("\r" + String(repeating: " ", count: 50) + "\r") }
            return result
        } catch {
            for job in jobs { await job.descriptor.close() }
            throw error
        }
    }

    private func goal(_ plan: Plan) -> String {
        [plan.ioCount.map { "\($0) I/Os" }, plan.duration.map { "\(fixed($0.seconds)) seconds" }].compactMap { $0 }
            .joined(separator: " or ")
    }

    // MARK: Bdevs

    /// Makes every bdev that the command line asks for. Their names, or the one of `-T`.
    private func bdevs(_ session: Session, _ document: ConfigurationDocument?) async throws -> [String] {
        if let document {
            for notice in try await session.modules.methods.apply(document, to: session.engine) {
                Tool.complain(notice)
            }
        }
        if options.usesNull {
            // The size and blocks that SPDK's figures are measured with.
            var null = NullModule.Options(name: "Null0", blockCount: 2_097_152)
            null.completesFromPoller = options.nullIsParked
            try await session.modules.null.create(null)
        }
        if let mallocSize = options.mallocSize {
            let bytes = try byteCount(mallocSize, for: "--malloc")
            if bytes == 0 || bytes % 512 != 0 {
                throw UsageError(
                    "--malloc \(mallocSize) is no size of a RAM disk; use a multiple of 512 bytes, such as 256M")
            }
            try await session.modules.malloc.create(.init(name: "Malloc0", blockCount: bytes / 512))
        }
        if let file = options.file { try await session.modules.uring.create(try Self.fileOptions(file)) }
        // A bdev is listed when every module has looked at it.
        await session.engine.waitForExamine()
        let names = await session.engine.list().map(\.name)
        guard let only = options.onlyBdev else {
            if names.isEmpty { throw UsageError("the configuration makes no bdev; add one, or use --null") }
            return names
        }
        if names.contains(only) { return [only] }
        throw UsageError("-T '\(only)' is no bdev; there are \(names.joined(separator: ", "))")
    }

    /// PATH[:SIZE]. A colon that no size follows is part of the path.
    static func fileOptions(_ text: String) throws(UsageError) -> UringModule.Options {
        var path = text[...]
        var size: UInt64?
        if let colon = text.lastIndex(of: ":"), let first = text[text.index(after: colon)...].first, first.isASCII,
            first.isNumber
        {
            path = text[..<colon]
            size = try byteCount(String(text[text.index(after: colon)...]), for: "--file \(path):")
            if size == 0 {
                throw UsageError("--file \(text): a file of no bytes holds nothing; use a size such as 256M")
            }
        }
        if path.isEmpty { throw UsageError("--file '\(text)' names no file; write PATH or PATH:SIZE") }
        var options = UringModule.Options(name: "File0", path: String(path))
        options.byteCount = size
        return options
    }
}
