import Bdev
import Reactors
import Synchronization

/// Where a log is, and what all reactors share of it: which blocks are taken, and the count of events.
final class LogStore: Sendable {
    enum Medium: Sendable {
        case memory(MemoryRegion)
        case bdev(BdevDescriptor)
    }

    let medium: Medium
    let blockByteCount: Int
    /// Of the log.
    let blockCount: UInt64
    /// Of the bdev that is logged.
    let baseBlockCount: UInt64
    let reactor: Reactor
    private let tail = Atomic<UInt64>(1)
    private let clock = Atomic<UInt64>(0)
    private let currentGeneration: Atomic<UInt64>
    private let lost = Atomic<UInt64>(0)

    init(
        _ medium: Medium, blockByteCount: Int, blockCount: UInt64, baseBlockCount: UInt64, generation: UInt64,
        reactor: Reactor
    ) {
        self.medium = medium
        self.blockByteCount = blockByteCount
        self.blockCount = blockCount
        self.baseBlockCount = baseBlockCount
        self.reactor = reactor
        currentGeneration = Atomic(generation)
    }

    /// The first block that no record has taken.
    var end: UInt64 { tail.load(ordering: .acquiring) }
    /// Records that could not be written.
    var lostCount: UInt64 { lost.load(ordering: .relaxed) }
    var generation: UInt64 { currentGeneration.load(ordering: .relaxed) }
    /// The last event.
    var now: UInt64 { clock.load(ordering: .relaxed) }

    /// Something happens: its number.
    func tick() -> UInt64 { clock.add(1, ordering: .relaxed).newValue }

    func countLoss() { lost.add(1, ordering: .relaxed) }

    /// So many blocks for a record; nil when the log is full.
    func reserve(_ count: UInt64) -> UInt64? {
        var start = tail.load(ordering: .relaxed)
        while count <= blockCount - start {
            let (isDone, found) = tail.compareExchange(
                expected: start, desired: start + count, ordering: .acquiringAndReleasing)
            if isDone { return start }
            start = found
        }
        return nil
    }

    /// The log's blocks, when it is in memory.
    func memory(at block: UInt64, count: UInt64) -> IOMemory? {
        guard case .memory(let region) = medium else { return nil }
        return region.memory(from: Int(block) * blockByteCount, count: Int(count) * blockByteCount)
    }

    // MARK: Control

    /// Forgets everything that is in the log. Nothing is on its way to it.
    func clear() async throws(BdevError) {
        try await writeSuperblock(generation: generation + 1)
        currentGeneration.add(1, ordering: .relaxed)
        tail.store(1, ordering: .releasing)
        clock.store(0, ordering: .relaxed)
        lost.store(0, ordering: .relaxed)
    }

    func writeSuperblock(generation: UInt64) async throws(BdevError) {
        let superblock = LogFormat.Superblock(
            generation: generation, blockByteCount: blockByteCount, baseBlockCount: baseBlockCount)
        var buffer = await reactor.local.buffer(byteCount: blockByteCount)
        LogFormat.encode(superblock, into: &buffer)
        try await write(buffer, at: 0)
    }

    /// Places a mark. Nothing else is on its way to the log.
    func writeMark(_ label: String) async throws(BdevError) -> UInt64 {
        guard let location = reserve(1) else {
            throw BdevError(
                .noSpace, "cannot place the mark \"\(label)\": the log is full", advice: "clear it, or make it larger")
        }
        var record = LogFormat.Record(generation: generation, location: location)
        record.submitted = tick()
        record.completed = record.submitted
        var buffer = await reactor.local.buffer(byteCount: blockByteCount)
        buffer.fill(with: 0)
        LogFormat.encode(record, label: label, into: &buffer)
        try await write(buffer, at: location)
        return record.submitted
    }

    private func write(_ buffer: borrowing IOBuffer, at block: UInt64) async throws(BdevError) {
        switch medium {
        case .memory: memory(at: block, count: 1)?.copy(from: buffer.memory)
        case .bdev(let descriptor):
            let channel = try await descriptor.channel(on: reactor)
            do throws(BdevError) {
                try await channel.write(from: buffer, at: .block(block))
            } catch {
                await channel.close()
                throw error
            }
            await channel.close()
        }
    }

    /// Something to read the log with. Close it afterwards.
    func reader() async throws(BdevError) -> LogReader {
        switch medium {
        case .memory: LogReader(self, reactor, nil)
        case .bdev(let descriptor): LogReader(self, reactor, try await descriptor.channel(on: reactor))
        }
    }
}

/// Reads blocks of a log.
struct LogReader {
    let store: LogStore
    private let reactor: Reactor
    private let channel: BdevChannel?

    init(_ store: LogStore, _ reactor: Reactor, _ channel: BdevChannel?) {
        self.store = store
        self.reactor = reactor
        self.channel = channel
    }

    func read(at block: UInt64, count: UInt64) async throws(BdevError) -> IOBuffer {
        var buffer = await reactor.local.buffer(byteCount: Int(count) * store.blockByteCount)
        if let channel {
            try await channel.read(at: .block(block), into: &buffer)
        } else if let memory = store.memory(at: block, count: count) {
            buffer.memory.copy(from: memory)
        }
        return buffer
    }

    func close() async { await channel?.close() }

    /// What a write wrote.
    func data(of entry: LogEntry) async throws(BdevError) -> IOBuffer {
        let data = try await read(at: entry.location + 1, count: entry.blockCount)
        let check = CyclicRedundancyCheck.crc32C
        let crc = UInt32(truncatingIfNeeded: check.value(of: check.update(check.initialState, with: data.memory)))
        if crc != entry.dataCRC {
            throw BdevError(
                .mediaError,
                "the log's data of the write at event \(entry.submitted) is not what was logged",
                advice: "replay a log before it is cleared")
        }
        return data
    }

    /// The entries of one generation in the blocks up to `end`, in the order they were submitted.
    func entries(generation: UInt64, upTo end: UInt64) async throws(BdevError) -> [LogEntry] {
        var entries: [LogEntry] = [], block: UInt64 = 1
        while block < end {
            let buffer = try await read(at: block, count: 1)
            guard let (record, label) = LogFormat.decodeRecord(buffer, generation: generation, location: block),
                let entry = LogEntry(record, label: label), record.dataBlockCount < end - block
            else {
                block += 1
                continue
            }
            entries.append(entry)
            block += 1 + record.dataBlockCount
        }
        return entries.sorted { $0.submitted < $1.submitted }
    }
}
