import Bdev
import Reactors

/// The memory of one RAM disk: the blocks, and their metadata where it is apart.
///
/// Every reactor uses it without a lock. Overlapping I/O at the same time is a race of its users, as on any disk: what
/// they read or leave behind is a mixture of both. It never reaches beyond the mappings, whose place and size are fixed
/// and which every copy checks against.
final class MallocStore: Sendable {
    let data: MemoryRegion
    /// nil: there is none, or it is part of the blocks.
    private let metadata: MemoryRegion?
    let protection: BlockProtection?
    private let blockByteCount: UInt64
    private let metadataByteCount: UInt64

    /// All zeros: nothing is protected yet.
    init(_ geometry: BdevGeometry, pages: MemoryRegion.Pages, name: String) throws(BdevError) {
        func map(_ size: Int) throws(BdevError) -> MemoryRegion {
            let (bytes, overflow) = geometry.blockCount.multipliedReportingOverflow(by: UInt64(size))
            guard !overflow, let byteCount = Int(exactly: bytes), byteCount <= Int.max - (4 << 20) else {
                throw BdevError(
                    .invalidGeometry, bdev: name,
                    "cannot make a RAM disk of \(geometry.blockCount) blocks of \(size) bytes: more than an address "
                        + "can reach", advice: "make it smaller")
            }
            do {
                return try MemoryRegion(byteCount: byteCount, pages: pages, node: geometry.node)
            } catch {
                throw BdevError(.noMemory, bdev: name, "\(error)")
            }
        }
        let isApart = geometry.metadataByteCount > 0 && !geometry.isMetadataInterleaved
        data = try map(geometry.blockByteCount)
        metadata = isApart ? try map(geometry.metadataByteCount) : nil
        protection = geometry.blockProtection
        blockByteCount = UInt64(geometry.blockByteCount)
        metadataByteCount = UInt64(geometry.metadataByteCount)
    }

    /// Whether a block is bytes and nothing more.
    var isPlain: Bool { metadata == nil && protection == nil }

    func data(_ start: UInt64, _ count: UInt64) -> IOMemory {
        data.memory(from: Int(start * blockByteCount), count: Int(count * blockByteCount))
    }

    /// The metadata of blocks that have it apart.
    func metadata(_ start: UInt64, _ count: UInt64) -> IOMemory? {
        metadata?.memory(from: Int(start * metadataByteCount), count: Int(count * metadataByteCount))
    }

    // MARK: What concerns protection too

    /// Protects every block of a new disk. A piece at a time, so that others have their turns.
    func format(blockCount: UInt64) async {
        if protection == nil { return }
        let most = max(1, (1 << 20) / blockByteCount)
        for start in stride(from: 0, to: blockCount, by: UInt64.Stride(most)) {
            protect(start, min(most, blockCount - start))
            await Task.yield()
        }
    }

    /// Makes the protection information of what the blocks hold.
    func protect(_ start: UInt64, _ count: UInt64) {
        protection?.generate(
            Segments(data(start, count)), metadata: metadata(start, count), blockCount: Int(count),
            tags: tags(start))
    }

    /// Those of type 3 are the user's: until he gives some they are 0, however many blocks are made at once.
    private func tags(_ start: UInt64) -> ProtectionTags {
        ProtectionTags(referenceTag: protection?.information.type == .type3 ? 0 : start)
    }

    func verify(_ start: UInt64, _ count: UInt64) throws(ProtectionFailure) {
        try protection?.verify(
            Segments(data(start, count)), metadata: metadata(start, count), blockCount: Int(count),
            tags: tags(start))
    }

    /// Zeros in data and metadata, with protection information that is right.
    func zero(_ start: UInt64, _ count: UInt64) {
        data.zero(from: Int(start * blockByteCount), count: Int(count * blockByteCount))
        metadata?.zero(from: Int(start * metadataByteCount), count: Int(count * metadataByteCount))
        protect(start, count)
    }

    /// Copies blocks with their metadata, whose reference tags become those of their new place.
    ///
    /// - Throws: what is wrong with the source; nothing was copied then.
    func copy(from source: UInt64, to target: UInt64, _ count: UInt64) throws(ProtectionFailure) {
        try verify(source, count)
        data(target, count).copy(from: data(source, count))
        if let from = metadata(source, count), let to = metadata(target, count) { to.copy(from: from) }
        try protection?.remap(
            Segments(data(target, count)), metadata: metadata(target, count), blockCount: Int(count), from: source,
            to: target)
    }
}
