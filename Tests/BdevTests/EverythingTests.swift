import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Everything at once: random I/O of every kind beside resets, quiesced ranges and cancellations, on three reactors,
/// over a device that splits, has no room and takes its time.
///
/// Every worker has blocks of its own, which it keeps a model of, so that what is on the medium is known at each step.
/// A counter, which all increment by compare-and-write, is everybody's.
struct EverythingTests {
    private static let workerCount = 6
    private static let blocksEach = 48
    /// Of a reactor, where there are few.
    private static let bufferCount = 8
    private static let counterBlock = UInt64(workerCount * blocksEach)

    private static func geometry(_ random: inout SeededRandom) -> BdevGeometry {
        func pick<Value>(_ values: [Value]) -> Value { values.randomElement(using: &random)! }
        var geometry = BdevGeometry(blockByteCount: 512, blockCount: counterBlock + 8)
        geometry.memoryAlignment = pick([1, 1, 4, 4096])
        geometry.transferBlockCountLimit = pick([0, 0, 1, 5])
        geometry.optimalBoundaryBlockCount = pick([0, 7])
        geometry.splitsAtOptimalBoundary = geometry.optimalBoundaryBlockCount > 0
        geometry.unmapBlockCountLimit = pick([0, 5])
        geometry.writeZeroesBlockCountLimit = pick([0, 5])
        geometry.copyBlockCountLimit = pick([0, 6])
        geometry.compareAndWriteBlockCountLimit = 3
        if Bool.random(using: &random) { (geometry.segmentCountLimit, geometry.segmentByteCountLimit) = (2, 1536) }
        return geometry
    }

    @Test(arguments: UInt64(0)..<200)
    func `everything at once ends, as it should, with nothing left`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let geometry = Self.geometry(&random)
        let types: IOTypes = Bool.random(using: &random) ? .native : .everything
        let depth = [Int.max, 2, 6].randomElement(using: &random)!
        let drain = [Duration.zero, .microseconds(40), .seconds(5)].randomElement(using: &random)!
        var memory = BufferPool.Options()
        if seed % 4 == 0 {
            memory.sizeClasses = [.init(byteCount: 65_536, count: Self.bufferCount)]
            memory.byteCountLimit = Self.bufferCount * 65_536
        }
        try simulate(
            seed: seed, reactorCount: 3, geometry: geometry, types: types, memory: memory, resetDrainTimeout: drain
        ) { here, scene in
            scene.device.depth = depth
            let delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...80, using: &delays.value)) }
            let held = Shared<[Range<UInt64>]>([])
            scene.device.onArrival = { arrival in
                #expect(!held.value.contains { $0.overlaps(arrival.blocks) }, "seed \(seed)")
            }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let increments = Shared(0), doubtful = Shared(0), isOver = Shared(false)
            await withTaskGroup(of: Void.self) { group in
                let quiescing = here.task { await Self.quiesce(scene, held, isOver, seed) }
                let resetting = here.task { await Self.reset(scene, descriptor, isOver, seed) }
                for index in 0..<Self.workerCount {
                    group.addTask {
                        await Worker(index, seed, scene, descriptor, types).run(increments, doubtful)
                    }
                }
                await group.waitForAll()
                isOver.value = true
                await quiescing.value
                await resetting.value
            }
            let counter = Int(scene.device.data[Int(Self.counterBlock) * 512])
            #expect(counter >= increments.value && counter <= increments.value + doubtful.value, "seed \(seed)")
            await descriptor.close()
            if seed % 4 == 0 {
                for reactor in scene.reactors { #expect(await reactor.run { Self.hasAllBuffers($0) }, "seed \(seed)") }
            }
        }
    }

    /// Whether as many buffers are to be had as there are in the pool of the test.
    private static func hasAllBuffers(_ local: isolated LocalReactor) -> Bool {
        var all = IOBufferList(capacity: bufferCount)
        while all.count < bufferCount {
            guard let buffer = local.allocateBuffer(byteCount: 65_536) else { return false }
            all.append(buffer)
        }
        return true
    }

    /// One range after another.
    private static func quiesce(
        _ scene: Scene, _ held: Shared<[Range<UInt64>]>, _ isOver: Shared<Bool>, _ seed: UInt64
    ) async {
        var random = SeededRandom(seed: seed ^ 0xAAAA)
        while !isOver.value {
            let start = UInt64.random(in: 0..<counterBlock, using: &random)
            let blocks = start..<min(counterBlock + 8, start + UInt64.random(in: 1...100, using: &random))
            guard let quiescence = try? await scene.module.host.value.quiesce("disk", blocks: blocks) else {
                Issue.record("seed \(seed): refused")
                return
            }
            held.value.append(blocks)
            try? await scene.reactors[0].local.sleep(for: .microseconds(Int.random(in: 1...60, using: &random)))
            held.value = []
            try? await scene.module.host.value.unquiesce(quiescence)
            try? await scene.reactors[0].local.sleep(for: .microseconds(Int.random(in: 1...200, using: &random)))
        }
    }

    private static func reset(
        _ scene: Scene, _ descriptor: BdevDescriptor, _ isOver: Shared<Bool>, _ seed: UInt64
    ) async {
        var random = SeededRandom(seed: seed ^ 0x5555)
        while !isOver.value {
            let reactor = scene.reactors.randomElement(using: &random)!
            guard let channel = try? await descriptor.channel(on: reactor) else { return }
            #expect(await channel.attempt(.reset, at: 0) == nil, "seed \(seed)")
            await channel.close()
            try? await scene.reactors[0].local.sleep(for: .microseconds(Int.random(in: 50...900, using: &random)))
        }
    }
}

