import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// Copying, by the device or through memory.
struct CopyTests {
    private static func geometry(_ random: inout SeededRandom) -> BdevGeometry {
        func pick<Value>(_ values: [Value]) -> Value { values.randomElement(using: &random)! }
        var geometry = BdevGeometry(blockByteCount: pick([512, 520, 4096]), blockCount: 600)
        geometry.memoryAlignment = pick([1, 1, 512, 4096])
        geometry.transferBlockCountLimit = pick([0, 0, 3, 16, 100])
        geometry.copyBlockCountLimit = pick([0, 0, 1, 7, 50])
        geometry.optimalBoundaryBlockCount = pick([0, 3, 5, 8])
        geometry.splitsAtOptimalBoundary = geometry.optimalBoundaryBlockCount > 0 && Bool.random(using: &random)
        if Bool.random(using: &random) {
            geometry.segmentCountLimit = pick([1, 2, 8])
            geometry.segmentByteCountLimit = geometry.blockByteCount * pick([1, 2, 16])
        }
        return geometry
    }

    @Test(arguments: UInt64(0)..<100)
    func `whatever the geometry, a copy moves what it says, in parts that obey every limit`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let geometry = Self.geometry(&random), native = Bool.random(using: &random)
        let state = Shared(random)
        try simulate(seed: seed, geometry: geometry, types: native ? .native : .everything) { here, scene in
            let device = scene.device, delays = Shared(SeededRandom(seed: seed))
            device.depth = [Int.max, 1, 3].randomElement(using: &state.value)!
            if Bool.random(using: &state.value) {
                device.pace = .later { _ in .microseconds(Int.random(in: 0...100, using: &delays.value)) }
            }
            try await scene.withChannel { channel in
                var random = state.value
                device.data = randomBytes(device.data.count, &random)
                var model = device.data
                let size = geometry.blockByteCount
                for _ in 0..<10 {
                    let count = UInt64.random(in: 0...250, using: &random)
                    let low = UInt64.random(in: 0...300 - count, using: &random)
                    let high = UInt64.random(in: 300...600 - count, using: &random)
                    let (source, target) = Bool.random(using: &random) ? (low, high) : (high, low)
                    try await channel.copy(count, from: source, to: target)
                    let moved = Array(model[Int(source) * size..<Int(source + count) * size])
                    model.replaceSubrange(Int(target) * size..<Int(target + count) * size, with: moved)
                    let isRight = device.data.isSame(as: model)
                    #expect(isRight, "seed \(seed)")
                    if !isRight { return }
                }
                #expect(device.arrivals.contains { $0.type == .copy } == native, "seed \(seed)")
            }
        }
    }

    @Test func `a limit on copies is obeyed by a device that has no other`() throws {
        try simulate(geometry: .test.with { $0.copyBlockCountLimit = 8 }, types: .native) { _, scene in
            try await scene.withChannel { channel in
                try await channel.copy(20, from: 0, to: 100)
                #expect(scene.device.arrivals.map(\.count).sorted() == [4, 8, 8])
                #expect(Set(scene.device.arrivals.map { $0.start - $0.source }) == [100])
            }
        }
    }

    @Test(arguments: [true, false])
    func `at most eight parts are under way`(native: Bool) throws {
        try simulate(geometry: .test.with { $0.copyBlockCountLimit = 1 }, types: native ? .native : .everything) {
            _, scene in
            scene.device.pace = .later { _ in .microseconds(10) }
            try await scene.withChannel { channel in
                try await channel.copy(40, from: 0, to: 100)
                #expect(scene.device.mostInside == 8)
                #expect(scene.device.arrivals.count == (native ? 40 : 80))
            }
        }
    }

    @Test(arguments: [IOType.read, .write])
    func `a half that fails fails the copy with its error, and nothing more is begun`(failing: IOType) throws {
        try simulate(geometry: .test.with { $0.copyBlockCountLimit = 1 }) { _, scene in
            scene.device.answer = {
                $0.type == failing && [3, 103].contains($0.start) ? .system(.noSpace) : .success
            }
            try await scene.withChannel { channel in
                let refusal = await failure { () throws(BdevError) in try await channel.copy(10, from: 0, to: 100) }
                #expect(refusal?.code == .noSpace)
                #expect(refusal?.message.hasPrefix("copy of 10 blocks at block 100") == true)
                let writes = scene.device.arrivals.filter { $0.type == .write }.map(\.start)
                #expect(writes == (failing == .read ? [100, 101, 102] : [100, 101, 102, 103]))
            }
        }
    }

    @Test func `nothing is copied for no blocks, or onto itself`() throws {
        try simulate(types: .native) { _, scene in
            try await scene.withChannel { channel in
                try await channel.copy(0, from: 0, to: 100)
                try await channel.copy(0, from: 1024, to: 1024)
                try await channel.copy(10, from: 7, to: 7)
                try await channel.copy(from: .byte(3584), to: .block(7), count: .bytes(512))
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `a cancelled copy gives up its reads, and writes no more`() throws {
        try simulate(geometry: .test.with { $0.copyBlockCountLimit = 1 }) { here, scene in
            scene.device.pace = .held
            try await scene.withChannel { channel in
                let copy = Task(executorPreference: channel.reactor.taskExecutor) {
                    await channel.attempt(.copy, at: 100, count: 20, source: 0)
                }
                await channel.reactor.local.settle()
                #expect(scene.device.held.count == 8)
                scene.device.complete()
                copy.cancel()
                #expect(await copy.value == .aborted)
                #expect(scene.device.aborted.count == 8)
                #expect(scene.device.arrivals.count { $0.type == .write } == 1)
            }
        }
    }

    @Test func `copies wait for memory, and go on when there is some`() throws {
        var memory = BufferPool.Options()
        memory.sizeClasses = [.init(byteCount: 4096, count: 1)]
        memory.byteCountLimit = 4096
        try simulate(geometry: .test.with { $0.copyBlockCountLimit = 8 }, memory: memory) { here, scene in
            scene.device.pace = .later { _ in .microseconds(30) }
            try await scene.withChannel { channel in
                let copies = (UInt64(0)..<4).map { index in
                    Task(executorPreference: channel.reactor.taskExecutor) {
                        await channel.attempt(.copy, at: 500 + index * 20, count: 20, source: index * 20)
                    }
                }
                for copy in copies { #expect(await copy.value == nil) }
                #expect(scene.device.mostInside == 1)
            }
        }
    }
}
