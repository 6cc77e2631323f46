public import Bdev
import Reactors

/// What happened to a logged bdev, once.
public struct LogEntry: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        case write, writeZeroes, unmap, flush
        /// Placed by ``LogModule/mark(_:_:)``.
        case mark(String)
    }

    public let kind: Kind
    public let startBlock: UInt64
    public let blockCount: UInt64
    /// The event at which it was handed to the base. Events are numbered from 1; no two have one number.
    public let submitted: UInt64
    /// The event at which the base was through with it; for a mark the same.
    public let completed: UInt64
    /// False: its blocks hold anything.
    public let succeeded: Bool
    /// It was to reach the medium itself (NVMe: FUA).
    public let isForced: Bool
    /// Where the record is in the log.
    let location: UInt64
    let dataCRC: UInt32

    /// Nil for a kind that logs do not have.
    init?(_ record: LogFormat.Record, label: String) {
        switch IOType(rawValue: UInt8(truncatingIfNeeded: record.kind)) {
        case .write: kind = .write
        case .writeZeroes: kind = .writeZeroes
        case .unmap: kind = .unmap
        case .flush: kind = .flush
        case nil where record.kind == 0: kind = .mark(label)
        default: return nil
        }
        startBlock = record.startBlock
        blockCount = record.blockCount
        submitted = record.submitted
        completed = record.completed
        succeeded = record.flags & LogFormat.failedFlag == 0
        isForced = record.flags & LogFormat.forcedFlag != 0
        location = record.location
        dataCRC = record.dataCRC
    }

    /// The blocks it changes.
    public var blocks: Range<UInt64> { startBlock..<startBlock + (changesBlocks ? blockCount : 0) }

    private var changesBlocks: Bool {
        switch kind {
        case .write, .writeZeroes, .unmap: true
        case .flush, .mark: false
        }
    }
}

/// What a log held at one time: every write, write-zeroes, unmap and flush that had ended, and the marks.
///
/// A value: what is logged later does not change it. The data stays in the log and is read when it is replayed; after
/// the log is cleared or its bdev is gone replaying throws.
public struct WriteLog: Sendable {
    let store: LogStore
    /// In the order in which they were submitted.
    public let entries: [LogEntry]
    /// The last event: nothing had happened after it.
    public let lastEvent: UInt64

    /// One thing to do to bring a bdev into a state that the log knows of.
    public struct Step: Sendable, Hashable {
        public let entry: LogEntry
        /// Those of the entry's blocks that it is done to.
        public let blocks: [Range<UInt64>]

        init(_ entry: LogEntry, _ blocks: [Range<UInt64>]) {
            self.entry = entry
            self.blocks = blocks
        }
    }

    /// In the order in which they were complete.
    public var entriesByCompletion: [LogEntry] { entries.sorted { $0.completed < $1.completed } }

    /// The mark of this label; the last, when there are several.
    public func mark(_ label: String) -> LogEntry? { entries.last { $0.kind == .mark(label) } }

    /// What leads to the state after the first `count` entries of an order: of ``entries`` or
    /// ``entriesByCompletion``. An entry that failed is left out.
    public func steps(_ entries: [LogEntry], first count: Int = .max) -> [Step] {
        entries.prefix(max(0, count)).filter(\.succeeded).map { Step($0, [$0.blocks]) }
    }

    /// What leads to a state in which a power cut right after `event` may leave the base.
    ///
    /// Durable is what was complete before a flush was submitted that was complete by then, and what was to reach the
    /// medium itself and was complete. Of everything else that had been submitted, each block may be on the medium or
    /// not: an entry is chosen whole, not at all or in part. What failed may be there too. Of overlapping entries that
    /// are chosen, the one that was complete later lies on top: a cache does not write old data over new.
    ///
    /// `generator` decides; the same one, seeded alike, decides alike.
    public func powerCut(at event: UInt64, using generator: inout some RandomNumberGenerator) -> [Step] {
        let flushes = entries.filter { $0.kind == .flush && $0.succeeded && $0.completed <= event }
        let durable = flushes.map(\.submitted).max() ?? 0
        var steps: [Step] = []
        for entry in entriesByCompletion where entry.submitted <= event && !entry.blocks.isEmpty {
            let isComplete = entry.completed <= event && entry.succeeded
            if isComplete && (entry.completed < durable || entry.isForced) {
                steps.append(Step(entry, [entry.blocks]))
                continue
            }
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: break
            case 1: steps.append(Step(entry, [entry.blocks]))
            default: steps.append(Step(entry, Self.part(of: entry.blocks, using: &generator)))
            }
        }
        return steps
    }

    /// About half of the blocks.
    private static func part(
        of blocks: Range<UInt64>, using generator: inout some RandomNumberGenerator
    ) -> [Range<UInt64>] {
        var parts: [Range<UInt64>] = []
        for block in blocks where Bool.random(using: &generator) {
            if let last = parts.last, last.upperBound == block {
                parts[parts.count - 1] = last.lowerBound..<block + 1
            } else {
                parts.append(block..<block + 1)
            }
        }
        return parts
    }

    // MARK: Replay

    /// Does the steps to `target`, one after the other: a bdev that holds what the base held before the first of them,
    /// opened for writing, with blocks of the same size and at least as many. An unmap is left out where the target
    /// cannot.
    ///
    /// - Throws: `invalidArgument` for a target that does not fit; `mediaError` when the log's data is not what was
    ///   logged; what reading the log and writing the target throw.
    public func replay(_ steps: [Step], onto target: BdevDescriptor) async throws(BdevError) {
        if target.blockByteCount != store.blockByteCount || target.blockCount < store.baseBlockCount {
            throw BdevError(
                .invalidArgument, bdev: target.name, "cannot replay a log onto this bdev",
                advice: "use one with at least \(store.baseBlockCount) blocks of \(store.blockByteCount) bytes")
        }
        let reader = try await store.reader()
        let channel: BdevChannel
        do throws(BdevError) {
            channel = try await target.channel(on: store.reactor)
        } catch {
            await reader.close()
            throw error
        }
        var failure: BdevError?
        do throws(BdevError) {
            for step in steps { try await Self.perform(step, on: channel, from: reader, target) }
        } catch {
            failure = error
        }
        await channel.close()
        await reader.close()
        if let failure { throw failure }
    }

    private static func perform(
        _ step: Step, on channel: BdevChannel, from reader: LogReader, _ target: BdevDescriptor
    ) async throws(BdevError) {
        switch step.entry.kind {
        case .mark: break
        case .flush: if target.supports(.flush) { try await channel.flush() }
        case .write: try await write(step, on: channel, from: reader)
        case .writeZeroes:
            for blocks in step.blocks {
                try await channel.writeZeroes(at: .block(blocks.lowerBound), count: .blocks(UInt64(blocks.count)))
            }
        case .unmap:
            for blocks in step.blocks where target.supports(.unmap) {
                try await channel.unmap(at: .block(blocks.lowerBound), count: .blocks(UInt64(blocks.count)))
            }
        }
    }

    private static func write(_ step: Step, on channel: BdevChannel, from reader: LogReader) async throws(BdevError) {
        let entry = step.entry, data = try await reader.data(of: entry)
        for blocks in step.blocks where !blocks.isEmpty {
            let size = reader.store.blockByteCount
            let piece = await channel.buffer(byteCount: blocks.count * size)
            let offset = Int(blocks.lowerBound - entry.startBlock) * size
            piece.memory.copy(from: data.memory.slice(from: offset, count: blocks.count * size))
            try await channel.write(from: piece, at: .block(blocks.lowerBound))
        }
    }
}
