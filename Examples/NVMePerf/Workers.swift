import NVMeDriver
import Reactors
import SystemPackage
import ToolSupport

/// The buffers of a file's queue, one for each slot.
private struct Buffers {
    let region: MemoryRegion
    private let stride: Int
    private let byteCount: Int

    /// `byteCount`: of each; the memory is of the reactor's node.
    init(count: Int, byteCount: Int, on reactor: Reactor) throws(ReactorError) {
        stride = (byteCount + 4095) & ~4095
        self.byteCount = byteCount
        region = try MemoryRegion(byteCount: stride * count, node: reactor.node)
        for offset in Swift.stride(from: 0, to: region.byteCount, by: 8) {
            region.memory(from: offset, count: 8).store(UInt64(offset) &* 0x9E37_79B9_7F4A_7C15, at: 0)
        }
    }

    /// Slot by slot.
    func memories(_ count: Int) -> [IOMemory] {
        (0..<count).map { region.memory(from: $0 * stride, count: byteCount) }
    }
}

/// Keeps one queue pair full, through its synchronous face: each completion gives the next command, with the buffers
/// that came back.
final class NVMeWorker: NVMeClient {
    private let load: Load
    private let pair: NVMeQueuePair
    private let name: String
    private let byteCount: Int
    /// 0: there is no metadata, or it lies behind the data.
    private let metadataByteCount: Int
    private let read: SubmissionQueueEntry
    private let write: SubmissionQueueEntry

    init(
        _ load: Load, _ pair: NVMeQueuePair, _ namespace: NVMeNamespace, blocks: Int, name: String,
        forcesUnitAccess: Bool
    ) {
        self.load = load
        self.pair = pair
        self.name = name
        byteCount = blocks * namespace.blockByteCount
        metadataByteCount = blocks * namespace.separateMetadataByteCount
        func command(_ opcode: UInt8) -> SubmissionQueueEntry {
            var command = SubmissionQueueEntry(opcode: opcode, namespaceID: namespace.id)
            command.cdw12 = UInt32(blocks - 1)
            if forcesUnitAccess { command.cdw12 |= NVMeQueuePair.BlockOptions.forceUnitAccess.rawValue }
            return command
        }
        read = command(IOOpcode.read)
        write = command(IOOpcode.write)
        super.init()
        pair.add(self)
    }

    func begin(on local: isolated LocalReactor) throws(UsageError) {
        for slot in 0..<load.depth {
            let data = try buffer(byteCount, slot, on: local)
            submit(data, metadataByteCount == 0 ? nil : try buffer(metadataByteCount, slot, on: local))
        }
    }

    private func buffer(
        _ byteCount: Int, _ slot: Int, on local: isolated LocalReactor
    ) throws(UsageError) -> IOBuffer {
        guard var buffer = local.allocateBuffer(byteCount: byteCount) else {
            throw UsageError("there is no memory for \(load.depth) I/Os: use a lower depth (-q) or smaller I/Os (-o)")
        }
        let words = buffer.byteCount / 8
        for word in 0..<words {
            buffer.store(UInt64(slot * words + word) &* 0x9E37_79B9_7F4A_7C15, at: word * 8)
        }
        return buffer
    }

    @inline(__always)
    private func submit(_ data: consuming IOBuffer?, _ metadata: consuming IOBuffer?) {
        guard let io = load.next() else { return load.endIfIdle() }
        var command = io.isRead ? read : write
        command.startBlock = io.block
        let isAccepted =
            metadataByteCount == 0
            ? pair.submit(command, buffer: &data, client: self, token: io.start)
            : pair.submit(command, buffer: &data, metadata: &metadata, client: self, token: io.start)
        precondition(isAccepted, "a queue pair has a request for every slot of its worker")
    }

    override func commandCompleted(
        token: UInt64, _ completion: NVMeCompletion, data: consuming IOBuffer?, metadata: consuming IOBuffer?
    ) {
        if completion.status.isSuccess { load.succeeded(since: token) } else { failed(completion.status) }
        submit(data, metadata)
    }

    @inline(never)
    private func failed(_ status: NVMeStatus) { load.failed("\(name): \(status)") }
}

/// Keeps a block device of the kernel busy through the reactor's ring, with registered buffers and a registered file.
final class FileWorker: RingClient {
    private let load: Load
    private let ring: Ring
    private let file: RingFile
    private let path: String
    private let blockByteCount: UInt64
    private let region: MemoryRegion
    private let buffers: [IOMemory]
    private var started: [UInt64]

    init(_ load: Load, _ ring: Ring, _ file: BlockFile, byteCount: Int, on reactor: Reactor) throws {
        self.load = load
        self.ring = ring
        path = file.path
        blockByteCount = UInt64(file.logicalBlockByteCount)
        self.file = ring.register(file.descriptor)
        let made = try Buffers(count: load.depth, byteCount: byteCount, on: reactor)
        region = made.region
        buffers = made.memories(load.depth)
        started = Array(repeating: 0, count: load.depth)
        super.init()
        _ = ring.register(region)
        ring.add(self)
    }

    func begin() { for slot in 0..<load.depth { submit(slot) } }

    private func submit(_ slot: Int) {
        guard let io = load.next() else { return load.endIfIdle() }
        started[slot] = io.start
        let token = UInt64(truncatingIfNeeded: slot), offset = Int64(io.block * blockByteCount)
        let isAccepted =
            io.isRead
            ? ring.read(file, at: offset, into: buffers[slot], token: token, for: self)
            : ring.write(file, at: offset, from: buffers[slot], token: token, for: self)
        precondition(isAccepted, "a ring has room for every slot of its worker")
    }

    override func ringCompleted(token: UInt64, result: Int32) {
        let slot = Int(truncatingIfNeeded: token)
        if Int(result) == buffers[slot].byteCount {
            load.succeeded(since: started[slot])
        } else {
            load.failed("\(path): \(result < 0 ? "\(Errno(rawValue: -result))" : "moved \(result) bytes only")")
        }
        submit(slot)
    }

    func leave() {
        ring.remove(self)
        ring.unregister(file)
    }
}
