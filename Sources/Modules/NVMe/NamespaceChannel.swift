import Bdev
import NVMeDriver
import Reactors

/// One namespace on one reactor, and the paths to it.
///
/// An I/O costs one look at the path in use. Everything else happens when that cannot be used, or something has failed.
final class NamespaceChannel: BdevModuleChannel {
    let bdev: NamespaceBdev
    let requests: RequestTable
    let reactor: Reactor
    let format: CommandFormat
    /// In the order they are preferred; those that are leaving last.
    var paths: [IOPath] = []
    var current: IOPath?
    /// Several paths take turns.
    var spreads = false
    var policy = NVMeModule.PathPolicy.activePassive
    /// I/O that ``current`` has before the next path has its turn.
    var turnsLeft: UInt32 = 0
    /// Requests that wait for a path, in the order they came.
    var waiting: [RequestToken] = []
    /// Requests that are tried again after a while.
    var delayed: Set<RequestToken> = []
    /// What is known of requests that something has gone wrong with.
    var troubles: [RequestToken: Trouble] = [:]
    /// The bdev is being reset: what fails is not tried again.
    var isResetting = false
    var isSynchronizing = false
    /// Its queue pairs are being given back.
    var isClosing = false
    /// Of commands that name ranges, or metadata that nobody asked for.
    var shelf = BufferShelf()
    /// Of the request that is being submitted.
    var segments: [IOMemory] = [], secondSegments: [IOMemory] = []
    /// Requests about zones, of which one command is under way.
    var walks: [RequestToken: ZoneWalk] = [:]

    /// What has gone wrong with a request so far.
    struct Trouble {
        /// How often the device has failed it.
        var attempts = 0
        /// How often it has been sent another way.
        var detours = 0
        var isGivenUp = false
    }

    init(_ bdev: NamespaceBdev, _ requests: RequestTable, on reactor: Reactor) {
        self.bdev = bdev
        self.requests = requests
        self.reactor = reactor
        format = bdev.format
        super.init()
    }

    override func submit(_ request: consuming IORequest) {
        if !spreads, let path = current, path.isConnected { return start(request, on: path) }
        guard let path = choosePath() else { return hold(request) }
        start(request, on: path)
    }

    func start(_ request: consuming IORequest, on path: IOPath) {
        switch request.type {
        case .read: transfer(request, IOOpcode.read, path)
        case .write: transfer(request, IOOpcode.write, path)
        case .compare: transfer(request, IOOpcode.compare, path)
        case .writeZeroes: give(request, format.writeZeroes(request), path)
        case .writeUncorrectable: give(request, format.range(IOOpcode.writeUncorrectable, request), path)
        case .flush:
            // Without a volatile cache there is nothing that a flush would make durable.
            if !format.needsFlush { return request.complete() }
            give(request, SubmissionQueueEntry(opcode: IOOpcode.flush), path)
        case .unmap: list(request, IOOpcode.datasetManagement, path)
        case .copy: list(request, IOOpcode.copy, path)
        case .compareAndWrite: compareAndWrite(request, path)
        case .zoneAppend: transfer(request, IOOpcode.zoneAppend, path)
        case .zoneManagement: manageZones(request, path)
        case .zoneInfo: reportZones(request, path)
        case .reset: reset(request)
        case .nvmeSubsystemReset: reset(request, isOfSubsystem: true)
        case .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector: passThrough(request, path)
        case .nvmeAdmin: administrate(request, path)
        default: request.complete(.notSupported)
        }
    }

    // MARK: Reads and writes

