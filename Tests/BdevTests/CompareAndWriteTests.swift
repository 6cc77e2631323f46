import Bdev
import Reactors
import SimulatedReactors
import SystemPackage
import Testing

/// Compare-and-write, by the device or under a lock.
struct CompareAndWriteTests {
    private static let geometry = BdevGeometry.test.with { $0.compareAndWriteBlockCountLimit = 4 }

    private static func types(native: Bool) -> IOTypes { native ? .native : .everything }
    private static func blocks(_ byte: UInt8, _ count: Int = 1) -> [UInt8] {
        Array(repeating: byte, count: count * 512)
    }

    @Test(arguments: [true, false])
    func `what is as expected is replaced, and anything else is left`(native: Bool) throws {
        try simulate(geometry: Self.geometry, types: Self.types(native: native)) { _, scene in
            try await scene.withChannel { channel in
                try await channel.swap(Self.blocks(0, 4), for: Self.blocks(1, 4), at: 10)
                #expect(Array(scene.device.data[10 * 512..<14 * 512]) == Self.blocks(1, 4))
                for place in [0, 511, 512, 2047] {
                    var expected = Self.blocks(1, 4)
                    expected[place] = 2
                    let refusal = await code { () throws(BdevError) in
                        try await channel.swap(expected, for: Self.blocks(9, 4), at: 10)
                    }
                    #expect(refusal == .miscompare)
                }
                #expect(Array(scene.device.data[10 * 512..<14 * 512]) == Self.blocks(1, 4))
                let types = Set(scene.device.arrivals.map(\.type))
                #expect(types == (native ? [.compareAndWrite] : [.read, .write]))
            }
        }
    }

