import CLinux
import Synchronization

// SAFETY (below): blocks lie in tables that live as long as their pool, which an outstanding buffer keeps alive; a
// block is on one free list, or one buffer's, or in the chain of returned ones.

/// The I/O memory of one reactor, in blocks of a few sizes.
///
/// Everything is sized at the start. A size that runs out is enlarged by as much again as it had, up to a limit for the
/// whole pool; after that `allocate` answers nil, which callers turn into waiting, not failing. Memory is aligned to
/// 4,096 bytes, comes from the reactor's NUMA node, and is counted only as it is touched.
///
/// Belongs to its reactor; only giving back is done from any thread.
@safe public final class BufferPool: @unchecked Sendable {
    /// The least alignment of a buffer, in bytes.
    public static let alignment = 4096

    @safe private struct SizeClass {
        let byteCount: Int
        let growth: Int
        var free: UnsafeMutablePointer<BufferBlock>?
        var total = 0
        var available = 0
    }

    // SAFETY: all but `returned` is touched on the reactor's thread only.
    private var classes: [SizeClass]
    private let options: Options
    private var mapped = 0
    private(set) var regions: [MemoryRegion] = []
    private var tables: [UnsafeMutablePointer<BufferBlock>] = unsafe []
    private var waiters: [BufferWaiter] = []
    private let reactor: Reactor
    /// Blocks given back by other threads, linked through `next`.
    private let returned = Atomic<UInt>(0)
    /// Set while somebody waits, so that a return from elsewhere wakes the reactor.
    private let hasWaiters = Atomic<Bool>(false)

    init(reactor: Reactor, options: Options) {
        self.reactor = reactor
        self.options = options
        classes = options.sizeClasses.map {
            precondition($0.byteCount % Self.alignment == 0, "a size class must be a multiple of 4,096 bytes")
            return unsafe SizeClass(byteCount: $0.byteCount, growth: max(1, $0.count), free: nil)
        }
    }

    /// The blocks of one region, which is all there is.
    package init(reactor: Reactor, region: MemoryRegion, blockByteCount: Int) {
        precondition(blockByteCount % Self.alignment == 0, "a size class must be a multiple of 4,096 bytes")
        self.reactor = reactor
        var options = Options()
        options.byteCountLimit = 0
        self.options = options
        let count = region.byteCount / blockByteCount
        classes = [unsafe SizeClass(byteCount: blockByteCount, growth: count, free: nil)]
        add(region, count, to: 0)
    }

    deinit {
        // SAFETY: an outstanding block holds a reference, so all blocks are here.
        while let table = unsafe tables.popLast() { unsafe table.deallocate() }
    }

    /// A buffer of `byteCount` bytes, or nil when the pool has reached its limit: wait for one to come back
    /// (``LocalReactor/buffer(byteCount:)``), or do with fewer.
    ///
    /// Cost: a few instructions while the size has free blocks; a mapping when it must grow.
    /// The contents are what the last holder left.
    package func allocate(byteCount: Int) -> IOBuffer? {
        precondition(byteCount > 0, "a buffer cannot be empty")
        if !waiters.isEmpty, isAwaited(byteCount) { return nil }
        return unsafe take(byteCount).map { unsafe hand($0, byteCount) }
    }

    private func take(_ byteCount: Int) -> UnsafeMutablePointer<BufferBlock>? {
        let index = sizeClass(byteCount)
        if unsafe classes[index].free == nil {
            collectReturned()
            if unsafe classes[index].free == nil, !grow(index) { return nil }
        }
        // SAFETY: a free block of this pool's tables; it leaves the list here and is this buffer's alone.
        let block = unsafe classes[index].free!
        unsafe classes[index].free = block.pointee.next
        classes[index].available -= 1
        return unsafe block
    }

