import Reactors

// SAFETY (below): a request's memory is its own until it is completed, and a buffer's until it is given back.

extension BdevGeometry {
    /// The bdev as a descriptor sees it that hides the metadata: data only.
    var withoutMetadata: BdevGeometry {
        var geometry = self
        geometry.blockByteCount = dataByteCountPerBlock
        geometry.metadataByteCount = 0
        geometry.isMetadataInterleaved = false
        geometry.protection = nil
        geometry.memoryAlignment = 1
        geometry.splitsAtWriteUnit = false
        geometry.splitsAtOptimalBoundary = false
        geometry.segmentCountLimit = 0
        geometry.segmentByteCountLimit = 0
        // What is moved at once has to fit a buffer of the layer's own.
        geometry.transferBlockCountLimit = UInt64(max(1, Detour.bounceLimit / blockByteCount))
        return geometry
    }
}

extension IOTypes {
    /// What is done beneath data without its metadata. Zeroes, comparisons and copies are made of reads and writes
    /// there, so that the metadata is right; what changes blocks that it has compared has no such form.
    var throughHiddenMetadata: IOTypes { intersection([.read, .write, .unmap, .flush, .reset]) }
}

/// A layer between those who see data only and a bdev whose blocks hold protection information: makes it for what is
/// written, checks it in what is read.
///
/// It moves everything through a buffer of its own, since the two sides differ in length.
final class HiddenMetadataChannel: BdevModuleChannel {
    private let below: EngineChannel
    private let requests: RequestTable
    private let protection: BlockProtection
    private let loop: ReactorLoop
    private let blockByteCount: Int
    private lazy var handler = Handler(self)

    init(_ below: EngineChannel, _ protection: BlockProtection) {
        self.below = below
        self.protection = protection
        requests = RequestTable(pool: below.core.pool, bdev: below.core.bdev)
        loop = below.core.loop
        blockByteCount = below.blockByteCount
        below.isOfModule = true
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read, .write: transfer(request)
        default: below.forward(request)
        }
    }

    private func transfer(_ request: consuming IORequest) {
        let count = Int(request.blockCount), start = BdevOffset.block(request.startBlock)
        // Buffers come back when other I/O ends: the layer tries again.
        guard let made = loop.allocateBuffer(byteCount: count * blockByteCount) else {
            return request.complete(.noMemory)
        }
        var buffer: IOBuffer? = consume made
        let type = request.type
        if type == .write, let memory = IOBuffer.memory(of: buffer) {
            protection.insert(
                from: request.segments, into: Segments(memory), blockCount: count, tags: request.protectionTags)
        }
        let token = request.detach()
        do throws(BdevError) {
            if type == .read {
                try below.read(into: &buffer, at: start, tag: token.rawValue, handler: handler)
            } else {
                try below.write(from: &buffer, at: start, tag: token.rawValue, handler: handler)
            }
        } catch {
            requests.request(token).complete(error.ioStatus)
        }
    }

    private func completed(_ completion: consuming IOCompletion) {
        let request = requests.request(RequestToken(rawValue: completion.tag))
        var status = completion.status
        if status.isSuccess, completion.type == .read, let memory = IOBuffer.memory(of: completion.buffer) {
            do throws(ProtectionFailure) {
                try protection.strip(
                    from: Segments(memory), into: request.segments, blockCount: Int(request.blockCount),
                    tags: request.protectionTags)
            } catch {
                status = error.ioStatus
            }
        }
        request.complete(status)
    }

    override func abort(_ token: RequestToken) { _ = below.abort(tag: token.rawValue, of: handler) }

    private final class Handler: IOHandler {
        private unowned let channel: HiddenMetadataChannel
        init(_ channel: HiddenMetadataChannel) { self.channel = channel }
        override func ioCompleted(_ completion: consuming IOCompletion) { channel.completed(completion) }
    }
}

extension IORequest {
    fileprivate var protectionTags: ProtectionTags { ProtectionTags(referenceTag: startBlock) }
}

extension LocalReactor {
    /// A channel for data only, over that of the bdev itself.
    func openHidingChannel(_ descriptor: BdevDescriptor) async throws(BdevError) -> BdevChannel {
        let base = try await acquireChannel(descriptor.bdev)
        guard let protection = base.bdev.geometry.blockProtection else {
            preconditionFailure("a descriptor hides metadata that is not there")
        }
        // Whether the descriptor may write is checked above.
        let module = HiddenMetadataChannel(EngineChannel(core: base, isWritable: true), protection)
        let types = base.bdev.supportedTypes.throughHiddenMetadata
        let layer = ChannelCore.Layer(
            base: base, geometry: base.bdev.geometry.withoutMetadata, types: types,
            offered: types.withEmulated.subtracting(.compareAndWrite))
        let core = ChannelCore(
            bdev: base.bdev, module: module, pool: base.pool, gate: IOGate(), scratch: base.scratch, under: layer)
        base.layers.append(core)
        return BdevChannel(core: core.retained(), descriptor: descriptor)
    }
}
