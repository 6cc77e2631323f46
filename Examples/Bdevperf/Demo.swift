import Bdev
import BdevConfiguration
import FoundationEssentials
import MallocBdev
import NullBdev
import Reactors
import SystemPackage
import ToolSupport
import UringBdev

/// `--demo`: a real file written through io_uring by a reactor on a core of its own, read back verified, and measured
/// beside RAM and null. Every step is bounded in time, so that the whole takes less than a minute on any disk.
struct Demo {
    let options: Options
    private static let fileByteCount: UInt64 = 256 << 20
    private static let transferByteCount = 65536

    func run() async throws -> Int32 {
        let target = try DemoFile(options.file, mayOverwrite: options.overwrite, byteCount: Self.fileByteCount)
        defer { target.removeIfOurs() }
        let stop = StopFlag()
        return try await Tool.heedingInterrupts(stop.set) { try await run(on: target, stop) }
    }

    private func run(on target: DemoFile, _ stop: StopFlag) async throws -> Int32 {
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = !options.sharesCores
        return try await Session.with(cores: try options.coreList(), options: reactorOptions) { session in
            let reactors = session.group.reactors
            Tool.print(
                "Reactors on \(reactors.map { "core \($0.core) (node \($0.node))" }.joined(separator: ", ")), ")
            Tool.print("no root and no hugepages needed.\nFile: \(target.path)\n")
            var file = UringModule.Options(name: "file", path: target.path)
            file.byteCount = target.byteCount
            try await session.modules.uring.create(file)
            try await session.modules.malloc.create(.init(name: "ram", blockCount: Self.fileByteCount / 512))
            try await session.modules.null.create(.init(name: "null", blockCount: 2_097_152))
            return try await steps(session, stop)
        }
    }

    private func steps(_ session: Session, _ stop: StopFlag) async throws -> Int32 {
        let interrupted = { Tool.print("Interrupted.\n") }
        guard
            let written = try await verifyPass(
                session, .write, count: Self.fileByteCount / UInt64(Self.transferByteCount), stop)
        else { return 1 }
        if stop.isSet {
            interrupted()
            return 0
        }
        guard let checked = try await verifyPass(session, .read, count: written, stop) else { return 1 }
        let amount = sizeText(checked * UInt64(Self.transferByteCount))
        Tool.print(
            "Every byte of \(amount) is what was written\(checked < written ? " (the rest: out of time)" : "").\n\n")
        if stop.isSet {
            interrupted()
            return 0
        }
        var rows: [String] = []
        var hasFailed = false
        for (name, label, seconds) in [
            ("file", "file, io_uring", 4.0), ("ram", "RAM disk", 2.0), ("null", "null", 2.0),
        ] {
            var plan = Plan()
            plan.duration = Duration(seconds: seconds)
            plan.latencyDetail = 1
            let limit = name == "file" ? written * UInt64(Self.transferByteCount) : nil
            let result = try await measure(session, plan, name, region: limit, stop)
            for job in result.jobs {
                let percentile = job.latencies?.percentiles.first { $0.fraction == 0.99 }?.value ?? 0
                rows.append(Table.row(" \(label)", job) + " " + fixed(percentile).leftPadded(10))
            }
            hasFailed = hasFailed || result.hasFailed
            if stop.isSet { break }
        }
        Tool.print("Random reads of 4 KiB, 32 in flight, by async calls from tasks on the reactor:\n")
        let header = Table.header()
        Tool.print(
            header[0] + "\n" + header[1] + " " + "99 %".leftPadded(10) + "\n" + rows.joined(separator: "\n") + "\n")
        if stop.isSet { interrupted() }
        return hasFailed ? 1 : 0
    }

    /// - Returns: I/Os done; nil when one failed.
    private func verifyPass(
        _ session: Session, _ phase: Plan.VerifyPhase, count: UInt64, _ stop: StopFlag
    ) async throws -> UInt64? {
        var plan = Plan()
        plan.workload = .verify
        plan.order = .sequential
        plan.verifyPhase = phase
        plan.ioByteCount = Self.transferByteCount
        plan.depth = 8
        plan.ioCount = count
        plan.duration = phase == .write ? .seconds(8) : .seconds(20)
        let result = try await measure(session, plan, "file", region: nil, stop)
        if let failure = result.jobs.compactMap(\.firstFailure).first {
            Tool.complain(failure)
            return nil
        }
        let done = result.completed
        let seconds = result.jobs.map(\.runtime).max() ?? 0
        let speed = seconds > 0 ? fixed(Double(done) * Double(Self.transferByteCount) / 1_048_576 / seconds, 1) : "0"
        Tool.print(
            "\(phase == .write ? "Wrote" : "Read back") \(sizeText(done * UInt64(Self.transferByteCount))) in "
                + "\(fixed(seconds, 1)) s, \(speed) MiB/s, 8 in flight of 64 KiB.\n"
        )
        return done
    }

    /// - Parameter region: how many bytes from the start are used; nil: all.
    private func measure(
        _ session: Session, _ plan: Plan, _ name: String, region: UInt64?, _ interrupt: StopFlag
    ) async throws -> RunResult {
        // Each step has an end of its own; Ctrl-C ends this step and all that follow.
        let stop = StopFlag(following: interrupt)
        let jobs = try await session.jobs(plan, on: [name], region: region, stop: stop)
        let result: RunResult
        do {
            result = try await Run(plan: plan, jobs: jobs, stop: stop).perform()
        } catch {
            for job in jobs { await job.descriptor.close() }
            throw error
        }
        for job in jobs { await job.descriptor.close() }
        return result
    }
}

/// The file of the demonstration: one of our own that goes away again, or the user's, which is never overwritten
/// unasked.
struct DemoFile {
    let path: String
    /// What it is made as long as; nil: it stays as it is.
    let byteCount: UInt64?
    private let isOurs: Bool

    init(_ user: String?, mayOverwrite: Bool, byteCount: UInt64) throws {
        if let user {
            path = user
            isOurs = false
            let present = Self.byteCount(of: user)
            if let present, present > 0, !mayOverwrite {
                throw UsageError(
                    "--file \(user) has \(sizeText(present)) of data, which the demonstration would overwrite; "
                        + "name a new file, or add --overwrite"
                )
            }
            self.byteCount = (present ?? 0) > 0 ? nil : byteCount
            return
        }
        let folder = ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/var/tmp"
        path = "\(folder)/bdevperf-demo-\(ProcessInfo.processInfo.processIdentifier).img"
        isOurs = true
        self.byteCount = byteCount
        do {
            // Exclusively: what somebody else has put there is not followed.
            try FileDescriptor.open(
                FilePath(path), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite
            ).close()
        } catch {
            throw UsageError(
                "cannot make \(path): \(error); set TMPDIR to a folder that can be written, or name a --file")
        }
    }

    /// nil when there is no such file, or none that can be opened.
    private static func byteCount(of path: String) -> UInt64? {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly) else { return nil }
        defer { try? file.close() }
        return (try? file.seek(offset: 0, from: .end)).map(UInt64.init)
    }

    func removeIfOurs() { if isOurs { try? FileManager.default.removeItem(atPath: path) } }
}
