import CLinux
import Reactors
import SystemPackage

// SAFETY (below): the handle is made in init and freed in deinit; entries are read before a call returns, and the batch
// has room for its capacity. Memory that is registered is of regions, which outlive what uses them.

/// An io_uring ring that carries NVMe commands to the kernel's driver. Used on the thread that made it.
@safe final class CommandRing {
    private let handle: OpaquePointer
    private let batch: UnsafeMutablePointer<clinux_nvme_completion>
    private static let capacity = 64
    private var buffers: RegisteredBuffers
    /// Descriptors by their place in the ring's table.
    private var files: [FileDescriptor] = []
    private static let fileLimit = 64
    let isPolled: Bool

    /// What it is told of a file.
    struct File {
        let descriptor: FileDescriptor
        fileprivate let slot: Int32
    }

    /// - Parameters:
    ///   - entryCount: of the submission queue.
    ///   - isPolled: completions are looked for in the device's polled queues.
    ///   - mapper: whose regions are registered; nil: none.
    ///   - segmentLimit: the most pages of a registered buffer.
    init(entryCount: Int, isPolled: Bool, mapper: KernelMapper?, segmentLimit: Int) throws(Errno) {
        var setup: UInt32 = 1 | 2 | 4 | 8 | CLINUX_RING_WIDE.rawValue
        if isPolled { setup |= CLINUX_RING_POLLS_COMPLETIONS.rawValue }
        var made: OpaquePointer?
        let result = unsafe clinux_ring_create(&made, UInt32(entryCount), UInt32(2 * entryCount), setup)
        guard result == 0, let made = unsafe made else { throw Errno(rawValue: -result) }
        unsafe handle = made
        self.isPolled = isPolled
        unsafe batch = .allocate(capacity: Self.capacity)
        unsafe batch.initialize(repeating: clinux_nvme_completion(), count: Self.capacity)
        let hasTable = unsafe mapper != nil && clinux_ring_create_buffer_table(made, RegisteredBuffers.slotLimit) == 0
        buffers = RegisteredBuffers(of: hasTable ? mapper : nil, segmentLimit: segmentLimit)
        if unsafe clinux_ring_create_file_table(made, UInt32(Self.fileLimit)) == 0 {
            files.reserveCapacity(Self.fileLimit)
        }
    }

    deinit {
        unsafe batch.deallocate()
        unsafe clinux_ring_destroy(handle)
    }

    /// Whether the kernel makes such a ring at all.
    static func probe() throws(Errno) {
        _ = try CommandRing(entryCount: 4, isPolled: false, mapper: nil, segmentLimit: 1)
    }

    /// Has every completion signal `event`.
    func signal(_ event: FileDescriptor) throws(Errno) {
        let result = unsafe clinux_ring_signal(handle, event.rawValue)
        if result < 0 { throw Errno(rawValue: -result) }
    }

    func add(_ descriptor: FileDescriptor) -> File {
        let slot = files.count
        if slot < files.capacity, slot < Self.fileLimit,
            unsafe clinux_ring_set_file(handle, UInt32(slot), descriptor.rawValue) == 0
        {
            files.append(descriptor)
            return File(descriptor: descriptor, slot: Int32(slot))
        }
        return File(descriptor: descriptor, slot: -1)
    }

    /// Takes the files from the table again.
    func removeFiles() {
        for slot in files.indices { _ = unsafe clinux_ring_set_file(handle, UInt32(slot), -1) }
        files.removeAll(keepingCapacity: true)
    }

    /// Puts the command of a submission queue entry into the ring. False: there is no room, and nothing has happened.
    @inline(__always)
    func prepare(
        _ entry: UnsafeRawPointer, for file: File, isAdmin: Bool, timeout: UInt32 = 0, token: UInt64
    ) -> Bool {
        let buffer = isAdmin ? -1 : unsafe buffers.slot(of: entry, in: handle)
        return unsafe clinux_nvme_prepare(
            handle, entry, isAdmin, file.descriptor.rawValue, file.slot, buffer, timeout, token)
    }

    /// Writes `text`, which stays as it is, to a file that may block: a thread of the kernel does it.
    func write(_ text: StaticString, to file: FileDescriptor, token: UInt64) -> Bool {
        var operation = unsafe clinux_operation(
            user_data: token, offset: 0, length: UInt64(text.utf8CodeUnitCount),
            address: UnsafeMutableRawPointer(mutating: text.utf8Start), descriptor: file.rawValue, slot: -1, buffer: -1,
            flags: 0, kind: UInt8(CLINUX_WRITE.rawValue))
        return unsafe clinux_ring_prepare(handle, &operation)
    }

