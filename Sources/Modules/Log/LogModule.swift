public import Bdev
import Reactors

/// Makes bdevs that hand everything on to a base and write down what changes it: each write, write-zeroes, unmap and
/// flush, with its data, as they were submitted and as they were complete.
///
/// From the log a bdev can be brought into every state that the base has gone through, and into those in which a cut of
/// the power may have left it: for testing what must survive one. Like the device-mapper target `log-writes` of Linux.
///
/// A log is in memory, or on another bdev in the format that `LogFormat.swift` describes, to be read by another process
/// later: ``contents(onBdev:engine:)``. When it is full what would have to be written down fails with `noSpace`, before
/// it comes to the base; and what could not be written down has failed too. Nothing is left out silently. What the
/// layer does with writes, such as a copy, is logged as these writes; resets are not logged.
///
/// Cost of what is logged: in memory a copy of the data, a CRC-32C of it and of a header, and a block of memory for the
/// header: for 4 KiB 1 µs, and 5 µs where the log's memory is touched for the first time. On a bdev a write of the data
/// and one of a header, after the base's own. Reads cost a request of the base. Nothing is allocated for an I/O.
public final class LogModule: StackedBdevModule {
    public let name = "log"
    /// The number of what is kept of an I/O.
    public let requestScratchByteCount = 8
    public let stacked = StackedBdevs()
    private let host = HostSlot()

    public init() {}

    public func start(_ host: BdevModuleHost) async throws(BdevError) {
        self.host.fill(host)
        stacked.start(host)
    }

    /// Where a log is.
    public enum Place: Sendable, Hashable {
        /// In memory of so many bytes, which are taken as they are first written.
        case memory(byteCount: Int)
        /// On the bdev of this name, which has blocks of the base's size. What is on it is lost.
        case bdev(String)
    }

    /// How a logged bdev is made.
    public struct Options: Sendable {
        public var name: String
        /// The bdev everything is handed on to.
        public var base: String
        public var log: Place
        /// nil: a random one.
        public var uuid: BdevUUID?

        public init(name: String, base: String, log: Place = .memory(byteCount: 64 << 20)) {
            self.name = name
            self.base = base
            self.log = log
        }
    }

    /// Makes a bdev whose changes are logged. When its base is removed, or the log's bdev, it is.
    ///
    /// - Throws: `invalidArgument` for a log without room for an entry, and for a base with zones, with metadata apart
    ///   from its blocks, or with other blocks than the log; `noMemory`; as `StackedBdevs.createOnce(_:on:make:)`.
    public func create(_ options: Options) async throws(BdevError) {
        let host = host.value, stacked = stacked
        try await stacked.createOnce(options.name, on: options.base) { base throws(BdevError) in
            try Self.check(base, options)
            var log: BdevDescriptor?
            if case .bdev(let name) = options.log {
                log = try await stacked.addBase(name, to: options.name, label: "log of \(options.name)")
            }
            let store = try await Self.makeStore(options, base, log, host.engine)
            let driver = LogDriver(store, base, log)
            return [StackedBdev(Self.properties(options, base), driver: driver, blockCount: nil)]
        }
    }

    /// Removes a bdev; a log in memory goes with it. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when this module has none of that name, `busy` when it is on its way out already.
    public func delete(_ name: String) async throws(BdevError) { try await stacked.delete(name) }

    // MARK: The log

    /// Places a mark in a bdev's log: what has ended by now is before it, what is under way is waited for and before it
    /// too, and what comes later is behind it.
    ///
    /// `label`: at most 256 bytes in UTF-8.
    /// - Returns: the mark's event.
    /// - Throws: `noSuchBdev`, `noSpace` when the log is full, `invalidArgument` for a longer label; what writing the
    ///   log throws.
    @discardableResult
    public func mark(_ name: String, _ label: String) async throws(BdevError) -> UInt64 {
        if label.utf8.count > LogFormat.labelLimit {
            throw BdevError(
                .invalidArgument, bdev: name, "a mark's label of \(label.utf8.count) bytes is too long",
                advice: "use at most \(LogFormat.labelLimit)")
        }
        let store = try await store(of: name)
        return try await quietly(name) { () async throws(BdevError) in try await store.writeMark(label) }
    }

    /// What is in a bdev's log now. What is under way is waited for, so that it is in it.
    ///
    /// - Throws: `noSuchBdev`; what reading the log throws.
    public func contents(of name: String) async throws(BdevError) -> WriteLog {
        let store = try await store(of: name)
        let (end, generation, event) = try await quietly(name) { () async throws(BdevError) in
            (store.end, store.generation, store.now)
        }
        return try await Self.read(store, generation, upTo: end, lastEvent: event)
    }

    /// Empties a bdev's log. What ``contents(of:)`` gave before can not be replayed any more.
    ///
    /// - Throws: `noSuchBdev`; what writing the log throws, and then it is as it was.
    public func clear(_ name: String) async throws(BdevError) {
        let store = try await store(of: name)
        try await quietly(name) { () async throws(BdevError) in try await store.clear() }
    }

    /// How full a bdev's log is: blocks taken, of how many; and how many entries could not be written because the log's
    /// bdev failed. The I/Os of those have failed.
    ///
    /// - Throws: `noSuchBdev`.
    public func usage(of name: String) async throws(BdevError) -> (taken: UInt64, all: UInt64, lost: UInt64) {
        let store = try await store(of: name)
        return (store.end, store.blockCount, store.lostCount)
    }

    /// What is in the log that lies on a bdev, written by this process or another. Every block of it is looked at.
    ///
    /// `descriptor` stays open as long as the log is replayed.
    /// - Throws: `invalidArgument` when there is no log on it; what reading throws.
    public static func contents(
        onBdev descriptor: BdevDescriptor, engine: BdevEngine
    ) async throws(BdevError) -> WriteLog {
        let (found, reactor) = (try await superblock(of: descriptor, engine), engine.reactors[0])
        guard let found, found.blockByteCount == descriptor.blockByteCount else {
            throw BdevError(.invalidArgument, bdev: descriptor.name, "there is no log on this bdev")
        }
        let store = LogStore(
            .bdev(descriptor), blockByteCount: found.blockByteCount, blockCount: descriptor.blockCount,
            baseBlockCount: found.baseBlockCount, generation: found.generation, reactor: reactor)
        return try await read(store, found.generation, upTo: descriptor.blockCount, lastEvent: nil)
    }

    private static func read(
        _ store: LogStore, _ generation: UInt64, upTo end: UInt64, lastEvent: UInt64?
    ) async throws(BdevError) -> WriteLog {
        let reader = try await store.reader()
        do throws(BdevError) {
            let entries = try await reader.entries(generation: generation, upTo: end)
            await reader.close()
            let event = lastEvent ?? entries.map(\.completed).max() ?? 0
            return WriteLog(store: store, entries: entries, lastEvent: event)
        } catch {
            await reader.close()
            throw error
        }
    }

    private func store(of name: String) async throws(BdevError) -> LogStore {
        try await stacked.driver(of: name, as: LogDriver.self).store
    }

    /// Runs `body` while nothing is under way to the bdev.
    private func quietly<Result: Sendable>(
        _ name: String, _ body: () async throws(BdevError) -> Result
    ) async throws(BdevError) -> Result {
        let quiescence = try await host.value.quiesce(name)
        do throws(BdevError) {
            let result = try await body()
            try await host.value.unquiesce(quiescence)
            return result
        } catch {
            try? await host.value.unquiesce(quiescence)
            throw error
        }
    }
}
