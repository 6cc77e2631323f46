import Bdev
import ErrorBdev
import Reactors
import SimulatedReactors
import Testing

@Suite("Error")
struct ErrorTests {
    /// Reads block 0; what it ended with.
    private static func read(_ channel: isolated BdevChannel, at block: UInt64 = 0) async throws -> IOStatus {
        var buffer = try channel.allocateBuffer(byteCount: 512)
        do throws(BdevError) {
            try await channel.read(at: .block(block), into: &buffer)
            return .success
        } catch {
            return error.status ?? .failed
        }
    }

    private static func write(_ channel: isolated BdevChannel, at block: UInt64 = 0) async throws -> IOStatus {
        let buffer = try channel.allocateBuffer(byteCount: 512)
        do throws(BdevError) {
            try await channel.write(from: buffer, at: .block(block))
            return .success
        } catch {
            return error.status ?? .failed
        }
    }

    /// Runs `body` on a bdev "EE_disk" over a disk.
    private func onDisk(
        seed: UInt64 = 1, reactorCount: Int = 1, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: @escaping @Sendable (isolated LocalReactor, Stage, Disk) async throws -> Void
    ) throws {
        try stack(seed: seed, reactorCount: reactorCount, sourceLocation: sourceLocation) { here, stage in
            let disk = try await stage.disks.create("disk")
            try await stage.error.create(on: "disk")
            try await body(here, stage, disk)
        }
    }

    @Test(arguments: [
        (ErrorInjection.Effect.failure, IOStatus.failed),
        (.nvmeFailure(type: 2, code: 0x81), IOStatus(.nvmeError, detail: 0x281)),
    ])
    func `so many I/O fail as were asked for, and the base never sees them`(
        effect: ErrorInjection.Effect, status: IOStatus
    ) throws {
        try onDisk { _, stage, disk in
            try await stage.error.inject(ErrorInjection(effect, of: .read, count: 3), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                #expect(try await Self.write(channel) == .success)
                var statuses: [IOStatus] = []
                for _ in 0..<5 { statuses.append(try await Self.read(channel)) }
                #expect(statuses == [status, status, status, .success, .success])
            }
            #expect(disk.types(.read) == 2)
        }
    }

    @Test func `all means each kind of I/O with a count of its own, and others not at all`() throws {
        try onDisk { _, stage, disk in
            try await stage.error.inject(ErrorInjection(.failure), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                try await channel.writeZeroes(at: .block(0), count: .blocks(1))
                #expect(try await Self.read(channel) == .failed)
                #expect(try await Self.write(channel) == .failed)
                #expect(await stage.code { try await channel.flush() } == .deviceFailed)
                #expect(await stage.code { try await channel.unmap(at: .block(0), count: .blocks(1)) } == .deviceFailed)
                #expect(try await Self.read(channel) == .success)
                #expect(try await Self.write(channel) == .success)
                try await channel.flush()
                try await channel.unmap(at: .block(0), count: .blocks(1))
            }
            #expect(disk.arrivals.count == 5)
        }
    }

    @Test func `an injection takes the place of the one before, a count of 0 ends it, and clear ends all`() throws {
        try onDisk { _, stage, _ in
            try await stage.error.inject(ErrorInjection(.failure, of: .read, count: 9), into: "EE_disk")
            try await stage.error.inject(ErrorInjection(.failure, of: .read, count: 1), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                #expect(try await Self.read(channel) == .failed)
                #expect(try await Self.read(channel) == .success)
                try await stage.error.inject(ErrorInjection(.failure, of: .all, count: 9), into: "EE_disk")
                try await stage.error.inject(ErrorInjection(.failure, of: .read, count: 0), into: "EE_disk")
                #expect(try await Self.read(channel) == .success)
                #expect(try await Self.write(channel) == .failed)
                try await stage.error.clear("EE_disk")
                #expect(try await Self.write(channel) == .success)
            }
        }
    }

    @Test func `only I/O that touches the blocks is hit`() throws {
        try onDisk { _, stage, _ in
            var injection = ErrorInjection(.failure, of: .read, count: 100)
            injection.blocks = 10..<12
            try await stage.error.inject(injection, into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                var hit: [UInt64] = []
                for block in UInt64(8)..<14 where try await Self.read(channel, at: block) != .success {
                    hit.append(block)
                }
                #expect(hit == [10, 11])
                var buffer = try channel.allocateBuffer(byteCount: 1024)
                let code = await stage.code { try await channel.read(at: .block(9), into: &buffer) }
                #expect(code == .deviceFailed)
            }
        }
    }