    /// Submits what was prepared and tells what has ended: its token, the command's result, and its status or a
    /// negative errno. Whether anything was submitted or had ended.
    @inline(__always)
    func turn(_ body: (_ token: UInt64, _ result: UInt64, _ status: Int32) -> Void) -> Bool {
        var submitted: Int32 = 0
        let count = unsafe Int(clinux_nvme_turn(handle, batch, Int32(Self.capacity), &submitted))
        for index in 0..<count {
            unsafe body(batch[index].user_data, batch[index].result, batch[index].status)
        }
        return count > 0 || submitted > 0
    }
}

/// Which stretches of memory a ring has registered: a buffer for each 256 KiB, or less. The kernel takes no more pages
/// for one command than the device does, and counts all of the buffer's.
@safe struct RegisteredBuffers {
    static let slotLimit: UInt32 = 4096
    /// Bytes of a buffer, a power of two.
    private let chunk: Int

    private struct Region {
        let id: UInt64
        let start: UInt64
        let end: UInt64
        let firstSlot: Int
    }

    private let mapper: KernelMapper?
    private var generation: UInt64 = 0
    private var regions: [Region] = []
    /// Where the last one lay.
    private var last = Region(id: 0, start: 0, end: 0, firstSlot: 0)
    private var isRegistered: [Bool] = []
    /// The kernel has refused one: no more are tried.
    private var isOff: Bool

    init(of mapper: KernelMapper?, segmentLimit: Int) {
        self.mapper = mapper
        chunk = 4096 * (1 << (Int.bitWidth - 1 - min(64, max(1, segmentLimit)).leadingZeroBitCount))
        isOff = mapper == nil
    }

    /// Of the data of an entry; -1: it is in several stretches, or in no registered one.
    @inline(__always)
    mutating func slot(of entry: UnsafeRawPointer, in ring: OpaquePointer) -> Int32 {
        if isOff { return -1 }
        let word = unsafe entry.load(fromByteOffset: 32, as: UInt64.self)
        // An SGL, and a single data block.
        if unsafe entry.load(fromByteOffset: 1, as: UInt8.self) & 0x40 == 0 || word >> 56 != 0 { return -1 }
        let address = unsafe entry.load(fromByteOffset: 24, as: UInt64.self)
        let count = word & 0xFFFF_FFFF
        if mapper?.generation != generation || address < last.start || address &+ count > last.end {
            if !find(address, count) { return -1 }
        }
        let first = Int(address &- last.start) / chunk
        if count == 0 || Int(address &+ count &- 1 &- last.start) / chunk != first { return -1 }
        let slot = last.firstSlot &+ first
        if !isRegistered[slot], unsafe !register(slot, first, in: ring) { return -1 }
        return Int32(truncatingIfNeeded: slot)
    }

    @inline(never)
    private mutating func find(_ address: UInt64, _ count: UInt64) -> Bool {
        guard let mapper else { return false }
        if mapper.generation != generation {
            let (mappings, current) = mapper.look()
            generation = current
            last = Region(id: 0, start: 0, end: 0, firstSlot: 0)
            regions.removeAll { region in !mappings.contains { $0.id == region.id } }
            for mapping in mappings where !regions.contains(where: { $0.id == mapping.id }) {
                let slots = Int(mapping.end - mapping.start + UInt64(chunk) - 1) / chunk
                // Slots of regions that have gone are not used again: memory comes and goes seldom.
                if isRegistered.count + slots > Int(Self.slotLimit) { continue }
                regions.append(
                    Region(id: mapping.id, start: mapping.start, end: mapping.end, firstSlot: isRegistered.count))
                isRegistered += Array(repeating: false, count: slots)
            }
        }
        guard let found = regions.first(where: { $0.start <= address && address + count <= $0.end }) else {
            return false
        }
        last = found
        return true
    }

    @inline(never)
    private mutating func register(_ slot: Int, _ index: Int, in ring: OpaquePointer) -> Bool {
        let start = last.start + UInt64(index * chunk)
        let result = unsafe clinux_ring_set_buffer(
            ring, UInt32(slot), UnsafeMutableRawPointer(bitPattern: UInt(start)),
            min(chunk, Int(last.end - start)))
        isRegistered[slot] = result == 0
        isOff = result != 0
        return result == 0
    }
}
