import Reactors

extension StackedBdev {
    /// A bdev that is a range of the blocks of `base`: for modules that divide bdevs. Several may be made on one base
    /// by ``StackedBdevs``, which they share; when it goes they all go. They keep their size when it is resized.
    ///
    /// It does what the base itself does, without what cannot be confined to a range: NVMe commands. Where reference
    /// tags of blocks are their numbers (protection types 1 and 2), those of the base go to the base and those of the
    /// partition to its users; comparing and copying are then left to the layer, which does them with reads and writes.
    /// A reset resets the base, and so ends what other partitions have in flight as well. Of a base with zones it has
    /// whole ones; how many may be open or active is for all partitions of the base together.
    ///
    /// - Parameters:
    ///   - name: of the new bdev.
    ///   - base: the bdev it is a part of, open and claimed.
    ///   - blocks: those of the base.
    ///   - productName: what kind of thing it is, for people.
    ///   - uuid: nil: one that follows from the base's UUID and `blocks`.
    /// - Throws: `invalidArgument` when the range is empty or cuts a zone, `outOfRange` when it ends behind the base.
    public static func partition(
        _ name: String, of base: BdevDescriptor, blocks: Range<UInt64>, productName: String, uuid: BdevUUID? = nil
    ) throws(BdevError) -> StackedBdev {
        if blocks.isEmpty { throw BdevError(.invalidArgument, bdev: name, "a partition has at least one block") }
        if blocks.upperBound > base.blockCount {
            throw BdevError(
                .outOfRange, bdev: name, "a partition of the blocks \(blocks) ends behind '\(base.name)'",
                advice: "'\(base.name)' has \(base.blockCount) blocks")
        }
        if let zones = base.geometry.zones,
            blocks.lowerBound % zones.blockCount != 0 || blocks.upperBound % zones.blockCount != 0
        {
            throw BdevError(
                .invalidArgument, bdev: name, "a partition of the blocks \(blocks) cuts zones of '\(base.name)'",
                advice: "let it begin and end at multiples of \(zones.blockCount) blocks")
        }
        var properties = BdevProperties(name: name, passingOnTo: base, productName: productName)
        properties.uuid = uuid ?? BdevUUID(of: "blocks \(blocks.lowerBound)..<\(blocks.upperBound)", in: base.uuid)
        properties.geometry.blockCount = blocks.upperBound - blocks.lowerBound
        let boundary = properties.geometry.optimalBoundaryBlockCount
        if boundary > 0 && blocks.lowerBound % boundary != 0 { properties.geometry.optimalBoundaryBlockCount = 0 }
        properties.supportedTypes = base.nativeTypes.subtracting(.nvmeCommands)
        var protection: BlockProtection?
        if let information = base.geometry.protection, information.type != .type3, blocks.lowerBound > 0 {
            protection = base.geometry.blockProtection
            properties.supportedTypes.subtract([.compare, .compareAndWrite, .copy, .zeroCopy])
            // What is written goes through a copy.
            properties.geometry.transferBlockCountLimit = UInt64(
                max(1, Detour.bounceLimit / base.geometry.blockByteCount))
        }
        return StackedBdev(
            properties, driver: PartitionDriver(base, blocks.lowerBound, protection), blockCount: nil)
    }
}

private final class PartitionDriver: BdevDriver {
    private let base: BdevDescriptor
    private let firstBlock: UInt64
    private let protection: BlockProtection?

    init(_ base: BdevDescriptor, _ firstBlock: UInt64, _ protection: BlockProtection?) {
        self.base = base
        self.firstBlock = firstBlock
        self.protection = protection
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let channel = try await base.channel(on: local.reactor)
        if let protection {
            return ProtectedPartitionChannel(over: channel, on: local, firstBlock, protection)
        }
        return PartitionChannel(over: channel, on: local, firstBlock)
    }

    func details() async -> [String: DriverValue] {
        ["partition": .fields(["base_bdev": .text(base.name), "offset_blocks": .number(firstBlock)])]
    }
}

private class PartitionChannel: StackedChannel {
    final let firstBlock: UInt64

    init(over channel: BdevChannel, on local: isolated LocalReactor, _ firstBlock: UInt64) {
        self.firstBlock = firstBlock
        super.init(over: channel, on: local)
    }

    override func submit(_ request: consuming IORequest) {
        let start = request.startBlock &+ firstBlock
        base.forward(request, at: start)
    }
}

/// Its blocks hold their numbers: one on the base, another on the partition.
private final class ProtectedPartitionChannel: PartitionChannel {
    private let protection: BlockProtection

    init(
        over channel: BdevChannel, on local: isolated LocalReactor, _ firstBlock: UInt64, _ protection: BlockProtection
    ) {
        self.protection = protection
        super.init(over: channel, on: local, firstBlock)
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read:
            let start = request.startBlock &+ firstBlock
            base.forward(request, at: start, observed: true)
        case .write: write(request)
        default: super.submit(request)
        }
    }

    /// The user's memory is lent for reading: what is changed is a copy, of the metadata alone where it is apart.
    private func write(_ request: consuming IORequest) {
        let metadata = request.metadataMemory
        // An I/O without its metadata: the base has to make it.
        if metadata == nil && !protection.isInterleaved { return super.submit(request) }
        guard var copy = allocateBuffer(byteCount: metadata?.byteCount ?? Int(request.byteCount)) else {
            return request.complete(.noMemory)
        }
        if let metadata { copy.memory.copy(from: metadata) } else { request.copyData(into: &copy) }
        let start = request.startBlock &+ firstBlock
        do throws(ProtectionFailure) {
            let memory = copy.memory
            try remap(
                request, metadata == nil ? Segments(memory) : request.segments, metadata.map { _ in memory },
                from: request.startBlock, to: start)
        } catch {
            return request.complete(error.ioStatus)
        }
        base.forward(request, at: start, replacing: metadata == nil ? .data : .metadata, with: copy)
    }

    override func forwardCompleted(_ request: consuming IORequest, _ status: IOStatus) {
        let metadata = request.metadataMemory
        guard status.isSuccess, metadata != nil || protection.isInterleaved else { return request.complete(status) }
        do throws(ProtectionFailure) {
            try remap(
                request, request.segments, metadata, from: request.startBlock &+ firstBlock, to: request.startBlock)
        } catch {
            return request.complete(error.ioStatus)
        }
        request.complete()
    }

    private func remap(
        _ request: borrowing IORequest, _ blocks: Segments, _ metadata: IOMemory?, from old: UInt64, to new: UInt64
    ) throws(ProtectionFailure) {
        try protection.excluding(request.options.excludedChecks)
            .remap(blocks, metadata: metadata, blockCount: Int(request.blockCount), from: old, to: new)
    }
}