/// One of those who do I/O, with blocks of its own.
private struct Worker {
    private let index: Int
    private let seed: UInt64
    private let scene: Scene
    private let descriptor: BdevDescriptor
    private var random: SeededRandom
    /// What each of its blocks is full of; nil: not known after an I/O that was given up.
    private var model: [UInt8?]
    private let first: UInt64

    init(_ index: Int, _ seed: UInt64, _ scene: Scene, _ descriptor: BdevDescriptor, _ types: IOTypes) {
        self.index = index
        self.seed = seed
        self.scene = scene
        self.descriptor = descriptor
        random = SeededRandom(seed: seed &* 1000 &+ UInt64(index))
        model = Array(repeating: 0, count: 48)
        first = UInt64(index * 48)
    }
}

extension Worker {
    private var home: Reactor { scene.reactors[index % 3] }

    func run(_ increments: Shared<Int>, _ doubtful: Shared<Int>) async {
        var copy = self
        guard let channel = try? await descriptor.channel(on: home) else { return }
        for _ in 0..<25 {
            if Int.random(in: 0..<6, using: &copy.random) == 0 {
                switch await copy.increment(channel) {
                case nil: increments.value += 1
                case .aborted: doubtful.value += 1
                default: break
                }
            } else {
                await copy.step(channel)
            }
        }
        await copy.checkAll(channel)
        await channel.close()
    }

    /// What went wrong with one increment of the counter of all.
    private mutating func increment(_ channel: BdevChannel) async -> BdevError.Code? {
        await perform { () throws(BdevError) in
            let old = try await channel.read(at: UInt64(6 * 48), count: 2)
            var new = old
            new[0] += 1
            try await channel.swap(old, for: new, at: UInt64(6 * 48))
        }
    }

    /// Runs `body` in a task of its own on its reactor, which is cancelled now and then.
    private mutating func perform(
        _ body: @escaping @Sendable () async throws(BdevError) -> Void
    ) async -> BdevError.Code? {
        let task = Task(executorPreference: home.taskExecutor) { await code(body) }
        if Int.random(in: 0..<5, using: &random) == 0 {
            try? await scene.reactors[0].local.sleep(for: .microseconds(Int.random(in: 1...100, using: &random)))
            task.cancel()
        }
        let refusal = await task.value
        let isExpected = refusal == nil || refusal == .aborted || refusal == .miscompare || refusal == .noMemory
        #expect(isExpected, "seed \(seed): \(refusal.map { "\($0)" } ?? "")")
        return refusal
    }

