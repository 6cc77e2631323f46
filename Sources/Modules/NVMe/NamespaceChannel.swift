import Bdev
import NVMeDriver
import Reactors

/// One namespace on one reactor.
final class NamespaceChannel: BdevModuleChannel {
    private let attached: AttachedController
    private let pair: NVMeQueuePair
    private let client: RequestClient
    private let requests: RequestTable
    private let reactor: Reactor
    private let namespaceID: UInt32
    private let hasVolatileWriteCache: Bool
    /// Of the request that is being submitted.
    private var segments: [IOMemory] = []

    init(
        _ attached: AttachedController, _ namespace: NVMeNamespace, _ pair: NVMeQueuePair, _ requests: RequestTable,
        hasVolatileWriteCache: Bool, reactor: Reactor
    ) {
        self.attached = attached
        self.pair = pair
        self.requests = requests
        self.reactor = reactor
        self.hasVolatileWriteCache = hasVolatileWriteCache
        namespaceID = namespace.id
        client = RequestClient(requests)
        pair.add(client)
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read: transfer(request, IOOpcode.read)
        case .write: transfer(request, IOOpcode.write)
        case .compare: transfer(request, IOOpcode.compare)
        case .writeZeroes: zero(request)
        case .flush:
            // Without a volatile cache there is nothing that a flush would make durable.
            if !hasVolatileWriteCache { return request.complete() }
            give(request, SubmissionQueueEntry(opcode: IOOpcode.flush, namespaceID: namespaceID))
        case .unmap: unmap(request)
        case .reset: reset(request)
        default: request.complete(.notSupported)
        }
    }

    @inline(__always)
    private func transfer(_ request: consuming IORequest, _ opcode: UInt8) {
        var command = SubmissionQueueEntry(opcode: opcode, namespaceID: namespaceID)
        command.startBlock = request.startBlock
        command.cdw12 = UInt32(truncatingIfNeeded: request.blockCount &- 1)
        let metadata = request.metadataSegmentCount > 0 ? request.metadataMemory(0) : nil
        if request.segmentCount == 1 {
            let data = request.memory(0), token = request.detach()
            if !pair.submit(command, data: data, metadata: metadata, client: client, token: token.rawValue) {
                requests.request(token).complete(.noMemory)
            }
            return
        }
        segments.removeAll(keepingCapacity: true)
        for index in 0..<request.segmentCount { segments.append(request.memory(index)) }
        let token = request.detach()
        if !pair.submit(command, segments: segments, metadata: metadata, client: client, token: token.rawValue) {
            requests.request(token).complete(.noMemory)
        }
    }

    private func give(_ request: consuming IORequest, _ command: SubmissionQueueEntry) {
        let token = request.detach()
        if !pair.submit(command, client: client, token: token.rawValue) {
            requests.request(token).complete(.noMemory)
        }
    }

    private func zero(_ request: consuming IORequest) {
        var command = SubmissionQueueEntry(opcode: IOOpcode.writeZeroes, namespaceID: namespaceID)
        command.startBlock = request.startBlock
        // DEAC: the blocks may be deallocated, as long as they read as zeros.
        command.cdw12 = UInt32(truncatingIfNeeded: request.blockCount &- 1) | 1 << 25
        give(request, command)
    }

    /// Dataset Management with one range.
    private func unmap(_ request: consuming IORequest) {
        guard var buffer = reactor.loop.allocateBuffer(byteCount: 4096) else { return request.complete(.noMemory) }
        buffer.store(UInt32(0), at: 0)
        buffer.store(UInt32(truncatingIfNeeded: request.blockCount), at: 4)
        buffer.store(request.startBlock, at: 8)
        var command = SubmissionQueueEntry(opcode: IOOpcode.datasetManagement, namespaceID: namespaceID)
        command.cdw11 = 4
        let data = buffer.memory.slice(from: 0, count: 16), token = request.detach()
        if pair.submit(command, data: data, client: client, token: token.rawValue) {
            client.keep(buffer, for: token)
        } else {
            requests.request(token).complete(.noMemory)
        }
    }

    private func reset(_ request: consuming IORequest) {
        let token = request.detach(), own = ReactorConfined(self), reactor = reactor, controller = attached.controller
        Task(executorPreference: reactor.taskExecutor) {
            var status = IOStatus.success
            do { try await controller.reset() } catch { status = .failed }
            await reactor.run { [status] _ in own.value.requests.request(token).complete(status) }
        }
    }

    override func abort(_ token: RequestToken) {
        let client = ReactorConfined(client), pair = ReactorConfined(pair), controller = attached.controller
        reactor.local.assumeIsolated { local in
            local.abort(token: token.rawValue, of: client.value, on: pair.value, of: controller)
        }
    }

    override func close() async {
        pair.remove(client)
        await attached.leaveQueue(of: reactor)
    }
}

/// Completes requests when their commands have ended.
private final class RequestClient: NVMeClient {
    private let requests: RequestTable
    /// What commands besides reads and writes refer to.
    private var buffers: [UInt64: IOBufferBox] = [:]

    init(_ requests: RequestTable) { self.requests = requests }

    func keep(_ buffer: consuming IOBuffer, for token: RequestToken) {
        buffers[token.rawValue] = IOBufferBox(buffer)
    }

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        if !buffers.isEmpty { buffers[token] = nil }
        let request = requests.request(RequestToken(rawValue: token))
        if completion.status.isSuccess { return request.complete() }
        request.complete(Self.status(completion.status))
    }

    private static func status(_ status: NVMeStatus) -> IOStatus {
        if status.matches(.abortRequested) || status.matches(.abortedBySubmissionQueueDeletion) { return .aborted }
        if status.matches(.compareFailure) { return IOStatus(.miscompare) }
        return IOStatus(.nvmeError, detail: Int32(status.type) << 8 | Int32(status.code))
    }
}

/// A buffer in a table.
private final class IOBufferBox {
    private let buffer: IOBuffer
    init(_ buffer: consuming IOBuffer) { self.buffer = buffer }
}
