import SystemPackage
import Testing

@testable import Reactors

@Suite struct `Every ring` {
    private func pattern(_ count: Int, _ seed: UInt8) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) &+ seed }
    }

    @Test(arguments: RingKind.allCases, [false, true])
    func `reads back what it wrote, with files and memory registered or not`(_ kind: RingKind, _ registered: Bool)
        throws
    {
        for directory in ["/dev/shm", "/var/tmp"] {
            let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: 65536, in: directory)
            let region = try MemoryRegion(byteCount: 65536)
            defer { withExtendedLifetime(region) {} }
            if registered { #expect(bench.ring.register(region) == (kind == .kernel)) }
            let file = registered ? bench.ring.register(scratch.descriptor) : scratch.file
            #expect((file.slot >= 0) == (registered && kind == .kernel))
            let source = region.memory(from: 4096, count: 8192), target = region.memory(from: 16384, count: 8192)
            source.store(pattern(8192, 3))
            #expect(bench.result { bench.ring.write(file, at: 4096, from: source, token: $0, for: $1) } == 8192)
            #expect(bench.result { bench.ring.read(file, at: 4096, into: target, token: $0, for: $1) } == 8192)
            #expect(target.contentEquals(source))
            #expect(try scratch.read(at: 4096, count: 8192) == pattern(8192, 3))
            bench.ring.unregister(file)
        }
    }

    @Test(arguments: RingKind.allCases)
    func `gives a slot of registered files back`(_ kind: RingKind) throws {
        var options = Ring.Options()
        options.fileSlots = 2
        let bench = try RingBench(kind, options), scratch = try ScratchFile(byteCount: 4096)
        let memory = try MemoryRegion(byteCount: 4096)
        defer { withExtendedLifetime(memory) {} }
        for _ in 0..<5 {
            let files = (0..<3).map { _ in bench.ring.register(scratch.descriptor) }
            #expect(files.filter { $0.slot >= 0 }.count == (kind == .kernel ? 2 : 0))
            for file in files {
                #expect(
                    bench.result {
                        bench.ring.read(file, at: 0, into: memory.memory(from: 0, count: 4096), token: $0, for: $1)
                    } == 4096)
                bench.ring.unregister(file)
            }
        }
    }

    @Test(arguments: RingKind.allCases)
    func `reads and writes memory in pieces, and goes on after a part`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: 65536)
        let region = try MemoryRegion(byteCount: 1 << 20)
        defer { withExtendedLifetime(region) {} }
        let vectors = IOVectorList(capacity: 64)
        var expected: [UInt8] = []
        for index in 0..<33 {
            let piece = region.memory(from: index * 8192, count: 100 + index)
            piece.store(pattern(piece.byteCount, UInt8(index)))
            expected += piece.bytes
            #expect(vectors.append(piece))
        }
        #expect(vectors.byteCount == expected.count)
        #expect(
            bench.result { bench.ring.write(scratch.file, at: 10, from: vectors, token: $0, for: $1) }
                == Int32(expected.count))
        #expect(try scratch.read(at: 10, count: expected.count) == expected)

        vectors.removeFirst(byteCount: 250)
        #expect(
            bench.result { bench.ring.write(scratch.file, at: 20000, from: vectors, token: $0, for: $1) }
                == Int32(expected.count - 250))
        #expect(try scratch.read(at: 20000, count: expected.count - 250) == Array(expected[250...]))

        vectors.removeAll()
        let left = region.memory(from: 500_000, count: 1000), right = region.memory(from: 600_000, count: 2000)
        #expect(vectors.append(left) && vectors.append(right))
        #expect(bench.result { bench.ring.read(scratch.file, at: 10, into: vectors, token: $0, for: $1) } == 3000)
        #expect(left.bytes + right.bytes == Array(expected[0..<3000]))
    }

    @Test func `a full vector list refuses one more piece`() throws {
        let vectors = IOVectorList(capacity: 2), region = try MemoryRegion(byteCount: 4096)
        let piece = region.memory(from: 0, count: 10)
        #expect(vectors.append(piece) && vectors.append(piece) && !vectors.append(piece))
        vectors.removeFirst(byteCount: 10)
        #expect(vectors.count == 1 && vectors.byteCount == 10 && vectors.append(piece))
        vectors.removeFirst(byteCount: 20)
        #expect(vectors.count == 0 && vectors.byteCount == 0)
    }

    @Test(arguments: RingKind.allCases)
    func `a read at the end of a file is short, and behind it empty`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: 5000)
        let memory = try MemoryRegion(byteCount: 4096)
        let whole = memory.memory(from: 0, count: 4096)
        defer { withExtendedLifetime(memory) {} }
        #expect(bench.result { bench.ring.read(scratch.file, at: 4096, into: whole, token: $0, for: $1) } == 904)
        #expect(bench.result { bench.ring.read(scratch.file, at: 8192, into: whole, token: $0, for: $1) } == 0)
    }

    @Test(arguments: RingKind.allCases)
    func `synchronizes, allocates, punches and zeroes`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: 16384, in: "/var/tmp")
        let ring = bench.ring, file = ring.register(scratch.descriptor)
        try scratch.write([UInt8](repeating: 9, count: 16384), at: 0)
        #expect(bench.result { ring.synchronize(file, token: $0, for: $1) } == 0)
        #expect(bench.result { ring.synchronize(file, dataOnly: false, token: $0, for: $1) } == 0)
        for (mode, offset) in [(AllocationMode.punchHole, Int64(4096)), (.zero, 8192)] {
            #expect(
                bench.result { ring.allocate(file, at: offset, byteCount: 4096, mode: mode, token: $0, for: $1) } == 0)
        }
        let contents = try scratch.read(at: 0, count: 16384)
        #expect(contents == (0..<16384).map { (4096..<12288).contains($0) ? 0 : 9 })
        #expect(
            bench.result { ring.allocate(file, at: 0, byteCount: 20000, mode: .reserve, token: $0, for: $1) } == 0)
        #expect(try scratch.byteCount == 16384)
        #expect(
            bench.result { ring.allocate(file, at: 0, byteCount: 20000, mode: .extend, token: $0, for: $1) } == 0)
        #expect(try scratch.byteCount == 20000)
        ring.unregister(file)
    }

    @Test(arguments: RingKind.allCases)
    func `a durable write says how much it wrote`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), scratch = try ScratchFile(in: "/var/tmp")
        let region = try MemoryRegion(byteCount: 4096), memory = region.memory(from: 0, count: 4096)
        #expect(
            bench.result { bench.ring.write(scratch.file, at: 0, from: memory, flags: .durable, token: $0, for: $1) }
                == 4096)
        withExtendedLifetime(region) {}
    }

    @Test(arguments: RingKind.allCases)
    func `errors of the kernel come back as results`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: 4096)
        let ring = bench.ring, memory = try MemoryRegion(byteCount: 4096)
        let whole = memory.memory(from: 0, count: 4096)
        defer { withExtendedLifetime(memory) {} }
        let closed = RingFile(FileDescriptor(rawValue: 123_456))
        #expect(
            bench.result { ring.read(closed, at: 0, into: whole, token: $0, for: $1) } == -Errno.badFileDescriptor
                .rawValue)
        #expect(bench.result { ring.synchronize(closed, token: $0, for: $1) } == -Errno.badFileDescriptor.rawValue)
        #expect(
            bench.result { ring.allocate(scratch.file, at: 0, byteCount: 0, mode: .reserve, token: $0, for: $1) }
                == -Errno.invalidArgument.rawValue)
        let refused = bench.result { ring.discard(scratch.file, at: 0, byteCount: 4096, token: $0, for: $1) }
        #expect(refused == -Errno.notSupported.rawValue || refused == -Errno.inappropriateIOCTLForDevice.rawValue)
        let unknown = TransferFlags(rawValue: 1 << 30)
        #expect(
            bench.result { ring.read(scratch.file, at: 0, into: whole, flags: unknown, token: $0, for: $1) }
                == -Errno.notSupported.rawValue)
    }

    @Test(arguments: RingKind.allCases)
    func `a full ring refuses, and tells clients in order when to go on`(_ kind: RingKind) throws {
        var options = Ring.Options()
        options.entries = 4
        options.completionEntries = 16
        let bench = try RingBench(kind, options), scratch = try ScratchFile(byteCount: 4096)
        let ring = bench.ring, region = try MemoryRegion(byteCount: 4096)
        let memory = region.memory(from: 0, count: 512)
        defer { withExtendedLifetime(region) {} }
        let clients = (0..<3).map { _ in Collector() }
        var started = [0, 0, 0], served: [Int] = []
        for (index, client) in clients.enumerated() {
            ring.add(client)
            let go = { [unowned client] in
                while started[index] < 500,
                    ring.read(scratch.file, at: 0, into: memory, token: UInt64(started[index]), for: client)
                { started[index] += 1 }
            }
            client.room = {
                served.append(index)
                go()
            }
            go()
        }
        #expect(started == [ring.capacity, 0, 0])
        bench.run(until: { clients.allSatisfy { $0.results.count == 500 } })
        #expect(clients.allSatisfy { client in client.results.values.allSatisfy { $0 == 512 } })
        // The first keeps its place until it has nothing more to start; then the second, then the third.
        #expect(served == served.sorted() && Set(served) == [0, 1, 2])
        for client in clients { ring.remove(client) }
    }

    @Test(arguments: RingKind.allCases, [UInt64(1), 2, 3])
    func `keeps thousands of operations in random order apart`(_ kind: RingKind, _ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let blocks = 256, slots = 64, size = 512
        let bench = try RingBench(kind), scratch = try ScratchFile(byteCount: Int64(blocks * size))
        let region = try MemoryRegion(byteCount: slots * 4096), ring = bench.ring
        if seed > 1 { _ = ring.register(region) }
        let file = seed == 3 ? ring.register(scratch.descriptor) : scratch.file
        var shadow = [UInt8](repeating: 0, count: blocks), busy = Set<Int>(), started = 0
        var pending: [Int: (block: Int, expected: UInt8)] = [:], free = Array(0..<slots)
        let client = Collector()
        ring.add(client)
        client.completed = { token, result in
            let slot = Int(token) % slots
            guard let (block, expected) = pending.removeValue(forKey: slot) else { return }
            #expect(result == Int32(size), "seed \(seed)")
            #expect(region.memory(from: slot * 4096, count: size).bytes.allSatisfy { $0 == expected }, "seed \(seed)")
            busy.remove(block)
            free.append(slot)
        }
        func startOne() {
            let block = Int.random(in: 0..<blocks, using: &generator)
            guard !busy.contains(block), let slot = free.popLast() else { return }
            let memory = region.memory(from: slot * 4096, count: size), offset = Int64(block * size)
            let token = UInt64(started * slots + slot), isWrite = Bool.random(using: &generator)
            let value = isWrite ? UInt8.random(in: .min ... .max, using: &generator) : shadow[block]
            memory.fill(isWrite ? value : ~value)
            pending[slot] = (block, value)
            busy.insert(block)
            shadow[block] = value
            started += 1
            #expect(
                isWrite
                    ? ring.write(file, at: offset, from: memory, token: token, for: client)
                    : ring.read(file, at: offset, into: memory, token: token, for: client))
        }
        bench.run(until: {
            for _ in 0..<Int.random(in: 0...8, using: &generator) where started < 5000 { startOne() }
            return started == 5000 && pending.isEmpty
        })
        #expect(try scratch.read(at: 0, count: blocks * size).enumerated().allSatisfy { $1 == shadow[$0 / size] })
        ring.unregister(file)
        ring.remove(client)
    }

    @Test(arguments: RingKind.allCases)
    func `waits for a descriptor, and a cancelled wait says so`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), ring = bench.ring, client = Collector()
        let ends = try FileDescriptor.pipe()
        defer {
            try? ends.readEnd.close()
            try? ends.writeEnd.close()
        }
        ring.add(client)
        #expect(ring.poll(RingFile(ends.readEnd), events: 1, token: 1, for: client))
        #expect(ring.poll(RingFile(ends.readEnd), events: 1, token: 2, for: client))
        for _ in 0..<3 { _ = ring.turn() }
        #expect(client.results.isEmpty)
        #expect(ring.cancel(token: 1, for: client))
        bench.run(until: { client.results.count == 1 && ring.outstanding == 1 })
        #expect(client.results == [1: -Errno.canceled.rawValue])
        _ = try ends.writeEnd.writeAll([1])
        bench.run(until: { client.results.count == 2 })
        #expect(client.results[2] == 1)
        ring.remove(client)
    }

    @Test(arguments: RingKind.allCases)
    func `cancelling what has ended harms nothing`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), client = Collector()
        bench.ring.add(client)
        #expect(bench.ring.nop(token: 5, for: client))
        bench.run(until: { client.results == [5: 0] })
        #expect(bench.ring.cancel(token: 5, for: client))
        bench.run(until: { bench.ring.outstanding == 0 })
        #expect(client.results == [5: 0])
        bench.ring.remove(client)
    }

    @Test(arguments: RingKind.allCases)
    func `a client may start operations and leave from inside a completion`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), ring = bench.ring
        var left = 20, client: Collector? = Collector()
        weak let gone = client
        ring.add(client!)
        client!.completed = { token, _ in
            left -= 1
            if left > 0 {
                #expect(ring.nop(token: token + 1, for: client!))
            } else {
                ring.remove(client!)
                client = nil
            }
        }
        #expect(ring.nop(token: 0, for: client!))
        bench.run(until: { left == 0 })
        #expect(gone == nil)
    }

    @Test(arguments: RingKind.allCases)
    func `closing delivers what is outstanding and refuses the rest`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), ring = bench.ring, client = Collector()
        ring.add(client)
        for token in 0..<100 { #expect(ring.nop(token: UInt64(token), for: client)) }
        #expect(ring.close() == 0)
        #expect(client.results.count == 100)
        #expect(!ring.nop(token: 100, for: client))
        ring.remove(client)
    }
}
