import Bdev
import Reactors
import SimulatedReactors
import Testing

/// When requests or memory run out, everybody has his turn: nobody is overtaken, and nobody waits for ever.
struct StarvationTests {
    private static let capacity = 65_536

    // MARK: Requests

    @Test func `requests whose work needs others cannot have used all of them up`() throws {
        try simulate { here, scene in
            scene.device.logsArrivals = false
            scene.device.pace = .later { _ in .microseconds(10) }
            let module = PassModule()
            let top = try await scene.stack(module, here)
            let descriptor = try await scene.engine.open(top, mode: .readWrite)
            try await descriptor.withChannel(on: here.reactor) { channel in
                let handler = RecordingHandler()
                let quiescence = try await module.host.value.quiesce(top)
                try Self.fill(channel, Self.capacity, handler)
                #expect(scene.device.submissionCount == 0)
                try await module.host.value.unquiesce(quiescence)
                while handler.completions.count < Self.capacity, scene.simulation.now < .seconds(10) {
                    await channel.reactor.local.settle(.milliseconds(1))
                }
                #expect(handler.completions.count == Self.capacity)
                #expect(handler.completions.allSatisfy { $0.status.isSuccess })
            }
            await descriptor.close()
        }
    }

    @Test func `a request that its first waiter does not want goes to the next`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let other = try await descriptor.channel(on: here.reactor)
            let handler = RecordingHandler()
            try await Self.fill(channel, Self.capacity, handler)
            let unwilling = here.task { await other.attempt(.flush, at: 0) }
            await here.settle()
            let waiting = here.task { await channel.attempt(.flush, at: 0) }
            await here.settle()
            await other.close()
            scene.device.complete(Self.capacity - 1)
            await here.settle()
            #expect(await unwilling.value == .closed)
            #expect(scene.device.submissionCount == Self.capacity + 1)
            scene.device.completeAllFromTheEnd()
            #expect(await waiting.value == nil)
            await descriptor.close()
        }
    }

    @Test
    func `a task that is cancelled while it waits for a request waits no longer, and the others keep their order`()
        throws
    {
        try simulate { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let handler = RecordingHandler(), order = Shared<[Int]>([])
            try await Self.fill(channel, Self.capacity, handler)
            var tasks: [Task<BdevError.Code?, Never>] = []
            for number in 0..<4 {
                tasks.append(
                    here.task {
                        let code = await channel.attempt(.flush, at: 0)
                        order.value.append(number)
                        return code
                    })
                await here.settle()
            }
            tasks[1].cancel()
            #expect(await tasks[1].value == .aborted)
            #expect(scene.simulation.now <= .milliseconds(11))
            while order.value.count < 4 {
                if scene.device.inside > 0 { scene.device.complete(scene.device.held.count - 1) }
                await here.settle()
            }
            #expect(order.value == [1, 0, 2, 3])
            for number in [0, 2, 3] { #expect(await tasks[number].value == nil) }
            scene.device.completeAllFromTheEnd()
            await descriptor.close()
        }
    }

    @Test func `another reactor's requests are its own`() throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let first = try await descriptor.channel(on: scene.reactors[0])
            let second = try await descriptor.channel(on: scene.reactors[1])
            let handler = RecordingHandler()
            try await Self.fill(first, Self.capacity, handler)
            let flush = Task(executorPreference: scene.reactors[1].taskExecutor) {
                await second.attempt(.flush, at: 0)
            }
            await here.settle(.milliseconds(1))
            #expect(scene.device.submissionCount == Self.capacity + 1)
            await scene.reactors[1].run { _ in scene.device.complete(Self.capacity) }
            #expect(await flush.value == nil)
            scene.device.completeAllFromTheEnd()
            await descriptor.close()
        }
    }

    private static func fill(_ channel: isolated BdevChannel, _ count: Int, _ handler: RecordingHandler) throws {
        for _ in 0..<count {
            try channel.engine.submit(.flush, at: .block(0), count: .blocks(0), handler: handler)
        }
    }

    // MARK: Memory

    /// One buffer of 4 KiB, and no more.
    private static var oneBuffer: BufferPool.Options {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 1)]
        memory.byteCountLimit = 4096
        return memory
    }

    /// Copies eight blocks from block `source` on: a device that cannot needs the buffer for it.
    private static func copy(
        _ source: UInt64, _ channel: BdevChannel, _ here: isolated LocalReactor
    ) -> Task<BdevError.Code?, Never> {
        here.task { await channel.attempt(.copy, at: 512, count: 8, source: source) }
    }

    @Test func `copies and tasks that wait for memory have their turns in the order they came`() throws {
        try simulate(memory: Self.oneBuffer) { here, scene in
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                let order = Shared<[String]>([])
                scene.device.onArrival = { if $0.type == .read { order.value.append("copy \($0.start)") } }
                let held = await channel.buffer(byteCount: 4096)
                let first = await Self.copy(0, channel, here)
                await here.settle()
                let second = await Self.copy(8, channel, here)
                await here.settle()
                let task = await here.task {
                    _ = await channel.buffer(byteCount: 100)
                    order.value.append("task")
                }
                await here.settle()
                let third = await Self.copy(16, channel, here)
                await here.settle(.seconds(1))
                #expect(order.value == [])
                _ = consume held
                let newcomer = await Self.copy(24, channel, here)
                for copy in [first, second, third, newcomer] { #expect(await copy.value == nil) }
                await task.value
                #expect(order.value.filter { $0 != "task" } == ["copy 0", "copy 8", "copy 16", "copy 24"])
                // The copies have one place among those who wait, and take it up again behind the task.
                #expect(order.value.firstIndex(of: "task") == 1)
            }
        }
    }

    @Test func `what waits for memory is taken out when it is cancelled, aborted or the bdev is reset`() throws {
        try simulate(memory: Self.oneBuffer) { here, scene in
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                let held = await channel.buffer(byteCount: 4096)
                let cancelled = await Self.copy(0, channel, here)
                await here.settle()
                let reset = await Self.copy(8, channel, here)
                await here.settle()
                cancelled.cancel()
                #expect(await cancelled.value == .aborted)
                #expect(scene.simulation.now <= .milliseconds(11))
                try await channel.reset()
                #expect(await reset.value == .aborted)
                // Of neither is anything left that would keep others from the memory.
                let next = await Self.copy(16, channel, here)
                await here.settle()
                _ = consume held
                #expect(await next.value == nil)
                #expect(scene.device.arrivals.map(\.type) == [.reset, .read, .write])
            }
        }
    }

    @Test func `memory that is given back on another reactor wakes what waits for it here`() throws {
        try simulate(reactorCount: 2, memory: Self.oneBuffer) { here, scene in
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                let box = Box(await channel.buffer(byteCount: 4096))
                let copy = await Self.copy(0, channel, here)
                await here.settle(.milliseconds(3))
                #expect(scene.device.arrivals.isEmpty)
                let before = scene.simulation.now
                await scene.reactors[1].run { _ in box.drop() }
                #expect(await copy.value == nil)
                #expect(scene.simulation.now - before < .milliseconds(1))
            }
        }
    }

    @Test func `where there is little memory, what is copied is copied in small parts`() throws {
        try simulate(memory: Self.oneBuffer) { here, scene in
            try await scene.withChannel { channel in
                try await channel.copy(256, from: 0, to: 512)
                #expect(scene.device.arrivals.count == 2 * 256 / 8)
                #expect(scene.device.arrivals.allSatisfy { $0.count == 8 })
            }
        }
    }

    private final class Box: @unchecked Sendable {
        // Sendable unchecked: a simulation has one thread.
        private var buffer: IOBuffer?
        init(_ buffer: consuming IOBuffer) { self.buffer = consume buffer }
        func drop() { buffer = nil }
    }

    // MARK: Reads without a buffer

    @Test func `a read without a buffer gets one of the reactor's`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                try await channel.write(Array(repeating: 7, count: 1024), at: 3)
                let blocks = try await channel.read(at: .block(3), count: .blocks(2))
                #expect(blocks.array == Array(repeating: 7, count: 1024))
                let bytes = try await channel.read(at: .byte(1536), count: .bytes(512))
                #expect(bytes.array == Array(repeating: 7, count: 512))
                #expect(await Self.refusal(channel, 1023, 2) == .outOfRange)
                #expect(await Self.refusal(channel, 0, 0) == .misaligned)
                #expect(await Self.refusal(channel, 0, .max) == .outOfRange)
            }
        }
    }

    @Test func `a read without a buffer waits for one in turn, and not for one that cannot be`() throws {
        try simulate(memory: Self.oneBuffer) { here, scene in
            try await scene.withChannel { channel in
                let here: LocalReactor = channel.reactor.local
                #expect(await Self.refusal(channel, 0, 9) == .noMemory)
                let held = await channel.buffer(byteCount: 4096)
                let cancelled = await here.task { await Self.refusal(channel, 0, 1) }
                await here.settle()
                let waiting = await here.task { await Self.refusal(channel, 1, 1) }
                await here.settle(.milliseconds(1))
                #expect(scene.device.arrivals.isEmpty)
                cancelled.cancel()
                #expect(await cancelled.value == .aborted)
                _ = consume held
                #expect(await waiting.value == nil)
                #expect(scene.device.arrivals.map(\.start) == [1])
            }
        }
    }

    private static func refusal(_ channel: BdevChannel, _ block: UInt64, _ count: UInt64) async -> BdevError.Code? {
        await code { () throws(BdevError) in _ = try await channel.read(at: .block(block), count: .blocks(count)) }
    }
}
