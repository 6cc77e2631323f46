import CLinux
import Synchronization
import SystemPackage

// SAFETY (below): the mapping lives as long as its region, and every offset is checked against its size.

/// Pages of memory mapped from the kernel: the ground that buffer pools and RAM disks stand on.
///
/// Zero at first, page-aligned, and paid for only when touched. Unmapped when the last reference goes.
@safe public final class MemoryRegion: @unchecked Sendable {
    /// Which pages.
    public enum Pages: Sendable, Hashable {
        /// The system's normal pages.
        case normal
        /// 2 MiB pages from a memfd: no mount is needed, free pages in the kernel's pool are.
        case huge
    }

    /// Of a hugepage.
    static let hugeByteCount = 2 << 20

    // SAFETY: immutable; the mapping lives as long as self.
    package let base: UnsafeMutableRawPointer
    /// Its size in bytes, rounded up to whole pages.
    public let byteCount: Int
    public let pages: Pages
    /// For a ring's table of registered buffers. Never 0, never used twice in a process.
    package let arena: UInt32
    /// Whose memory it is; nil: a mapping of its own.
    private let owner: (any AnyObject & Sendable)?
    /// A device has its pages: they cannot be exchanged for others.
    private let isPinned = Atomic(false)
    /// Called before the memory is unmapped, by who has it.
    private let endings = ThreadLock<[ObjectIdentifier: @Sendable () -> Void]>([:])
    /// All that there are, by arena.
    private static let directory = ThreadLock<[UInt32: WeakRegion]>([:])

    private struct WeakRegion: Sendable {
        weak let region: MemoryRegion?
    }

    /// - Parameters:
    ///   - byteCount: in bytes, more than 0.
    ///   - pages: which pages.
    ///   - node: the NUMA node its pages are preferred from; nil: that of whoever touches them first.
    /// - Throws: `ReactorError` (`resourceExhausted`) when the kernel refuses.
    public init(byteCount: Int, pages: Pages = .normal, node: Int? = nil) throws(ReactorError) {
        precondition(byteCount > 0, "a memory region cannot be empty")
        var size: Int64 = 0
        guard let address = unsafe clinux_map_memory(Int64(byteCount), pages == .huge, Int32(node ?? -1), &size) else {
            let cause = Errno(rawValue: Int32(-size))
            throw ReactorError(
                .resourceExhausted, "cannot map \(byteCount) bytes of \(pages) pages", cause: cause,
                advice: pages == .huge
                    ? "reserve 2 MiB pages (sysctl vm.nr_hugepages) or use normal pages"
                    : "free memory or ask for less")
        }
        unsafe base = address
        self.byteCount = Int(size)
        self.pages = pages
        owner = nil
        arena = clinux_next_arena()
        Self.directory.withLock { $0[arena] = WeakRegion(region: self) }
    }

    /// Memory that `owner` has mapped, and keeps for as long as it lives: a device's, as a rule.
    @unsafe package init(base: UnsafeMutableRawPointer, byteCount: Int, of owner: any AnyObject & Sendable) {
        unsafe self.base = base
        self.byteCount = byteCount
        pages = .normal
        self.owner = owner
        arena = clinux_next_arena()
        isPinned.store(true, ordering: .relaxed)
        Self.directory.withLock { $0[arena] = WeakRegion(region: self) }
    }

    deinit {
        release()
        Self.directory.withLock { _ = $0.removeValue(forKey: arena) }
        if owner != nil { return }
        // SAFETY: mapped in init with this size; nobody holds the region any more.
        unsafe clinux_unmap_memory(base, Int64(byteCount))
    }

    /// Whether the machine has a NUMA node of this number; without NUMA it has node 0.
    package static func hasNode(_ node: Int) -> Bool {
        if node == 0 { return true }
        guard let node = Int32(exactly: node), node > 0 else { return false }
        var total: Int64 = 0, available: Int64 = 0
        // SAFETY: two variables, lent for the time of the call.
        return unsafe clinux_node_memory(node, &total, &available)
    }

    /// The part from `offset`, `count` bytes long. Traps outside its bounds.
    package func memory(from offset: Int, count: Int) -> IOMemory {
        precondition(
            offset >= 0 && count >= 0 && offset <= byteCount && count <= byteCount - offset,
            "a slice of a memory region reaches beyond its end")
        // SAFETY: within the bounds just checked.
        return unsafe IOMemory(base: base + offset, byteCount: count, arena: arena)
    }

    /// Gives whole pages of the range back to the kernel, unless a device has them; the range reads as zeros
    /// afterwards.
    package func zero(from offset: Int, count: Int) {
        let range = memory(from: offset, count: count)
        let keepsPages = pages == .huge || isPinned.load(ordering: .acquiring)
        // SAFETY: within the bounds checked by `memory(from:count:)`.
        unsafe clinux_zero_memory(range.base, Int64(range.byteCount), keepsPages)
    }

    // MARK: Devices

    /// The region that is called `arena`; nil when it is gone. Takes a lock.
    package static func find(arena: UInt32) -> MemoryRegion? { directory.withLock { $0[arena]?.region } }

    /// A device is about to get the region's pages: from here on they stay where they are. Before the memory is
    /// unmapped or released, `ending` is called, on whatever thread does it. `holder`: whoever calls ``unpin(for:)``,
    /// or lives as long as the region.
    package func pin(for holder: AnyObject, ending: @escaping @Sendable () -> Void) {
        endings.withLock {
            isPinned.store(true, ordering: .releasing)
            $0[ObjectIdentifier(holder)] = ending
        }
    }

    /// `holder` has the pages no more.
    package func unpin(for holder: AnyObject) {
        endings.withLock {
            $0[ObjectIdentifier(holder)] = nil
            if $0.isEmpty, owner == nil { isPinned.store(false, ordering: .releasing) }
        }
    }

    /// Takes the memory from all devices that have it, since it will be somebody else's.
    package func release() {
        let endings = endings.withLock { endings in
            defer { endings = [:] }
            return endings
        }
        for ending in endings.values { ending() }
    }

    /// How many have its pages.
    package var pinCount: Int { endings.withLock(\.count) }
}
