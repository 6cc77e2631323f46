import Bdev
import MallocBdev
import Reactors

/// Counters kept in the blocks of a bdev, called from ordinary tasks.
///
/// An actor of its own, on the global pool: each of its I/Os crosses to the reactor and back, some microseconds,
/// which for a service's calls is nothing. What is hot belongs into `withChannel`.
actor BlockCounter {
    private let group: ReactorGroup
    private let engine: BdevEngine
    private let disk: BdevDescriptor
    private let channel: BdevChannel
    /// Of the increments under way, by block: an actor lets others in while it waits, and no two may read the same
    /// value.
    private var busy: [UInt64: Task<UInt64, any Error>] = [:]

    init() async throws {
        group = try ReactorGroup()
        engine = BdevEngine(group: group)
        let malloc = MallocModule()
        try await engine.register(malloc)
        disk = try await engine.open(try await malloc.create(.init(blockCount: 2048)), mode: .readWrite)
        channel = try await disk.channel(on: group.reactors[0])
    }

    /// Adds 1 to the counter in `block` and returns its new value.
    func increment(_ block: UInt64) async throws -> UInt64 {
        let previous = busy[block]
        let task = Task {
            _ = try? await previous?.value
            return try await Self.increment(block, on: channel)
        }
        busy[block] = task
        return try await task.value
    }

    private static func increment(_ block: UInt64, on channel: BdevChannel) async throws -> UInt64 {
        var buffer = try await channel.allocateBuffer(byteCount: 512)
        try await channel.read(at: .block(block), into: &buffer)
        let value = buffer.load(UInt64.self, at: 0) + 1
        buffer.store(value, at: 0)
        try await channel.write(from: buffer, at: .block(block))
        return value
    }

    /// Waits for what is under way, closes the bdev and stops the reactors.
    func close() async {
        for task in busy.values { _ = try? await task.value }
        await disk.close()
        await engine.stop()
        await group.shutDown()
    }
}
