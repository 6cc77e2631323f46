import Bdev
import BdevConfiguration
import Logging
import Reactors
import ToolSupport
import UringBdev

/// Reactors, an engine and its modules: from the first thread started to the last one ended.
struct Session {
    let group: ReactorGroup
    let engine: BdevEngine
    let modules = StandardModules(uring: UringModule(logger: Logger(label: "bdevperf") { _ in NoticeHandler() }))

    init(cores: CoreList, options: ReactorOptions) async throws {
        group = try ReactorGroup(cores: cores, options: options)
        engine = BdevEngine(group: group)
        do {
            try await modules.register(with: engine)
        } catch {
            await engine.stop()
            await group.shutDown()
            throw error
        }
    }

    /// Runs `body`, and ends everything however it ends.
    static func with<Result: Sendable>(
        cores: CoreList, options: ReactorOptions, _ body: (Session) async throws -> Result
    ) async throws -> Result {
        let session = try await Session(cores: cores, options: options)
        do {
            let result = try await body(session)
            await session.end()
            return result
        } catch {
            await session.end()
            throw error
        }
    }

    private func end() async {
        await engine.stop()
        await group.shutDown()
    }

    // MARK: Jobs

    /// Opens the bdevs and deals the jobs over the reactors: one for each bdev in turn, or with `-C` one for each
    /// bdev on each reactor.
    func jobs(_ plan: Plan, on names: [String], region: UInt64? = nil, stop: StopFlag) async throws -> [Job] {
        var jobs: [Job] = []
        var opened: [BdevDescriptor] = []
        do {
            for (index, name) in names.enumerated() {
                let needsWrites =
                    plan.workload.types.contains { $0.needsWritableDescriptor } && plan.verifyPhase != .read
                let descriptor = try await engine.open(name, mode: needsWrites ? .readWrite : .readOnly)
                opened.append(descriptor)
                try check(plan, descriptor)
                let reactors = plan.allReactors ? group.reactors : [group.reactors[index % group.reactors.count]]
                let onBdev = plan.ioCount.map { _ in plan.ioCount(of: index, parts: names.count, in: plan.ioCount) }
                let cursor = Cursor()
                for (place, reactor) in reactors.enumerated() {
                    let mine = onBdev.map { plan.ioCount(of: place, parts: reactors.count, in: $0) }
                    let share = Job.Share(
                        index: place, count: reactors.count, ioCount: mine, ioCountOfBdev: onBdev, cursor: cursor,
                        region: region)
                    jobs.append(Job(plan, descriptor, on: reactor, share: share, stop: stop))
                }
            }
        } catch {
            for descriptor in opened { await descriptor.close() }
            throw error
        }
        return jobs
    }

    private func check(_ plan: Plan, _ descriptor: BdevDescriptor) throws(UsageError) {
        let block = descriptor.blockByteCount
        if plan.ioByteCount % block != 0 {
            throw UsageError(
                "-o \(plan.ioByteCount) is not a multiple of \(descriptor.name)'s blocks of \(block) bytes; "
                    + "use \(block) or a multiple of it"
            )
        }
        if UInt64(plan.ioByteCount / block) > descriptor.blockCount {
            throw UsageError(
                "-o \(plan.ioByteCount) is more than \(descriptor.name) holds "
                    + "(\(sizeText(descriptor.geometry.byteCount))); use a smaller one"
            )
        }
        if plan.workload == .verify && block % 8 != 0 {
            throw UsageError("-w verify needs blocks of a multiple of 8 bytes")
        }
        if descriptor.geometry.zones != nil, plan.workload != .verify, plan.workload.types.contains(.write) {
            throw UsageError(
                "-w \(plan.workload.rawValue): \(descriptor.name) has zones, which are written from their start on; "
                    + "use verify, or a workload that reads")
        }
        if let type = plan.workload.types.first(where: { !descriptor.supports($0) }) {
            throw UsageError(
                "-w \(plan.workload.rawValue): \(descriptor.name) does not support \(type); "
                    + "use another workload, or -T another bdev"
            )
        }
    }
}

/// What a module finds worth knowing goes to standard error, a line each.
private struct NoticeHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.notice

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { Tool.complain("\(event.message)") }
}
