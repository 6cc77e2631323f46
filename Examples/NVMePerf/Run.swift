import Bdev
import Logging
import NVMeDriver
import NVMeSoftController
import NVMeTools
import Reactors
import ToolSupport

/// Brings the devices up, loads them, and gathers what came of it.
struct Run {
    let plan: Plan
    let stop: StopFlag

    /// Who loads what.
    private struct Job: Sendable {
        enum Subject: Sendable {
            case namespace(NVMeNamespace, of: NVMeController)
            case bdev(BdevDescriptor)
            case file(BlockFile)
        }
        let subject: Subject
        let reactor: Reactor
        let index: Int
        let depth: Int
        let ioCount: UInt64?
    }

    func perform() async throws -> [JobResult] {
        let files = try plan.files.map { path in
            var options = BlockFile.Options()
            options.isReadOnly = !plan.workload.writes
            return try BlockFile(path: path, options: options)
        }
        let targets = try self.targets()
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = !plan.sharesCores
        if plan.allowsNoIOMMU { reactorOptions.memory.pages = .huge }
        reactorOptions.memory.byteCountLimit = .max
        // The kernel wakes who sleeps; nothing is gained by spinning on its queue.
        if !files.isEmpty { reactorOptions.idlePolicy = .adaptive(spin: .zero) }
        reactorOptions.ring.completionEntries = max(2048, Self.powerOfTwo(plan.depth * (files.count + 1)))
        return try await withReactors(plan.cores, options: reactorOptions) { group in
            try await withControllers(
                targets.map(\.device), on: group, options: driverOptions, soft: Self.softOptions
            ) { controllers in
                let bdevs = plan.usesBdevs ? try await Bdevs(of: controllers, on: group) : nil
                do {
                    let jobs = try await self.jobs(group, zip(targets, controllers).map { ($0, $1) }, files, bdevs)
                    if !plan.printsJSON { Tool.print(announcement(jobs.count)) }
                    let results = try await run(jobs)
                    await bdevs?.end()
                    return results
                } catch {
                    await bdevs?.end()
                    throw error
                }
            }
        }
    }

    private func targets() throws -> [Plan.Target] {
        if !plan.targets.isEmpty || !plan.files.isEmpty { return plan.targets }
        let found = PCIFunction.nvmeControllers().filter(\.isHandedOut)
        if found.isEmpty {
            throw UsageError(
                "no NVMe controller is bound to vfio-pci; name a block device such as /dev/nvme0n1, "
                    + "bind a controller (nvme-identify --bind ADDRESS), or use --soft")
        }
        return found.map { Plan.Target(device: .pci($0.address)) }
    }

    private var driverOptions: NVMeController.Options {
        var options = NVMeController.Options()
        let depth = (plan.depth + plan.queuePairCount - 1) / plan.queuePairCount
        options.queueEntryCount = plan.queueEntryCount ?? max(256, depth + 1)
        options.requestCount = max(512, depth)
        options.allowsNoIOMMU = plan.allowsNoIOMMU
        options.usesInterrupts = plan.usesInterrupts
        options.usesShadowDoorbells = plan.usesShadowDoorbells
        options.logger = Logger(label: "nvme-perf") { _ in NoticeHandler() }
        return options
    }

    private static var softOptions: SoftController.Options {
        var options = SoftController.Options()
        options.namespaces = [SoftNamespaceOptions(blockCount: 131_072)]
        return options
    }

    private static func powerOfTwo(_ count: Int) -> Int {
        min(32_768, 1 << (Int.bitWidth - max(1, count - 1).leadingZeroBitCount))
    }

    // MARK: Jobs

    private func jobs(
        _ group: ReactorGroup, _ controllers: [(Plan.Target, NVMeController)], _ files: [BlockFile], _ bdevs: Bdevs?
    ) async throws -> [Job] {
        var subjects: [(subject: Job.Subject, queueCount: Int)] = []
        for (index, (target, controller)) in controllers.enumerated() {
            let all = await controller.namespaces
            let chosen = all.filter { target.namespaceID == nil || $0.id == target.namespaceID }
            if chosen.isEmpty {
                throw UsageError(
                    "\(controller.name) has no namespace \(target.namespaceID.map { "\($0)" } ?? "at all"); "
                        + "it has \(all.map { "\($0.id)" }.joined(separator: ", "))")
            }
            for namespace in chosen {
                try check(namespace, of: controller)
                if let bdevs {
                    let descriptor = try await bdevs.open(namespace, index, writes: plan.workload.writes)
                    subjects.append((.bdev(descriptor), plan.queuePairCount))
                } else {
                    subjects.append((.namespace(namespace, of: controller), plan.queuePairCount))
                }
            }
        }
        for file in files {
            try check("-o \(plan.ioByteCount)", plan.ioByteCount, of: file.path, file.logicalBlockByteCount)
            subjects.append((.file(file), 1))
        }
        var jobs: [Job] = []
        for reactor in group.reactors {
            for (subject, count) in subjects {
                for part in 0..<count {
                    jobs.append(
                        Job(
                            subject: subject, reactor: reactor, index: jobs.count,
                            depth: Self.share(plan.depth, part, count),
                            ioCount: plan.ioCount.map { UInt64(Self.share(Int(clamping: $0), part, count)) }))
                }
            }
        }
        return jobs
    }