    @Test func `hits begin when so many I/O are in flight`() throws {
        try onDisk { here, stage, disk in
            var injection = ErrorInjection(.failure, of: .read, count: 100)
            injection.queueDepth = 3
            try await stage.error.inject(injection, into: "EE_disk")
            disk.isHeld = true
            let statuses = try await stage.withChannel("EE_disk") { channel in
                let handler = StatusHandler()
                for tag in 0..<6 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(0), tag: UInt64(tag), handler: handler)
                }
                disk.release()
                while handler.statuses.count < 6 { await here.yield() }
                return handler.statuses
            }
            #expect((0..<6).map { statuses[$0] } == [.success, .success, .success, .failed, .failed, .failed])
        }
    }

    // MARK: Corruption

    @Test func `a read brings one byte wrong, in whichever segment it lies`() throws {
        try onDisk { _, stage, disk in
            disk.data = disk.data.indices.map { UInt8(truncatingIfNeeded: $0 / 3) }
            try await stage.error.inject(
                ErrorInjection(.corruption(atByte: 700, bits: 0x41), of: .read), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                var list = IOBufferList(capacity: 2)
                list.append(try channel.allocateBuffer(byteCount: 600), from: 0, length: 600)
                list.append(try channel.allocateBuffer(byteCount: 424), from: 0, length: 424)
                try await channel.read(at: .block(4), into: &list)
                var found: [UInt8] = []
                for index in 0..<2 { list.withBuffer(index) { found += $0.array } }
                var expected = Array(disk.data[4 * 512..<6 * 512])
                expected[700] ^= 0x41
                #expect(found == expected)
                // Data that ends before the byte is what it was.
                try await stage.error.inject(
                    ErrorInjection(.corruption(atByte: 512, bits: 1), of: .read), into: "EE_disk")
                var buffer = try channel.allocateBuffer(byteCount: 512)
                try await channel.read(at: .block(4), into: &buffer)
                #expect(buffer.array == Array(disk.data[4 * 512..<5 * 512]))
            }
        }
    }

    @Test func `a write is corrupted in its own place, and the writer's memory is not`() throws {
        try onDisk { _, stage, disk in
            try await stage.error.inject(
                ErrorInjection(.corruption(atByte: 513, bits: 0xFF), of: .write), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                var buffer = try channel.allocateBuffer(byteCount: 1024)
                buffer.fill(seed: 4)
                let data = buffer.array
                for _ in 0..<2 {
                    try await channel.write(from: buffer, at: .block(7))
                    #expect(buffer.array == data)
                    var expected = data
                    if disk.arrivals.count == 1 { expected[513] ^= 0xFF }
                    #expect(Array(disk.data[7 * 512..<9 * 512]) == expected)
                    #expect(disk.data[0..<7 * 512].allSatisfy { $0 == 0 })
                }
            }
        }
    }

    @Test func `what makes no sense is refused`() throws {
        try onDisk { _, stage, _ in
            var negative = ErrorInjection(.failure)
            negative.queueDepth = -1
            let refused = [
                ErrorInjection(.corruption(atByte: 0, bits: 0)), ErrorInjection(.nvmeFailure(type: 8, code: 0)),
                ErrorInjection(.failure, count: -1), negative,
            ]
            for injection in refused {
                #expect(
                    await stage.code { try await stage.error.inject(injection, into: "EE_disk") } == .invalidArgument)
            }
            #expect(await stage.code { try await stage.error.inject(.init(.failure), into: "disk") } == .noSuchBdev)
            #expect(await stage.code { try await stage.error.resumePending(of: "EE_other") } == .noSuchBdev)
        }
    }

    // MARK: No room

    @Test func `an I/O without room comes again until there is, and nothing overtakes it`() throws {
        try onDisk { here, stage, disk in
            try await stage.error.inject(ErrorInjection(.noMemory, of: .write, count: 5), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                let handler = StatusHandler()
                for tag in UInt64(0)..<4 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.write(from: &buffer, at: .block(tag), tag: tag, handler: handler)
                }
                while handler.statuses.count < 4 { try await here.sleep(for: .milliseconds(1)) }
                #expect(handler.statuses.values.allSatisfy { $0 == .success })
            }
            #expect(disk.arrivals.map(\.start) == [0, 1, 2, 3])
            #expect(try await stage.engine.statistics("EE_disk").retryCount == 5)
        }
    }

    // MARK: What is kept

    @Test func `I/O that is kept goes on when it is told to, in its order`() throws {
        try onDisk { here, stage, disk in
            try await stage.error.inject(ErrorInjection(.pending, of: .write, count: 3), into: "EE_disk")
            try await stage.withChannel("EE_disk") { channel in
                let handler = StatusHandler()
                for tag in UInt64(0)..<5 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.write(from: &buffer, at: .block(tag), tag: tag, handler: handler)
                }
                try await here.sleep(for: .seconds(5))
                #expect(handler.statuses.count == 2)
                try await stage.error.resumePending(of: "EE_disk")
                while handler.statuses.count < 5 { await here.yield() }
                #expect(handler.statuses.values.allSatisfy { $0 == .success })
            }
            #expect(disk.arrivals.map(\.start) == [3, 4, 0, 1, 2])
        }
    }

    @Test func `I/O that is kept is given up when its task is cancelled`() throws {
        try onDisk { here, stage, disk in
            try await stage.error.inject(ErrorInjection(.pending, of: .read), into: "EE_disk")
            let read = stage.spawn {
                try await stage.withChannel("EE_disk") { channel in
                    var buffer = try channel.allocateBuffer(byteCount: 512)
                    try await channel.read(at: .block(0), into: &buffer)
                }
            }
            try await here.sleep(for: .milliseconds(1))
            read.cancel()
            #expect(await stage.code { try await read.value } == .aborted)
            #expect(disk.arrivals.isEmpty)
        }
    }

    @Test(arguments: UInt64(0)..<20)
    func `a reset gives up what is kept on every reactor, and resets the base`(seed: UInt64) throws {
        try onDisk(seed: seed, reactorCount: 3) { here, stage, disk in
            try await stage.error.inject(ErrorInjection(.pending, of: .read, count: 3), into: "EE_disk")
            let ended = Shared<[IOStatus]>([])
            let reads = [0, 1, 2].map { index in
                stage.spawn {
                    try await stage.withChannel("EE_disk", on: index) { channel in
                        ended.value.append(try await Self.read(channel))
                    }
                }
            }
            try await here.sleep(for: .milliseconds(5))
            #expect(ended.value.isEmpty, "seed \(seed)")
            try await stage.withChannel("EE_disk", on: 1) { channel in try await channel.reset() }
            #expect(ended.value.count == 3, "seed \(seed)")
            #expect(ended.value.allSatisfy { $0 == .aborted }, "seed \(seed)")
            #expect(disk.arrivals.map(\.type) == [.reset], "seed \(seed)")
            for read in reads { try await read.value }
        }
    }

    @Test(arguments: [true, false])
    func `I/O that is kept does not keep the bdev`(removesBase: Bool) throws {
        try onDisk { here, stage, _ in
            try await stage.error.inject(ErrorInjection(.pending, of: .read), into: "EE_disk")
            let read = stage.spawn {
                try await stage.withChannel("EE_disk") { channel in
                    let status = try await Self.read(channel)
                    #expect(status == .aborted)
                }
            }
            try await here.sleep(for: .milliseconds(1))
            if removesBase { try await stage.disks.remove("disk") } else { try await stage.error.delete("EE_disk") }
            try await read.value
            #expect(await stage.names() == (removesBase ? [] : ["disk"]))
        }
    }

    // MARK: Determinism

    @Test(arguments: UInt64(0)..<10)
    func `the same I/O is hit in every run of a seed`(seed: UInt64) throws {
        let runs = try (0..<2).map { _ in
            let log = Shared<[String]>([])
            try onDisk(seed: seed, reactorCount: 2) { here, stage, _ in
                var random = SeededRandom(seed: seed)
                let tasks = (0..<2).map { index in
                    let own = SeededRandom(seed: seed &+ UInt64(index))
                    return stage.spawn {
                        try await stage.withChannel("EE_disk", on: index) { channel in
                            var random = own
                            for number in 0..<50 {
                                let block = UInt64.random(in: 0..<1024, using: &random)
                                let status =
                                    Bool.random(using: &random)
                                    ? try await Self.read(channel, at: block) : try await Self.write(channel, at: block)
                                log.value.append("\(index) \(number) \(status)")
                                await channel.reactor.local.yield()
                            }
                        }
                    }
                }
                for _ in 0..<10 {
                    let effect = [ErrorInjection.Effect.failure, .nvmeFailure(type: 0, code: 6), .noMemory]
                        .randomElement(using: &random)!
                    let operation = ErrorInjection.Operation.allCases.randomElement(using: &random)!
                    let injection = ErrorInjection(effect, of: operation, count: Int.random(in: 0..<4, using: &random))
                    try await stage.error.inject(injection, into: "EE_disk")
                    for _ in 0..<20 { await here.yield() }
                }
                for task in tasks { try await task.value }
            }
            return log.value
        }
        #expect(runs[0] == runs[1], "seed \(seed)")
        #expect(runs[0].count == 100, "seed \(seed)")
    }
}

private final class StatusHandler: IOHandler {
    private(set) var statuses: [UInt64: IOStatus] = [:]
    override func ioCompleted(_ completion: consuming IOCompletion) { statuses[completion.tag] = completion.status }
}
