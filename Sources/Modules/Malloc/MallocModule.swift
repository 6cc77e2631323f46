public import Bdev
public import Reactors
import Synchronization

/// Makes bdevs whose blocks lie in the memory of this process: RAM disks. Fast, empty (zeros) at first, and gone with
/// the process.
public final class MallocModule: BdevModule {
    public let name = "malloc"
    private let host = HostSlot()
    /// Of the next default name.
    private let nextNumber = Atomic(0)

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    /// How a RAM disk is made.
    public struct Options: Sendable {
        /// nil: `Malloc` and the first number that makes a name nobody has.
        public var name: String?
        /// At least 1.
        public var blockCount: UInt64
        /// Bytes of data in a block: a multiple of 512. 512 and 4096 are usual.
        public var blockByteCount: Int
        /// nil: the blocks have none.
        public var metadata: BlockMetadata?
        /// A multiple of 512; 0: as many bytes as a block has data.
        public var physicalBlockByteCount = 0
        /// nil: a random one.
        public var uuid: BdevUUID?
        /// The NUMA node its memory is taken from; nil: that of whoever first writes a page.
        public var node: Int?
        /// Huge pages must be in the kernel's pool; they are all taken at once.
        public var pages = MemoryRegion.Pages.normal
        /// Blocks between boundaries that no I/O crosses: the layer splits there. 0 for none.
        public var optimalBoundaryBlockCount: UInt64 = 0

        public init(name: String? = nil, blockCount: UInt64, blockByteCount: Int = 512) {
            self.name = name
            self.blockCount = blockCount
            self.blockByteCount = blockByteCount
        }
    }

    /// Makes a RAM disk, all zeros. Its memory is reserved here, and taken from the system as pages are first written;
    /// that of a disk with protection information is written here, since every block gets its own.
    ///
    /// - Returns: its name.
    /// - Throws: `invalidGeometry` for impossible sizes, `invalidArgument` for a NUMA node the machine does not have,
    ///   `noMemory`, `nameInUse`.
    @discardableResult
    public func create(_ options: Options) async throws(BdevError) -> String {
        let label = options.name ?? "Malloc"
        var geometry = try BdevGeometry(
            of: "a RAM disk", name: label, dataByteCount: options.blockByteCount, blockCount: options.blockCount,
            metadata: options.metadata, physicalBlockByteCount: options.physicalBlockByteCount)
        if let node = options.node, !MemoryRegion.hasNode(node) {
            throw BdevError(
                .invalidArgument, bdev: label,
                "cannot take memory from NUMA node \(node): the machine has no such node",
                advice: "leave the node out, or choose one that `numactl --hardware` lists")
        }
        geometry.optimalBoundaryBlockCount = options.optimalBoundaryBlockCount
        geometry.splitsAtOptimalBoundary = options.optimalBoundaryBlockCount > 0
        geometry.hasWriteCache = true
        geometry.node = options.node
        let store = try MallocStore(geometry, pages: options.pages, name: label)
        await store.format(blockCount: geometry.blockCount)
        return try await register(options, geometry, store)
    }

    private func register(
        _ options: Options, _ geometry: BdevGeometry, _ store: MallocStore
    ) async throws(BdevError) -> String {
        while true {
            let name = options.name ?? "Malloc\(nextNumber.add(1, ordering: .relaxed).oldValue)"
            var properties = BdevProperties(
                name: name, productName: "RAM disk", geometry: geometry,
                supportedTypes: [
                    .read, .write, .unmap, .flush, .reset, .writeZeroes, .zeroCopy, .abort, .compare, .copy,
                ])
            properties.uuid = options.uuid
            do {
                try await host.value.register(properties, driver: MallocDriver(store))
                return name
            } catch {
                // Somebody chose this name by hand: the next number may be free. A UUID that is taken stays taken.
                if options.name != nil || options.uuid != nil || error.code != .nameInUse { throw error }
            }
        }
    }

    /// Removes a RAM disk and gives its memory back. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when there is no RAM disk of this name, `busy` when it is on its way out already.
    public func delete(_ name: String) async throws(BdevError) { try await host.value.unregister(name) }
}

private final class MallocDriver: BdevDriver {
    /// nil once the bdev is gone: whoever still holds a closed descriptor does not hold the memory.
    private let store: ThreadLock<MallocStore?>

    init(_ store: MallocStore) { self.store = ThreadLock(store) }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        guard let store = store.withLock({ $0 }) else { throw BdevError(.removed, "the RAM disk is gone") }
        return store.isPlain ? MallocChannel(store) : ProtectedMallocChannel(store)
    }

    func destroy() async { store.withLock { $0 = nil } }
}
