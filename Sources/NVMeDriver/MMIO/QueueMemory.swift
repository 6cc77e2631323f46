import CLinux
import Reactors

// SAFETY (below): the queues and lists lie in the region, which lives as long as self; the slots are allocated in init
// and freed in deinit. Indexes come from the queue pair, which keeps them below the counts, or from a controller, and
// are checked there. Memory that the device also uses is loaded and stored with the accesses made for that.

/// What one queue pair keeps in memory that the controller reads and writes: its two rings, and a page for each request
/// that lists where its data is. And what only the driver sees: the requests, and the buffers that they keep.
///
/// One region has the submission queue and the completion queue, each from a page's start; others have the lists, 2 MiB
/// of them each: without an IOMMU a region must be in one piece.
@safe final class QueueMemory {
    let entryCount: Int
    let slotCount: Int
    /// Where the controller finds the submission queue.
    let submissionAddress: IOVA
    let completionAddress: IOVA

    /// 512 lists, or fewer at the end.
    @safe private struct Lists {
        let memory: UnsafeMutableRawPointer
        let address: IOVA
    }

    private let regions: [MemoryRegion]
    private let submission: UnsafeMutableRawPointer
    private let completion: UnsafeMutableRawPointer
    private let lists: UnsafeMutablePointer<Lists>
    private let listsCount: Int
    private let slots: UnsafeMutablePointer<RequestSlot>
    /// Of those requests that keep any; of others it is not initialized.
    private let kept: UnsafeMutablePointer<KeptBuffers>

    /// Of a list: room for 512 PRP entries, or 256 SGL descriptors.
    static let listByteCount = 4096
    static let listEntryCount = listByteCount / 8
    static let descriptorCount = listByteCount / 16
    /// As many lists as a region has: a power of two.
    private static let listsLength = 512

    /// - Parameters:
    ///   - entryCount: of both queues, 2 to 65,536.
    ///   - slotCount: requests, in flight and waiting, at most 65,535.
    ///   - pageByteCount: of the controller's memory pages.
    ///   - node: whose memory is preferred.
    ///   - domain: where the memory is mapped.
    ///   - place: of the submission queue, in the controller, which keeps it; nil: in this memory.
    init(
        entryCount: Int, slotCount: Int, pageByteCount: Int, node: Int?, domain: DMADomain,
        place: (memory: MMIO, address: IOVA)? = nil
    ) throws(NVMeError) {
        precondition(2...65_536 ~= entryCount && 1...65_535 ~= slotCount, "a queue has 2 to 65,536 entries")
        self.entryCount = entryCount
        self.slotCount = slotCount
        let page = max(pageByteCount, Self.listByteCount)
        func paged(_ count: Int) -> Int { (count + page - 1) / page * page }
        let submissionSize = place == nil ? paged(entryCount * 64) : 0, completionSize = paged(entryCount * 16)
        listsCount = (slotCount + Self.listsLength - 1) / Self.listsLength
        let sizes =
            [submissionSize + completionSize]
            + (0..<listsCount).map { min(slotCount - $0 * Self.listsLength, Self.listsLength) * Self.listByteCount }
        var regions: [MemoryRegion] = [], starts: [IOVA] = []
        for size in sizes {
            let region: MemoryRegion
            do {
                region = try MemoryRegion(byteCount: size, pages: domain.pages, node: node)
            } catch {
                throw NVMeError(.outOfMemory, "cannot make queues of \(entryCount) entries: \(error)")
            }
            starts.append(try domain.map(region))
            regions.append(region)
        }
        self.regions = regions
        submissionAddress = place?.address ?? starts[0]
        completionAddress = starts[0] + submissionSize
        let own = unsafe regions[0].memory(from: 0, count: regions[0].byteCount).base
        if let place {
            precondition(place.memory.byteCount >= entryCount * 64, "a queue reaches beyond its place")
            unsafe submission = place.memory.base
        } else {
            unsafe submission = own
        }
        unsafe completion = own + submissionSize
        unsafe lists = .allocate(capacity: listsCount)
        for index in 0..<listsCount {
            unsafe (lists + index).initialize(to: Lists(memory: regions[index + 1].base, address: starts[index + 1]))
        }
        unsafe slots = .allocate(capacity: slotCount)
        unsafe slots.initialize(repeating: RequestSlot(), count: slotCount)
        unsafe kept = .allocate(capacity: slotCount)
    }

    deinit {
        for slot in 0..<slotCount where unsafe slots[slot].keepsBuffers { unsafe (kept + slot).deinitialize(count: 1) }
        unsafe kept.deallocate()
        unsafe slots.deinitialize(count: slotCount)
        unsafe slots.deallocate()
        unsafe lists.deallocate()
    }

    /// As a controller expects its queues when they are created.
    func clear() {
        unsafe submission.initializeMemory(as: UInt8.self, repeating: 0, count: entryCount * 64)
        unsafe completion.initializeMemory(as: UInt8.self, repeating: 0, count: entryCount * 16)
    }

    // MARK: Requests

    /// A request by its number, which is also its command identifier.
    @inline(__always)
    subscript(slot: Int) -> RequestSlot {
        @inline(__always) _read { yield unsafe slots[slot] }
        @inline(__always) _modify { yield unsafe &slots[slot] }
    }

    // MARK: Rings

    /// Puts a request's command in the submission queue. The controller looks when the doorbell is rung.
    @inline(__always)
    func enqueue(_ slot: Int, at index: Int) {
        let entry = unsafe (submission + index &<< 6).assumingMemoryBound(to: SubmissionQueueEntry.self)
        unsafe entry.pointee = slots[slot].command
    }