    private mutating func step(_ channel: BdevChannel) async {
        let from = Int.random(in: 0..<48, using: &random),
            count = Int.random(in: 1...min(20, 48 - from), using: &random)
        let block = first + UInt64(from), range = from..<from + count
        let byte = UInt8.random(in: 1...255, using: &random)
        let content = Array(repeating: byte, count: count * 512)
        let refusal: BdevError.Code?
        switch Int.random(in: 0..<6, using: &random) {
        case 0:
            refusal = await perform { () throws(BdevError) in try await channel.write(content, at: block) }
            set(range, to: byte, refusal)
        case 1:
            refusal = await perform { () throws(BdevError) in
                try await channel.unmap(at: .block(block), count: .blocks(UInt64(count)))
            }
            set(range, to: 0, refusal)
        case 2:
            refusal = await perform { () throws(BdevError) in
                try await channel.writeZeroes(at: .block(block), count: .blocks(UInt64(count)))
            }
            set(range, to: 0, refusal)
        case 3: await compare(channel, range)
        case 4: await copy(channel, range)
        default: await check(channel, range)
        }
    }

    private mutating func set(_ range: Range<Int>, to byte: UInt8, _ refusal: BdevError.Code?) {
        if refusal == .noMemory { return }
        for place in range { model[place] = refusal == nil ? byte : nil }
    }

    private mutating func copy(_ channel: BdevChannel, _ range: Range<Int>) async {
        let count = min(range.count, 24)
        // Between the halves of its blocks: source and target do not overlap.
        let low = Int.random(in: 0...24 - count, using: &random), high = Int.random(in: 24...48 - count, using: &random)
        let (source, target) = Bool.random(using: &random) ? (low, high) : (high, low)
        let first = first
        let refusal = await perform { () throws(BdevError) in
            try await channel.copy(UInt64(count), from: first + UInt64(source), to: first + UInt64(target))
        }
        for place in 0..<count { model[target + place] = refusal == nil ? model[source + place] : nil }
    }

    /// With what is there, and with one byte that is not.
    private mutating func compare(_ channel: BdevChannel, _ range: Range<Int>) async {
        let known = model[range].compactMap(\.self)
        if known.count < range.count { return }
        var content: [UInt8] = []
        for byte in known { content += Array(repeating: byte, count: 512) }
        let isChanged = Bool.random(using: &random)
        if isChanged { content[Int.random(in: 0..<content.count, using: &random)] ^= 0x80 }
        let block = first + UInt64(range.lowerBound), expected = content
        let refusal = await perform { () throws(BdevError) in try await channel.compare(expected, at: block) }
        #expect((refusal == .miscompare) == isChanged || refusal == .aborted || refusal == .noMemory, "seed \(seed)")
    }

    private mutating func check(_ channel: BdevChannel, _ range: Range<Int>) async {
        let block = first + UInt64(range.lowerBound), count = range.count
        let found = Shared<[UInt8]>([])
        let refusal = await perform { () throws(BdevError) in
            found.value = try await channel.read(at: block, count: count)
        }
        if refusal != nil { return }
        for (place, index) in range.enumerated() {
            guard let byte = model[index] else { continue }
            let ends = (found.value[place * 512], found.value[place * 512 + 511])
            #expect(ends == (byte, byte), "seed \(seed): block \(first + UInt64(index))")
        }
    }

    /// All of its blocks, once nobody gives anything up any more.
    private mutating func checkAll(_ channel: BdevChannel) async {
        for (index, byte) in model.enumerated() {
            guard let byte else { continue }
            let place = Int(first) + index
            let isRight = scene.device.data[place * 512..<(place + 1) * 512].allSatisfy { $0 == byte }
            #expect(isRight, "seed \(seed): block \(place)")
        }
    }
}
