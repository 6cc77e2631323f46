import Bdev
import BdevConformance
import LogBdev
import MallocBdev
import PassthruBdev
import Reactors
import SimulatedReactors
import Testing
import ZoneBlockBdev

@Suite("A log of what changes a bdev")
struct LogTests {
    @Test(arguments: [false, true], [false, true])
    func `it passes the conformance suite, alone and in a stack of three`(isOnBdev: Bool, isStacked: Bool) async throws
    {
        try await Bench.run { bench in
            let logs = LogModule(), passthru = bench.passthru
            try await bench.engine.register(logs)
            try await bench.malloc.create(.init(name: "disk", blockCount: 16_384))
            try await bench.malloc.create(.init(name: "log", blockCount: 1 << 20))
            if isStacked { try await passthru.create("below", on: "disk") }
            try await logs.create(
                .init(
                    name: "logged", base: isStacked ? "below" : "disk",
                    log: isOnBdev ? .bdev("log") : .memory(byteCount: 512 << 20)))
            if isStacked { try await passthru.create("above", on: "logged") }
            var options = ConformanceSuite.Options()
            options.seed = UInt64.random(in: 1 ... .max)
            options.zeroesUnmappedBlocks = true
            let name = isStacked ? "above" : "logged", seed = options.seed
            try await ConformanceSuite(engine: bench.engine, bdev: name, options: options).run()
            // What it says is what the disk holds.
            let log = try await logs.contents(of: "logged")
            #expect(try await logs.usage(of: "logged").lost == 0)
            try await bench.malloc.create(.init(name: "copy", blockCount: 16_384))
            let copy = try await bench.open("copy")
            try await log.replay(log.steps(log.entriesByCompletion), onto: copy)
            try await bench.withChannel(name) { whole in
                var original = await whole.buffer(byteCount: 8 << 20), replayed = await whole.buffer(byteCount: 8 << 20)
                try await whole.read(at: .block(0), into: &original)
                let channel = try await copy.channel(on: whole.reactor)
                try await channel.read(at: .block(0), into: &replayed)
                let isEqual = original.contentEquals(replayed)
                #expect(isEqual, "seed \(seed)")
            }
        }
    }

    // MARK: What is logged

