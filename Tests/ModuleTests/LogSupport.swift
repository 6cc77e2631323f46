import Bdev
import LogBdev
import MallocBdev
import Reactors
import SimulatedReactors
import Testing

/// A stack with a bdev "logged" of 256 blocks on its base, whose log is in memory or on a slow device "log".
struct LogScene: Sendable {
    static let blockCount: UInt64 = 256

    let stack: Stack
    let module: LogModule
    let malloc: MallocModule
    /// Of the logged bdev, open for writing.
    let descriptor: BdevDescriptor
    /// Of the log.
    let logDevice: SlowDevice

    var engine: BdevEngine { stack.engine }

    /// What every block of a bdev is full of; nil where it is not all the same.
    func image(of descriptor: BdevDescriptor) async throws -> [UInt64?] {
        try await descriptor.withChannel(on: stack.reactors[0]) { channel in
            var buffer = await channel.buffer(byteCount: Int(Self.blockCount) * 512)
            try await channel.read(at: .block(0), into: &buffer)
            return (0..<Int(Self.blockCount)).map { block in
                let first = buffer.load(UInt64.self, at: block * 512)
                for offset in stride(from: 8, to: 512, by: 8)
                where buffer.load(UInt64.self, at: block * 512 + offset) != first {
                    return nil
                }
                return first
            }
        }
    }

    /// What a bdev of zeros holds after the steps.
    func image(after steps: [WriteLog.Step], of log: WriteLog) async throws -> [UInt64?] {
        try await malloc.create(.init(name: "target", blockCount: Self.blockCount))
        let target = try await engine.open("target", mode: .readWrite)
        let result: [UInt64?]
        do {
            try await log.replay(steps, onto: target)
            result = try await image(of: target)
        } catch {
            await target.close()
            try await malloc.delete("target")
            throw error
        }
        await target.close()
        try await malloc.delete("target")
        return result
    }

    /// Runs `body` with a channel of the first reactor.
    func withChannel(_ body: @Sendable (isolated BdevChannel) async throws -> Void) async throws {
        try await descriptor.withChannel(on: stack.reactors[0], body)
    }
}

func simulateLog(
    seed: UInt64 = 1, reactorCount: Int = 1, isOnBdev: Bool = false, logBlockCount: UInt64 = 8192,
    _ body: @escaping @Sendable (LogScene) async throws -> Void
) throws {
    try simulateStack(seed: seed, reactorCount: reactorCount, blockCount: LogScene.blockCount) { here, stack in
        let module = LogModule(), malloc = MallocModule()
        try await stack.engine.register(module)
        try await stack.engine.register(malloc)
        let logDevice = try SlowDevice(byteCount: Int(logBlockCount) * 512, seed: seed &+ 1)
        try await stack.slow.create("log", logDevice, blockCount: logBlockCount)
        let place: LogModule.Place = isOnBdev ? .bdev("log") : .memory(byteCount: Int(logBlockCount) * 512)
        try await module.create(.init(name: "logged", base: "base", log: place))
        let descriptor = try await stack.engine.open("logged", mode: .readWrite)
        try await body(
            LogScene(stack: stack, module: module, malloc: malloc, descriptor: descriptor, logDevice: logDevice))
        await descriptor.close()
        if logDevice.inside != 0 { throw LeftBehind(seed: seed, parkedTaskCount: 0, requestCount: logDevice.inside) }
    }
}
