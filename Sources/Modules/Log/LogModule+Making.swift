import Bdev
import Reactors

/// What it takes to make a logged bdev.
extension LogModule {
    static func check(_ base: BdevDescriptor, _ options: Options) throws(BdevError) {
        let geometry = base.geometry
        func refuse(_ what: String) -> BdevError {
            BdevError(.invalidArgument, bdev: options.name, "cannot log what changes \(base.name): \(what)")
        }
        if geometry.zones != nil { throw refuse("it has zones") }
        if geometry.metadataByteCount > 0 && !geometry.isMetadataInterleaved {
            throw refuse("its metadata is apart from its blocks")
        }
        if geometry.blockByteCount < LogFormat.blockByteCountMinimum {
            throw refuse("its blocks are shorter than \(LogFormat.blockByteCountMinimum) bytes")
        }
    }

    static func makeStore(
        _ options: Options, _ base: BdevDescriptor, _ log: BdevDescriptor?, _ engine: BdevEngine
    ) async throws(BdevError) -> LogStore {
        let size = base.blockByteCount
        let (medium, blockCount, generation): (LogStore.Medium, UInt64, UInt64)
        switch options.log {
        case .memory(let byteCount):
            try require(UInt64(max(0, byteCount)) / UInt64(size), options)
            do {
                medium = .memory(try MemoryRegion(byteCount: byteCount))
            } catch {
                throw BdevError(.noMemory, bdev: options.name, "\(error)")
            }
            (blockCount, generation) = (UInt64(byteCount / size), 1)
        case .bdev:
            guard let log else { preconditionFailure("a log's bdev is opened before the log is made") }
            if log.blockByteCount != size {
                throw BdevError(
                    .invalidArgument, bdev: options.name,
                    "\(log.name) has blocks of \(log.blockByteCount) bytes and \(base.name) of \(size)",
                    advice: "use a log with blocks of the base's size")
            }
            try require(log.blockCount, options)
            medium = .bdev(log)
            // Entries of an older log must not be taken for this one's.
            let older = try await superblock(of: log, engine)
            (blockCount, generation) = (log.blockCount, (older?.generation ?? 0) + 1)
        }
        let store = LogStore(
            medium, blockByteCount: size, blockCount: blockCount, baseBlockCount: base.blockCount,
            generation: generation, reactor: engine.reactors[0])
        try await store.writeSuperblock(generation: generation)
        return store
    }

    private static func require(_ blockCount: UInt64, _ options: Options) throws(BdevError) {
        if blockCount >= 3 { return }
        throw BdevError(
            .invalidArgument, bdev: options.name, "a log of \(blockCount) blocks has no room for an entry",
            advice: "use at least three blocks, and a block more than the data for each write")
    }

    static func superblock(
        of descriptor: BdevDescriptor, _ engine: BdevEngine
    ) async throws(BdevError) -> LogFormat.Superblock? {
        let channel = try await descriptor.channel(on: engine.reactors[0])
        var buffer = await channel.buffer(byteCount: descriptor.blockByteCount)
        do throws(BdevError) {
            try await channel.read(at: .block(0), into: &buffer)
        } catch {
            await channel.close()
            throw error
        }
        await channel.close()
        return descriptor.blockByteCount < LogFormat.blockByteCountMinimum
            ? nil : LogFormat.decodeSuperblock(buffer)
    }

    static func properties(_ options: Options, _ base: BdevDescriptor) -> BdevProperties {
        var properties = BdevProperties(name: options.name, passingOnTo: base, productName: "log")
        properties.uuid = options.uuid
        // What changes blocks and is not logged is left to the layer, which does it with writes.
        properties.supportedTypes.formIntersection([
            .read, .write, .unmap, .flush, .reset, .writeZeroes, .compare, .seekHole, .seekData,
        ])
        return properties
    }
}