    @Test(arguments: [true, false], UInt64(0)..<40)
    func `a counter that three reactors increment loses none`(native: Bool, seed: UInt64) throws {
        try simulate(seed: seed, reactorCount: 3, geometry: Self.geometry, types: Self.types(native: native)) {
            here, scene in
            let delays = Shared(SeededRandom(seed: seed))
            scene.device.pace = .later { _ in .microseconds(Int.random(in: 0...50, using: &delays.value)) }
            scene.device.depth = seed % 3 == 0 ? 2 : .max
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let each = 6
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<6 {
                    group.addTask {
                        guard let channel = try? await descriptor.channel(on: scene.reactors[index % 3]) else { return }
                        // Some have a block before the counter with theirs, some one behind it.
                        let (start, counter) = [(10, 0), (9, 512), (10, 0)][index % 3]
                        let count = index % 3 == 2 ? 2 : 1 + index % 3
                        await channel.increment(each, from: UInt64(start), count: count, counter: counter)
                    }
                }
            }
            #expect(scene.device.data[10 * 512] == UInt8(6 * each), "seed \(seed)")
            await descriptor.close()
        }
    }

    @Test func `two buffers of one length, and no longer than the limit`() throws {
        try simulate(geometry: Self.geometry) { _, scene in
            try await scene.withChannel { channel in
                func refusal(_ first: Int, _ second: Int) async -> BdevError.Code? {
                    await code { () throws(BdevError) in
                        try await channel.swap(Self.blocks(0, first), for: Self.blocks(0, second), at: 0)
                    }
                }
                #expect(await refusal(4, 4) == nil)
                scene.device.resetLog()
                #expect(await refusal(5, 5) == .invalidArgument)
                #expect(await refusal(1, 2) == .invalidArgument)
                #expect(await refusal(2, 1) == .invalidArgument)
                #expect(scene.device.submissionCount == 0)
            }
        }
    }

    @Test func `without a limit of its own it is as long as a write unit`() throws {
        try simulate(geometry: .test.with { $0.writeUnitBlockCount = 2 }) { _, scene in
            try await scene.withChannel { channel in
                #expect(await channel.attempt(.compareAndWrite, at: 0, count: 2) == nil)
                #expect(await channel.attempt(.compareAndWrite, at: 0, count: 3) == .invalidArgument)
            }
        }
    }

    @Test(arguments: [IOType.read, .write])
    func `a failure of either half is its own error, and the range is free again`(failing: IOType) throws {
        try simulate { _, scene in
            try await scene.withChannel { channel in
                scene.device.answer = { $0.type == failing ? .system(.ioError) : .success }
                #expect(await channel.attempt(.compareAndWrite, at: 3) == .mediaError)
                #expect(scene.device.arrivals.map(\.type) == (failing == .read ? [.read] : [.read, .write]))
                scene.device.answer = { _ in .success }
                #expect(await channel.attempt(.compareAndWrite, at: 3) == nil)
            }
        }
    }

    @Test func `meanwhile writers to its blocks wait, readers do not, and others pass`() throws {
        try simulate(reactorCount: 2, geometry: Self.geometry) { here, scene in
            scene.device.pace = .held
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let other = try await descriptor.channel(on: scene.reactors[1])
            // It waits for the write that is there before it.
            let before = here.task { await other.writeOnce(at: 11) }
            await here.settle(.milliseconds(1))
            let swap = here.task { await channel.attempt(.compareAndWrite, at: 10, count: 2) }
            await here.settle(.milliseconds(1))
            #expect(scene.device.held.map(\.arrival.type) == [.write])
            await scene.device.completeFirst()
            #expect(await before.value == nil)
            await here.settle(.milliseconds(1))
            #expect(scene.device.held.map(\.arrival.type) == [.read])
            let write = here.task { await other.writeOnce(at: 11, 5) }
            let beside = here.task { await other.writeOnce(at: 12, 5) }
            let read = here.task { await other.readOnce(at: 11) }
            await here.settle(.milliseconds(1))
            #expect(Set(scene.device.held.dropFirst().map { [$0.arrival.start] }) == [[11], [12]])
            #expect(!scene.device.held.contains { $0.arrival.type == .write && $0.arrival.start == 11 })
            await scene.device.completeFirst { $0.start == 11 }
            await scene.device.completeFirst { $0.start == 12 }
            #expect(await read.value == nil)
            #expect(await beside.value == nil)
            await scene.device.completeFirst()
            await here.settle(.milliseconds(1))
            #expect(scene.device.held.map(\.arrival.start) == [10])
            await scene.device.completeFirst()
            #expect(await swap.value == nil)
            await here.settle(.milliseconds(1))
            await scene.device.completeFirst()
            #expect(await write.value == nil)
            #expect(scene.device.data[11 * 512] == 5)
            await descriptor.close()
        }
    }

    @Test(arguments: [IOType.read, .write])
    func `a cancelled one asks the device to give up what it has of it`(half: IOType) throws {
        try simulate(reactorCount: 2) { here, scene in
            scene.device.pace = .later { $0.type == half ? .seconds(1) : .zero }
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: scene.reactors[1])
            let swap = here.task { await channel.attempt(.compareAndWrite, at: 0) }
            await here.settle(.milliseconds(5))
            swap.cancel()
            #expect(await swap.value == .aborted)
            #expect(scene.simulation.now < .milliseconds(50))
            #expect(scene.device.aborted.count == 1)
            #expect(scene.device.arrivals.map(\.type) == (half == .read ? [.read] : [.read, .write]))
            scene.device.pace = .atOnce
            #expect(await channel.attempt(.compareAndWrite, at: 0) == nil)
            await descriptor.close()
        }
    }

    @Test func `memory that the device cannot take as it is has it done by the layer`() throws {
        let geometry = Self.geometry.with {
            $0.segmentCountLimit = 1
            $0.segmentByteCountLimit = 512
        }
        try simulate(geometry: geometry, types: .native) { _, scene in
            try await scene.withChannel { channel in
                try await channel.swap(Self.blocks(0, 2), for: Self.blocks(4, 2), at: 0)
                #expect(scene.device.data[1023] == 4)
                #expect(!scene.device.arrivals.contains { $0.type == .compareAndWrite })
                try await channel.swap(Self.blocks(4), for: Self.blocks(5), at: 0)
                #expect(scene.device.arrivals.last?.type == .compareAndWrite)
            }
        }
    }
}

extension BdevChannel {
    /// Increments the byte at `counter` of the blocks from `start` on, so many times, by compare-and-write.
    fileprivate func increment(_ times: Int, from start: UInt64, count: Int, counter: Int) async {
        var done = 0
        while done < times {
            do {
                let old = try await read(at: start, count: count)
                var new = old
                new[counter] += 1
                try await swap(old, for: new, at: start)
                done += 1
            } catch {
                if error.code == .miscompare { continue }
                Issue.record(error)
                return
            }
        }
    }
}