    private static func share(_ total: Int, _ part: Int, _ count: Int) -> Int {
        total / count + (part < total % count ? 1 : 0)
    }

    private func check(_ namespace: NVMeNamespace, of controller: NVMeController) throws(UsageError) {
        let name = "namespace \(namespace.id) of \(controller.name)"
        try check("-o \(plan.ioByteCount)", plan.ioByteCount, of: name, namespace.format.dataByteCount)
        let limit = namespace.transferBlockCountLimit * namespace.format.dataByteCount
        if plan.ioByteCount > limit {
            throw UsageError("-o \(plan.ioByteCount): one command moves at most \(limit) bytes on \(name)")
        }
        if UInt64(plan.ioByteCount / namespace.format.dataByteCount) > namespace.blockCount {
            throw UsageError("-o \(plan.ioByteCount) is more than \(name) holds; use a smaller one")
        }
        if namespace.zones != nil, plan.workload.writes {
            throw UsageError("-w \(plan.workload.rawValue): \(name) has zones, which are written in order; use read")
        }
    }

    private func check(_ flag: String, _ count: Int, of name: String, _ block: Int) throws(UsageError) {
        if count % block == 0 { return }
        throw UsageError("\(flag) is not a multiple of the blocks of \(name), \(block) bytes; use \(block) or more")
    }

    // MARK: Running

    private func announcement(_ count: Int) -> String {
        let goal = [plan.ioCount.map { "\($0) I/Os" }, plan.duration.map { "\(fixed($0.seconds)) s" }]
        return "Running \(plan.workload.rawValue) of \(plan.ioByteCount) bytes for "
            + goal.compactMap { $0 }.joined(separator: " or ") + " on \(count) queue\(count == 1 ? "" : "s")...\n"
    }

    private func run(_ jobs: [Job]) async throws -> [JobResult] {
        try await withThrowingTaskGroup(of: (Int, JobResult).self) { tasks in
            for job in jobs {
                tasks.addTask {
                    do {
                        return (job.index, try await job.reactor.run { local in try await run(job, on: local) })
                    } catch {
                        stop.set()
                        throw error
                    }
                }
            }
            var results: [(Int, JobResult)] = []
            for try await result in tasks { results.append(result) }
            return results.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private func run(_ job: Job, on local: isolated LocalReactor) async throws -> JobResult {
        switch job.subject {
        case .namespace(let namespace, let controller): try await run(job, namespace, controller, on: local)
        case .bdev(let descriptor): try await run(job, descriptor)
        case .file(let file): try await run(job, file, on: local)
        }
    }

    private func load(_ job: Job, blockCount: UInt64, blocks: Int) -> Load {
        Load(
            plan, blockCount: blockCount, blocks: UInt64(blocks), depth: job.depth, ioCount: job.ioCount,
            index: job.index, stop: stop, on: job.reactor)
    }

    private func run(
        _ job: Job, _ namespace: NVMeNamespace, _ controller: NVMeController, on local: isolated LocalReactor
    ) async throws -> JobResult {
        let blocks = plan.ioByteCount / namespace.format.dataByteCount
        let load = load(job, blockCount: namespace.blockCount, blocks: blocks)
        defer { load.leave() }
        let pair = try await local.makeQueuePair(of: controller)
        let name = "\(controller.name) NSID \(namespace.id)"
        let worker = NVMeWorker(
            load, pair, namespace, blocks: blocks, name: name, forcesUnitAccess: plan.forcesUnitAccess)
        load.begin()
        do {
            try worker.begin(on: local)
        } catch {
            await local.close(pair, of: controller)
            throw error
        }
        await load.wait()
        var result = load.result(name, .nvme)
        result.statistics = pair.statistics
        pair.remove(worker)
        await local.close(pair, of: controller)
        return result
    }

    private func run(_ job: Job, _ descriptor: BdevDescriptor) async throws -> JobResult {
        try await descriptor.withChannel(on: job.reactor) { channel in
            try await run(job, descriptor, channel)
        }
    }

    private func run(
        _ job: Job, _ descriptor: BdevDescriptor, _ channel: isolated BdevChannel
    ) async throws -> JobResult {
        let load = load(
            job, blockCount: descriptor.blockCount, blocks: plan.ioByteCount / descriptor.blockByteCount)
        defer { load.leave() }
        let worker = BdevWorker(load, channel.engine)
        load.begin()
        for _ in 0..<job.depth { worker.submit(try channel.allocateBuffer(byteCount: plan.ioByteCount)) }
        await load.wait()
        return load.result(descriptor.name, .bdev)
    }

    private func run(_ job: Job, _ file: BlockFile, on local: isolated LocalReactor) async throws -> JobResult {
        let load = load(
            job, blockCount: UInt64(file.byteCount) / UInt64(file.logicalBlockByteCount),
            blocks: plan.ioByteCount / file.logicalBlockByteCount)
        defer { load.leave() }
        let (ring, failure) = local.loop.ringOrThreads()
        if let failure { Tool.complain("\(failure)") }
        let worker = try FileWorker(load, ring, file, byteCount: plan.ioByteCount, on: local.reactor)
        load.begin()
        worker.begin()
        await load.wait()
        worker.leave()
        return load.result(file.path, .kernel)
    }
}

/// What the driver finds worth knowing goes to standard error, a line each.
private struct NoticeHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.notice

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { Tool.complain("\(event.message)") }
}