    @inline(__always)
    private func transfer(_ request: consuming IORequest, _ opcode: UInt8, _ path: IOPath) {
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: path.namespaceID)
        command.startBlock = request.startBlock
        command.cdw12 = UInt32(truncatingIfNeeded: request.blockCount &- 1)
        if format.hasExtras { return transferWithExtras(request, command, path) }
        if request.options.forcesUnitAccess { command.cdw12 |= CommandFormat.forceUnitAccess }
        move(request, command, metadata: nil, path)
    }

    /// Of blocks with metadata.
    private func transferWithExtras(
        _ request: consuming IORequest, _ command: SubmissionQueueEntry, _ path: IOPath
    ) {
        var command = command
        if request.options.forcesUnitAccess { command.cdw12 |= CommandFormat.forceUnitAccess }
        format.protect(&command, excluding: request.options.excludedChecks)
        var metadata = request.metadataSegmentCount > 0 ? request.metadataMemory(0) : nil
        if metadata == nil, format.separateMetadataByteCount > 0 {
            if format.canOmitMetadata {
                command.cdw12 |= CommandFormat.protectionAction
            } else {
                let byteCount = format.separateMetadataByteCount * Int(request.blockCount)
                guard let buffer = reactor.loop.allocateBuffer(byteCount: byteCount) else {
                    return request.complete(.noMemory)
                }
                buffer.memory.zero()
                metadata = buffer.memory
                request.setScratch(shelf.put(buffer))
            }
        }
        move(request, command, metadata: metadata, path)
    }

    @inline(__always)
    private func move(
        _ request: consuming IORequest, _ command: SubmissionQueueEntry, metadata: IOMemory?, _ path: IOPath
    ) {
        if request.segmentCount == 1 {
            let data = request.memory(0), token = request.detach()
            if !path.submit(command, data: data, metadata: metadata, token) { refuse(token) }
            return
        }
        segments.removeAll(keepingCapacity: true)
        for index in 0..<request.segmentCount { segments.append(request.memory(index)) }
        let token = request.detach()
        if !path.submit(command, segments: segments, metadata: metadata, token) { refuse(token) }
    }

    // MARK: Others

    private func give(_ request: consuming IORequest, _ command: SubmissionQueueEntry, _ path: IOPath) {
        var command = command
        command.namespaceID = path.namespaceID
        let token = request.detach()
        if !path.submit(command, data: nil, metadata: nil, token) { refuse(token) }
    }

    /// A command that names ranges of blocks in memory of its own.
    private func list(_ request: consuming IORequest, _ opcode: UInt8, _ path: IOPath) {
        guard let buffer = reactor.loop.allocateBuffer(byteCount: 4096) else { return request.complete(.noMemory) }
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: path.namespaceID)
        let data = format.list(request, in: buffer.memory, &command)
        request.setScratch(shelf.put(buffer))
        let token = request.detach()
        if !path.submit(command, data: data, metadata: nil, token) { refuse(token) }
    }

    /// No request of the queue pair is free.
    func refuse(_ token: RequestToken) {
        let request = requests.request(token)
        dropBuffer(of: request)
        request.complete(.noMemory)
    }

    func dropBuffer(of request: borrowing IORequest) {
        let hasBuffer: Bool =
            switch request.type {
            case .unmap, .copy: true
            case .read, .write, .zoneAppend:
                format.separateMetadataByteCount > 0 && !format.canOmitMetadata && request.metadataSegmentCount == 0
            default: false
            }
        if hasBuffer { shelf.drop(request.scratch()) }
    }

    // MARK: Pass-through

    private func passThrough(_ request: consuming IORequest, _ path: IOPath) {
        guard var command = SubmissionQueueEntry(passingThrough: request.nvmeCommand) else {
            return request.complete(.invalidField)
        }
        // A bdev is one namespace: its commands do not reach others.
        command.namespaceID = path.namespaceID
        let metadata = request.metadataSegmentCount > 0 ? request.metadataMemory(0) : nil
        if request.segmentCount > 0 { return move(request, command, metadata: metadata, path) }
        let token = request.detach()
        if !path.submit(command, data: nil, metadata: metadata, token) { refuse(token) }
    }

    private func administrate(_ request: consuming IORequest, _ path: IOPath) {
        guard let command = SubmissionQueueEntry(passingThrough: request.nvmeCommand), let controller = path.controller
        else { return request.complete(.invalidField) }
        // Queues, events and aborts are the driver's own business.
        if AdminOpcode.isDriversOwn(command.opcode) { return request.complete(.notSupported) }
        if request.segmentCount > 1 { return request.complete(.notSupported) }
        let data = request.segmentCount == 1 ? request.memory(0) : nil
        let token = request.detach(), own = ReactorConfined(self), reactor = reactor
        Task(executorPreference: reactor.taskExecutor) {
            let (status, result) = await controller.passThrough(command, data)
            await reactor.run { _ in own.value.requests.request(token).complete(status, result: result) }
        }
    }

    func reset(_ request: consuming IORequest, isOfSubsystem: Bool = false) {
        let token = request.detach(), own = ReactorConfined(self), reactor = reactor, bdev = bdev
        Task(executorPreference: reactor.taskExecutor) {
            let isDone = await bdev.reset(isOfSubsystem: isOfSubsystem)
            await reactor.run { _ in own.value.requests.request(token).complete(isDone ? .success : .failed) }
        }
    }

    // MARK: Giving up

    override func abort(_ token: RequestToken) {
        if let index = waiting.firstIndex(of: token) {
            waiting.remove(at: index)
            return end(token, .aborted)
        }
        if delayed.remove(token) != nil { return end(token, .aborted) }
        troubles[token, default: Trouble()].isGivenUp = true
        watch()
        let paths = ReactorConfined(paths)
        reactor.local.assumeIsolated { local in
            for path in paths.value {
                guard let pair = path.pair, let controller = path.controller else { continue }
                local.abort(token: token.rawValue, of: path, on: pair, of: controller)
            }
        }
    }

    func end(_ token: RequestToken, _ status: IOStatus) {
        troubles[token] = nil
        requests.request(token).complete(status)
    }

    override func close() async {
        let own = ReactorConfined(self)
        await reactor.run { local in await own.value.closePaths(on: local) }
        bdev.remove(self)
    }
}