    private func hand(_ block: UnsafeMutablePointer<BufferBlock>, _ byteCount: Int) -> IOBuffer {
        // SAFETY: the block is free and initialized; the reference is released by `giveBack`.
        unsafe block.pointee.next = nil
        unsafe block.pointee.byteCount = byteCount
        unsafe block.pointee.pool = Unmanaged.passRetained(self)
        return unsafe IOBuffer(block: block)
    }

    /// Which size such a buffer is of.
    @inline(__always)
    private func sizeClass(_ byteCount: Int) -> Int {
        classes.firstIndex { $0.byteCount >= byteCount } ?? addSizeClass(byteCount: byteCount)
    }

    /// Larger than every size so far: a size of its own, one block at a time.
    private func addSizeClass(byteCount: Int) -> Int {
        let size = (byteCount + Self.alignment - 1) & ~(Self.alignment - 1)
        unsafe classes.append(SizeClass(byteCount: size, growth: 1, free: nil))
        return classes.count - 1
    }

    private func grow(_ index: Int) -> Bool {
        let size = classes[index].byteCount, count = classes[index].growth
        // A hugepage each, where blocks fit into one: a device without an IOMMU takes what is in one piece.
        let most = options.pages == .huge ? max(1, MemoryRegion.hugeByteCount / size) : count
        var left = count
        while left > 0 {
            let part = min(left, most)
            guard mapped + size * part <= options.byteCountLimit,
                let region = try? MemoryRegion(byteCount: size * part, pages: options.pages, node: options.node)
            else { break }
            mapped += region.byteCount
            add(region, part, to: index)
            reactor.poolDidGrow(region)
            left -= part
        }
        return left < count
    }

    /// Makes `count` blocks of a region.
    private func add(_ region: MemoryRegion, _ count: Int, to index: Int) {
        let size = classes[index].byteCount
        regions.append(region)
        // SAFETY: the table is freed in deinit, when every block is back.
        let table = UnsafeMutablePointer<BufferBlock>.allocate(capacity: count)
        unsafe tables.append(table)
        for number in (0..<count).reversed() {
            let memory = region.memory(from: number * size, count: size)
            unsafe (table + number).initialize(
                to: BufferBlock(
                    base: memory.base, capacity: size, arena: region.arena, byteCount: 0,
                    next: classes[index].free, pool: nil))
            unsafe classes[index].free = table + number
        }
        classes[index].total += count
        classes[index].available += count
    }

    /// From `IOBuffer.deinit`, on any thread.
    static func giveBack(_ block: UnsafeMutablePointer<BufferBlock>) {
        // SAFETY: the buffer that owned the block is gone; the reference it held keeps the pool alive through this
        // call.
        let pool = unsafe block.pointee.pool!.takeRetainedValue()
        unsafe block.pointee.pool = nil
        if pool.reactor.isCurrent { unsafe pool.insert(block) } else { unsafe pool.insertRemotely(block) }
    }

    private func insert(_ block: UnsafeMutablePointer<BufferBlock>) {
        unsafe putBack(block)
        if !waiters.isEmpty { serveWaiters() }
    }

    private func putBack(_ block: UnsafeMutablePointer<BufferBlock>) {
        // SAFETY: the block is this pool's and nobody's else now.
        let size = unsafe block.pointee.capacity
        guard let index = classes.firstIndex(where: { $0.byteCount == size }) else {
            preconditionFailure("a buffer came back to a pool that has no such size")
        }
        unsafe block.pointee.next = classes[index].free
        unsafe classes[index].free = block
        classes[index].available += 1
    }

    private func insertRemotely(_ block: UnsafeMutablePointer<BufferBlock>) {
        var top = returned.load(ordering: .relaxed)
        while true {
            // SAFETY: the block is ours until the exchange publishes it.
            unsafe block.pointee.next = UnsafeMutablePointer(bitPattern: top)
            let (done, current) = returned.weakCompareExchange(
                expected: top, desired: UInt(bitPattern: block), successOrdering: .releasing, failureOrdering: .relaxed)
            if done { break }
            top = current
        }
        if hasWaiters.load(ordering: .sequentiallyConsistent) {
            reactor.post { _ in
                self.collectReturned()
                self.serveWaiters()
            }
        }
    }