    @Test(arguments: [false, true])
    func `each change is there with its blocks, its order and how it ended`(isOnBdev: Bool) throws {
        try simulateLog(isOnBdev: isOnBdev) { scene in
            try await scene.withChannel { channel in
                try await channel.write(7, at: 3, count: 2)
                try await channel.writeZeroes(at: .block(9), count: .blocks(4))
                try await channel.flush()
                try await scene.module.mark("logged", "here")
                try await channel.unmap(at: .block(20), count: .blocks(8))
                scene.stack.device.answer = { _, _, _ in .mediumFailed }
                let failing = await status { () throws(BdevError) in try await channel.write(8, at: 30) }
                #expect(failing == .mediumFailed)
                scene.stack.device.answer = { _, _, _ in .success }
                _ = try await channel.value(at: 3)
                var options = IOOptions()
                options.forcesUnitAccess = true
                var buffer = await channel.buffer(byteCount: 512)
                buffer.fill(words: 9)
                try await channel.write(from: buffer, at: .block(31), options: options)
            }
            let log = try await scene.module.contents(of: "logged")
            #expect(
                log.entries.map(\.kind) == [.write, .writeZeroes, .flush, .mark("here"), .unmap, .write, .write])
            #expect(log.entries.map(\.blocks) == [3..<5, 9..<13, 0..<0, 0..<0, 20..<28, 30..<31, 31..<32])
            #expect(log.entries.map(\.succeeded) == [true, true, true, true, true, false, true])
            #expect(log.entries.map(\.isForced) == [false, false, false, false, false, false, true])
            #expect(log.entries.map(\.submitted) == [1, 3, 5, 7, 8, 10, 12])
            #expect(log.entries.map(\.completed) == [2, 4, 6, 7, 9, 11, 13])
            #expect(log.lastEvent == 13)
            #expect(log.mark("here") == log.entries[3] && log.mark("there") == nil)
            #expect(log.steps(log.entries).count == 6, "what failed is left out")
            #expect(log.steps(log.entries, first: 1).map(\.blocks) == [[3..<5]])
        }
    }

    @Test func `a copy and a compare-and-write are logged as the writes they are`() throws {
        try simulateLog { scene in
            try await scene.withChannel { channel in
                try await channel.write(7, at: 0, count: 4)
                try await channel.copy(from: .block(0), to: .block(8), count: .blocks(4))
                var old = await channel.buffer(byteCount: 512), new = await channel.buffer(byteCount: 512)
                old.fill(words: 7)
                new.fill(words: 8)
                try await channel.compareAndWrite(old, new, at: .block(9))
            }
            let log = try await scene.module.contents(of: "logged")
            #expect(log.entries.map(\.blocks) == [0..<4, 8..<12, 9..<10])
            let image = try await scene.image(after: log.steps(log.entries), of: log)
            #expect(image[..<12] == [7, 7, 7, 7, 0, 0, 0, 0, 7, 8, 7, 7])
        }
    }

    // MARK: Room

    @Test(arguments: [false, true])
    func `what does not fit fails before it changes anything, and clearing makes room`(isOnBdev: Bool) throws {
        try simulateLog(isOnBdev: isOnBdev, logBlockCount: 12) { scene in
            try await scene.withChannel { channel in
                try await channel.write(1, at: 0, count: 4)
                try await channel.write(2, at: 4, count: 4)
                let long = await code { () throws(BdevError) in try await channel.write(3, at: 0, count: 2) }
                #expect(long == .noSpace)
                try await channel.flush()
                let (taken, all, lost) = try await scene.module.usage(of: "logged")
                #expect(taken == 12 && all == 12 && lost == 0)
                let flush = await code { () throws(BdevError) in try await channel.flush() }
                let mark = await code { () throws(BdevError) in try await scene.module.mark("logged", "no") }
                #expect(flush == .noSpace && mark == .noSpace)
                #expect(try await channel.value(at: 0) == 1)
                let before = try await scene.module.contents(of: "logged")
                #expect(before.entries.map(\.kind) == [.write, .write, .flush])
                try await scene.module.clear("logged")
                #expect(try await scene.module.contents(of: "logged").entries.isEmpty)
                try await channel.write(4, at: 0, count: 8)
                let after = try await scene.module.contents(of: "logged")
                #expect(after.entries.map(\.blocks) == [0..<8] && after.entries[0].submitted == 1)
                let old = await code { () throws(BdevError) in
                    _ = try await scene.replay(before)
                }
                #expect(old == .mediaError, "the data of the cleared log is overwritten")
            }
        }
    }

    @Test func `marks have short labels, and nothing is under way at one`() throws {
        try simulateLog(reactorCount: 2) { scene in
            let long = await code { () throws(BdevError) in
                try await scene.module.mark("logged", String(repeating: "ä", count: 129))
            }
            #expect(long == .invalidArgument)
            try await scene.module.mark("logged", String(repeating: "ä", count: 128))
            let writes = scene.stack.reactors.map { reactor in
                Task(executorPreference: reactor.taskExecutor) {
                    try await scene.descriptor.withChannel(on: reactor) { channel in
                        for round in 0..<20 { try await channel.write(UInt64(round), at: UInt64(round)) }
                    }
                }
            }
            for number in 0..<5 { try await scene.module.mark("logged", "\(number)") }
            for write in writes { try await write.value }
            let log = try await scene.module.contents(of: "logged")
            #expect(log.entries.count == 46)
            for number in 0..<5 {
                let event = try #require(log.mark("\(number)")).submitted
                for entry in log.entries { #expect(entry.submitted >= event || entry.completed <= event) }
            }
        }
    }

    // MARK: On a bdev

    @Test func `a log on a bdev is read by others later, without what an older one has left`() throws {
        try simulateLog(isOnBdev: true) { scene in
            try await scene.withChannel { channel in
                for block in 0..<20 { try await channel.write(5, at: UInt64(block), count: 2) }
            }
            await scene.descriptor.close()
            try await scene.module.delete("logged")
            let raw = try await scene.engine.open("log", mode: .readWrite)
            let first = try await LogModule.contents(onBdev: raw, engine: scene.engine)
            #expect(first.entries.count == 20 && first.lastEvent == 40)
            let image = try await scene.image(after: first.steps(first.entries), of: first)
            #expect(image[..<22] == [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0])
            // A header that was never written, and data that has changed since.
            try await raw.withChannel(on: scene.stack.reactors[0]) { channel in
                try await channel.write(0, at: 1 + 3 * 4)
                try await channel.write(0, at: 1 + 3 * 7 + 1)
            }
            let damaged = try await LogModule.contents(onBdev: raw, engine: scene.engine)
            #expect(damaged.entries.map(\.startBlock) == (0..<20).filter { $0 != 4 })
            let lost = await code { () throws(BdevError) in _ = try await scene.replay(damaged) }
            #expect(lost == .mediaError)
            await raw.close()

            try await scene.module.create(.init(name: "logged", base: "base", log: .bdev("log")))
            let again = try await scene.engine.open("logged", mode: .readWrite)
            try await again.withChannel(on: scene.stack.reactors[0]) { try await $0.write(6, at: 100) }
            #expect(try await scene.module.contents(of: "logged").entries.map(\.startBlock) == [100])
            await again.close()
            try await scene.module.delete("logged")
            let later = try await scene.engine.open("log")
            #expect(
                try await LogModule.contents(onBdev: later, engine: scene.engine).entries.map(\.startBlock) == [100])
            await later.close()
            let base = try await scene.engine.open("base")
            let none = await code { () throws(BdevError) in
                _ = try await LogModule.contents(onBdev: base, engine: scene.engine)
            }
            #expect(none == .invalidArgument)
            await base.close()
        }
    }

    @Test func `what cannot be written down has failed, and is counted`() throws {
        try simulateLog(isOnBdev: true) { scene in
            try await scene.withChannel { channel in
                try await channel.write(1, at: 0)
                // First the header, then the data.
                for first in [UInt64(3), 6] {
                    scene.logDevice.answer = { _, start, _ in start == first ? .mediumFailed : .success }
                    let failing = await status { () throws(BdevError) in try await channel.write(2, at: 1) }
                    #expect(failing == .mediumFailed)
                }
                scene.logDevice.answer = { _, _, _ in .success }
                try await channel.write(3, at: 2)
                #expect(try await scene.module.usage(of: "logged").lost == 2)
                let log = try await scene.module.contents(of: "logged")
                #expect(log.entries.map(\.startBlock) == [0, 1, 2])
            }
        }
    }

    // MARK: Making them

    @Test func `impossible logs are refused, and all is free afterwards`() async throws {
        try await Bench.run { bench in
            let logs = LogModule(), zoned = ZoneBlockModule()
            try await bench.engine.register(logs)
            try await bench.engine.register(zoned)
            try await bench.malloc.create(.init(name: "disk", blockCount: 1024))
            try await bench.malloc.create(.init(name: "log", blockCount: 1024))
            try await bench.malloc.create(.init(name: "small", blockCount: 2))
            try await bench.malloc.create(.init(name: "large", blockCount: 1024, blockByteCount: 4096))
            try await zoned.create(.init(name: "zoned", base: "large", zoneCapacity: 100))
            func refuse(_ code: BdevError.Code, _ base: String, _ place: LogModule.Place) async {
                await expect(code) { try await logs.create(.init(name: "logged", base: base, log: place)) }
            }
            await refuse(.invalidArgument, "zoned", .memory(byteCount: 1 << 20))
            await refuse(.invalidArgument, "disk", .memory(byteCount: 1535))
            await refuse(.invalidArgument, "disk", .memory(byteCount: -1))
            await refuse(.invalidArgument, "disk", .bdev("small"))
            await refuse(.claimed, "disk", .bdev("large"))
            await refuse(.noSuchBdev, "nobody", .memory(byteCount: 1 << 20))
            await refuse(.noSuchBdev, "disk", .bdev("nobody"))
            await refuse(.claimed, "disk", .bdev("disk"))
            try await zoned.delete("zoned")
            await refuse(.invalidArgument, "disk", .bdev("large"))
            await expect(.nameInUse) { try await logs.create(.init(name: "small", base: "disk")) }
            try await logs.create(.init(name: "logged", base: "disk", log: .bdev("log")))
            await expect(.claimed) { try await logs.create(.init(name: "second", base: "disk")) }
            await expect(.claimed) { try await logs.create(.init(name: "second", base: "small", log: .bdev("log"))) }
            await expect(.noSuchBdev) { _ = try await logs.contents(of: "second") }
            let log = try await logs.contents(of: "logged")
            let small = try await bench.open("small"), large = try await bench.open("large")
            await expect(.invalidArgument) { try await log.replay([], onto: small) }
            await expect(.invalidArgument) { try await log.replay([], onto: large) }
            try await logs.delete("logged")
            await expect(.noSuchBdev) { try await logs.delete("logged") }
        }
    }

    // MARK: Under load

    @Test(arguments: [false, true], 1...10 as ClosedRange<UInt64>)
    func `it survives its base, or its log, being reset, resized and removed under load`(
        isOnBdev: Bool, seed: UInt64
    ) throws {
        try simulateLog(seed: seed, reactorCount: 2, isOnBdev: isOnBdev, logBlockCount: 1 << 16) { scene in
            let loads = scene.stack.reactors.map { reactor in
                Task(executorPreference: reactor.taskExecutor) {
                    try? await scene.descriptor.withChannel(on: reactor) { channel in
                        try await Self.load(channel, seed: seed)
                    }
                }
            }
            try await scene.stack.pause()
            try await scene.descriptor.withChannel(on: scene.stack.reactors[0]) { try await $0.reset() }
            try await scene.module.mark("logged", "after the reset")
            try await scene.stack.pause()
            try await scene.stack.slow.host.value.resize("base", blockCount: 300)
            scene.stack.device.answer = { _, start, _ in start % 7 == 0 ? .mediumFailed : .success }
            scene.logDevice.answer = { type, start, _ in
                type == .write && start % 7 == 0 ? .mediumFailed : .success
            }
            try await scene.stack.pause()
            let log = try await scene.module.contents(of: "logged")
            #expect(log.entries.contains { !$0.succeeded } && log.entries.contains(where: \.succeeded))
            let removal = Task(executorPreference: scene.stack.reactors[0].taskExecutor) {
                try await scene.engine.remove(isOnBdev && seed.isMultiple(of: 2) ? "log" : "base")
            }
            for load in loads { await load.value }
            await scene.descriptor.close()
            try await removal.value
            #expect(await !scene.engine.list().contains { $0.name == "logged" })
        }
    }

    /// Writes, flushes and reads until the bdev is gone.
    private static func load(_ channel: isolated BdevChannel, seed: UInt64) async throws {
        let tasks = (0..<4).map { worker in
            Task {
                var random = SeededRandom(seed: seed * 10 + UInt64(worker))
                while true {
                    let block = UInt64.random(in: 0..<248, using: &random)
                    do throws(BdevError) {
                        switch Int.random(in: 0..<8, using: &random) {
                        case 0: try await channel.flush()
                        case 1: _ = try await channel.value(at: block)
                        case 2: try await channel.unmap(at: .block(block), count: .blocks(3))
                        case 3: try await channel.writeZeroes(at: .block(block), count: .blocks(3))
                        default: try await channel.write(1, at: block, count: 4)
                        }
                    } catch {
                        if error.code == .removed || error.code == .closed { throw error }
                        // What is refused at once takes no time.
                        try await channel.reactor.local.sleep(for: .microseconds(10))
                    }
                }
            }
        }
        for task in tasks { _ = await task.result }
    }
}

extension LogScene {
    fileprivate func replay(_ log: WriteLog) async throws(BdevError) -> Bool {
        try await malloc.create(.init(name: "scratch", blockCount: Self.blockCount))
        let target = try await engine.open("scratch", mode: .readWrite)
        do throws(BdevError) {
            try await log.replay(log.steps(log.entries), onto: target)
        } catch {
            await target.close()
            try await malloc.delete("scratch")
            throw error
        }
        await target.close()
        try await malloc.delete("scratch")
        return true
    }
}

/// What kind of error `body` throws; nil when it throws none.
private func code(_ body: () async throws(BdevError) -> Void) async -> BdevError.Code? {
    do throws(BdevError) {
        try await body()
        return nil
    } catch {
        return error.code
    }
}