    /// Words 2 and 3 of a completion queue entry. What word 3 says is complete when its phase has changed.
    @inline(__always)
    func completionHead(at index: Int) -> UInt32 {
        unsafe clinux_mmio_load32(completion + (index &<< 4 &+ 12))
    }

    /// The submission queue's head and number, of an entry whose phase has changed.
    @inline(__always)
    func completionQueue(at index: Int) -> UInt32 {
        unsafe (completion + (index &<< 4 &+ 8)).load(as: UInt32.self)
    }

    /// The command's result, of an entry whose phase has changed.
    @inline(__always)
    func completionResult(at index: Int) -> UInt64 {
        unsafe (completion + index &<< 4).load(as: UInt64.self)
    }

    // MARK: Lists

    /// Where the controller finds the list of a request.
    @inline(__always)
    func list(_ slot: Int) -> IOVA {
        unsafe lists[slot / Self.listsLength].address + slot % Self.listsLength &* Self.listByteCount
    }

    @inline(__always)
    private func listMemory(_ slot: Int) -> UnsafeMutableRawPointer {
        unsafe lists[slot / Self.listsLength].memory + slot % Self.listsLength &* Self.listByteCount
    }

    /// Puts a PRP entry in a request's list.
    @inline(__always)
    func setListEntry(_ slot: Int, _ index: Int, _ address: IOVA) {
        unsafe listMemory(slot).storeBytes(of: address.rawValue, toByteOffset: index &* 8, as: UInt64.self)
    }

    /// Puts an SGL data block descriptor in a request's list (NVM Express Base Specification 2.0, figure 100).
    @inline(__always)
    func setDescriptor(_ slot: Int, _ index: Int, _ address: IOVA, byteCount: Int) {
        let entry = unsafe listMemory(slot) + index &* 16
        unsafe entry.storeBytes(of: address.rawValue, as: UInt64.self)
        unsafe entry.storeBytes(of: UInt64(truncatingIfNeeded: byteCount), toByteOffset: 8, as: UInt64.self)
    }

    // MARK: Buffers

    /// Keeps buffers until the request has ended.
    @inline(__always)
    func keep(_ data: consuming IOBuffer?, _ metadata: consuming IOBuffer?, for slot: Int) {
        unsafe (kept + slot).initialize(to: KeptBuffers(data: data, metadata: metadata))
        unsafe slots[slot].keepsBuffers = true
    }
}

/// What a request has been lent, so that nobody frees it under the device.
private struct KeptBuffers: ~Copyable {
    let data: IOBuffer?
    let metadata: IOBuffer?
}

/// One request of a queue pair.
@safe struct RequestSlot {
    enum State: UInt8 {
        case free
        /// Accepted, and waiting for room in the queue.
        case waiting
        case inFlight
        /// In flight, and an Abort command that names it is under way.
        case aborting
        /// Has ended, but the Abort command that names it has not: its identifier must not be used again yet.
        case lingering
        /// Failed by the driver's own doing; will be told.
        case failed
    }

    var command = SubmissionQueueEntry(opcode: 0)
    /// Who is told; the queue pair keeps its clients alive.
    fileprivate var client: Unmanaged<NVMeClient>?
    var token: UInt64 = 0
    /// The next free or waiting one; -1: none.
    var next: Int32 = -1
    /// In which period of the time-out scan it was started.
    var epoch: UInt32 = 0
    var state = State.free
    var retries: UInt8 = 0
    /// How often the time-out policy has dealt with it.
    var overdueCount: UInt8 = 0
    fileprivate var keepsBuffers = false

    /// Takes a free one for a command.
    @inline(__always)
    mutating func take(_ command: SubmissionQueueEntry, number: Int, client: NVMeClient, token: UInt64) {
        self.command = command
        self.command.commandIdentifier = UInt16(truncatingIfNeeded: number)
        unsafe self.client = .passUnretained(client)
        self.token = token
        retries = 0
        overdueCount = 0
    }

    /// Whether `client` gave it.
    func belongs(to client: NVMeClient) -> Bool {
        unsafe self.client?.toOpaque() == Unmanaged.passUnretained(client).toOpaque()
    }
}

extension QueueMemory {
    /// Tells a request's client, and keeps the request.
    func tell(_ slot: Int, _ completion: NVMeCompletion) {
        let client = unsafe slots[slot].client, token = unsafe slots[slot].token
        unsafe tell(client, slot, token, completion)
    }

    /// Makes a request free, and tells its client. The client may take it again at once.
    @inline(__always)
    func end(_ slot: Int, next: Int32, _ completion: NVMeCompletion) {
        let client = unsafe slots[slot].client, token = unsafe slots[slot].token
        unsafe slots[slot].state = .free
        unsafe slots[slot].next = next
        unsafe tell(client, slot, token, completion)
    }

    @inline(__always)
    private func tell(
        _ client: Unmanaged<NVMeClient>?, _ slot: Int, _ token: UInt64, _ completion: NVMeCompletion
    ) {
        // SAFETY: the queue pair keeps the client while it has commands here.
        if unsafe slots[slot].keepsBuffers {
            unsafe slots[slot].keepsBuffers = false
            unsafe client?._withUnsafeGuaranteedRef {
                let buffers = unsafe (kept + slot).move()
                $0.commandCompleted(token: token, completion, data: buffers.data, metadata: buffers.metadata)
            }
        } else {
            unsafe client?._withUnsafeGuaranteedRef { $0.commandCompleted(token: token, completion) }
        }
    }
}