    /// Serves nobody: who waits is served by whoever looks for a block here.
    private func collectReturned() {
        if returned.load(ordering: .relaxed) == 0 { return }
        var next = unsafe UnsafeMutablePointer<BufferBlock>(
            bitPattern: returned.exchange(0, ordering: .acquiringAndReleasing))
        // SAFETY: the exchange made the whole chain ours.
        while let block = unsafe next {
            unsafe next = block.pointee.next
            unsafe putBack(block)
        }
    }

    // MARK: Waiting

    /// How many bytes the block has that a buffer is made of.
    func capacity(_ byteCount: Int) -> Int { classes[sizeClass(byteCount)].byteCount }

    /// The most memory it may ever have, in bytes.
    var byteCountLimit: Int { options.byteCountLimit }

    /// Whether others wait for a buffer of that size.
    private func isAwaited(_ byteCount: Int) -> Bool {
        let size = sizeClass(byteCount)
        return waiters.contains { sizeClass($0.byteCount) == size }
    }

    /// For whoever got nil from `allocate`: the first buffer that fits goes to the first who waits for that size, and
    /// nobody overtakes. Nil when one came back in the meantime: allocate again.
    func addWaiter(byteCount: Int, _ wake: BufferWaiter.Wake) -> BufferWaiter? {
        hasWaiters.store(true, ordering: .sequentiallyConsistent)
        collectReturned()
        serve()
        let waiter = BufferWaiter(byteCount: byteCount, wake)
        if !isAwaited(byteCount), let block = unsafe take(byteCount) {
            unsafe putBack(block)
            if waiters.isEmpty { hasWaiters.store(false, ordering: .sequentiallyConsistent) }
            return nil
        }
        waiters.append(waiter)
        return waiter
    }

    /// What a waiter was given; nil when it has been dismissed.
    func collect(_ waiter: BufferWaiter) -> IOBuffer? {
        // SAFETY: `serveWaiters` took the block off the free list for this waiter alone.
        guard let block = unsafe waiter.block.take() else { return nil }
        return unsafe hand(block, waiter.byteCount)
    }

    /// Who waits when this returns, or is about to, is told by whoever gives a block back on another thread.
    private func serve() {
        var index = 0, empty: Set<Int> = []
        while index < waiters.count {
            let waiter = waiters[index]
            let size = sizeClass(waiter.byteCount)
            if !empty.contains(size), let block = unsafe take(waiter.byteCount) {
                unsafe waiter.block = block
                waiters.remove(at: index)
                wake(waiter)
            } else {
                empty.insert(size)
                index += 1
            }
        }
    }

    private func serveWaiters() {
        serve()
        if waiters.isEmpty { hasWaiters.store(false, ordering: .sequentiallyConsistent) }
    }

    private func wake(_ waiter: BufferWaiter) {
        switch waiter.wake {
        case .task(let spot, _): reactor.loop.unpark(spot)
        case .call(let body): body()
        }
    }

    /// Those whose task has been cancelled, if they want to hear of it, wait no longer.
    func dismissCancelledWaiters() {
        if waiters.isEmpty { return }
        let cancelled = waiters.filter { waiter in
            guard case .task(let spot, heedsCancellation: true) = waiter.wake else { return false }
            return reactor.loop.isCancelled(at: spot)
        }
        for waiter in cancelled {
            waiters.removeAll { $0 === waiter }
            wake(waiter)
        }
        // Others may have waited behind it.
        if !cancelled.isEmpty { serveWaiters() }
    }

    /// How many buffers of each size there are, and how many of those are free.
    package var occupancy: [(byteCount: Int, total: Int, available: Int)] {
        collectReturned()
        serveWaiters()
        return classes.map { ($0.byteCount, $0.total, $0.available) }
    }
}
