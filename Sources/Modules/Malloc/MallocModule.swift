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
        /// In bytes: a multiple of 512. 512 and 4096 are usual.
        public var blockByteCount: Int
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

    /// Makes a RAM disk, all zeros. Its memory is reserved here, and taken from the system as pages are first written.
    ///
    /// - Returns: its name.
    /// - Throws: `invalidGeometry` for impossible sizes, `invalidArgument` for a NUMA node the machine does not have,
    ///   `noMemory`, `nameInUse`.
    @discardableResult
    public func create(_ options: Options) async throws(BdevError) -> String {
        let label = options.name ?? "Malloc"
        let byteCount = try Self.byteCount(options, label)
        if let node = options.node, !MemoryRegion.hasNode(node) {
            throw BdevError(
                .invalidArgument, bdev: label,
                "cannot take memory from NUMA node \(node): the machine has no such node",
                advice: "leave the node out, or choose one that `numactl --hardware` lists")
        }
        let region: MemoryRegion
        do {
            region = try MemoryRegion(byteCount: byteCount, pages: options.pages, node: options.node)
        } catch {
            throw BdevError(.noMemory, bdev: label, "\(error)")
        }
        return try await register(options, region)
    }

    private static func byteCount(_ options: Options, _ label: String) throws(BdevError) -> Int {
        func refuse(_ what: String, _ advice: String) -> BdevError {
            BdevError(.invalidGeometry, bdev: label, "cannot make a RAM disk \(what)", advice: advice)
        }
        if options.blockByteCount <= 0 || options.blockByteCount % 512 != 0 {
            throw refuse("with blocks of \(options.blockByteCount) bytes", "use a multiple of 512")
        }
        if options.blockCount == 0 { throw refuse("of no blocks", "use at least one") }
        let (bytes, overflow) = options.blockCount.multipliedReportingOverflow(by: UInt64(options.blockByteCount))
        guard !overflow, let byteCount = Int(exactly: bytes), byteCount <= Int.max - (4 << 20) else {
            throw refuse(
                "of \(options.blockCount) blocks of \(options.blockByteCount) bytes: more than an address can reach",
                "make it smaller")
        }
        return byteCount
    }

    private func register(_ options: Options, _ region: MemoryRegion) async throws(BdevError) -> String {
        var geometry = BdevGeometry(blockByteCount: options.blockByteCount, blockCount: options.blockCount)
        geometry.optimalBoundaryBlockCount = options.optimalBoundaryBlockCount
        geometry.splitsAtOptimalBoundary = options.optimalBoundaryBlockCount > 0
        geometry.hasWriteCache = true
        geometry.node = options.node
        while true {
            let name = options.name ?? "Malloc\(nextNumber.add(1, ordering: .relaxed).oldValue)"
            var properties = BdevProperties(
                name: name, productName: "RAM disk", geometry: geometry,
                supportedTypes: [.read, .write, .unmap, .flush, .reset, .writeZeroes])
            properties.uuid = options.uuid
            do {
                try await host.value.register(properties, driver: MallocDriver(region))
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
    private let region: ThreadLock<MemoryRegion?>

    init(_ region: MemoryRegion) { self.region = ThreadLock(region) }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        guard let region = region.withLock({ $0 }) else { throw BdevError(.removed, "the RAM disk is gone") }
        return MallocChannel(region)
    }

    func destroy() async { region.withLock { $0 = nil } }
}

/// One reactor's way to the memory. Everything completes inside the submit.
///
/// All reactors copy into and out of the same mapping without a lock. Overlapping I/O at the same time is a race of
/// its users, as on any disk: what they read or leave behind is a mixture of both. It never reaches beyond the
/// mapping, whose place and size are fixed and which every copy checks against, and the mapping lives as long as this
/// channel.
private final class MallocChannel: BdevModuleChannel {
    private let region: MemoryRegion

    init(_ region: MemoryRegion) { self.region = region }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read: copyOut(request)
        case .write: copyIn(request)
        case .unmap, .writeZeroes: region.zero(from: Int(request.byteOffset), count: Int(request.byteCount))
        case .flush, .reset: break
        default: return request.complete(.notSupported)
        }
        request.complete()
    }

    @inline(__always)
    private func copyOut(_ request: borrowing IORequest) {
        var offset = Int(request.byteOffset)
        for index in 0..<request.segmentCount {
            let target = request.memory(index)
            target.copy(from: region.memory(from: offset, count: target.byteCount))
            offset += target.byteCount
        }
    }

    @inline(__always)
    private func copyIn(_ request: borrowing IORequest) {
        var offset = Int(request.byteOffset)
        for index in 0..<request.segmentCount {
            let source = request.memory(index)
            region.memory(from: offset, count: source.byteCount).copy(from: source)
            offset += source.byteCount
        }
    }
}
