import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Namespaces that come, go and grow")
struct NamespaceChangeTests {
    private static let latency = Duration.microseconds(20)...Duration.microseconds(400)

    @Test func `a namespace that comes has a bdev, and the others go on`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            await fleet.softs[0].setLatency(Self.latency)
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.softs[0].addNamespace(7, SoftNamespaceOptions(blockCount: 512))
            try await fleet.wait("the bdev", on: local) {
                await fleet.engine.list().map(\.name).sorted() == ["Nvme0n1", "Nvme0n7"]
            }
            #expect(try await fleet.engine.info("Nvme0n7").geometry.blockCount == 512)
            await fleet.softs[0].removeNamespace(7)
            try await fleet.wait("its end", on: local) { await fleet.engine.list().map(\.name) == ["Nvme0n1"] }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    @Test(arguments: [1, 2])
    func `a namespace that goes during I/O tells whoever has it open, and what is under way ends`(count: Int) throws {
        try simulateFleet(count: count, reactorCount: 2) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let events = descriptor.events
            let listener = Task(executorPreference: local.reactor.taskExecutor) {
                for await event in events where event == .removed { return true }
                return false
            }
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 300 }
            await fleet.softs[0].removeNamespace(1)
            if count > 1 {
                // The other path has it still.
                let before = load.operationCount
                try await fleet.wait("load on the other path", on: local) { load.operationCount > before + 300 }
                #expect(load.failures == [], "seed \(fleet.seed)")
                await fleet.softs[1].removeNamespace(1)
            }
            try await fleet.wait("all failed", on: local) { load.failures.count == 12 }
            _ = await load.finish()
            #expect(await listener.value)
            await descriptor.close()
            try await fleet.wait("the end", on: local) { await fleet.engine.list().isEmpty }
            #expect(try await fleet.module.controllers().count == count, "the controllers stay")
            // One of the same number is another bdev.
            try await fleet.softs[0].addNamespace(1, SoftNamespaceOptions(blockCount: 99))
            try await fleet.wait("the new one", on: local) { await fleet.engine.list().map(\.name) == ["Nvme0n1"] }
            #expect(try await fleet.engine.info("Nvme0n1").geometry.blockCount == 99)
        }
    }

    @Test func `a namespace that grows during I/O is told of once, and keeps what is on it`() throws {
        try simulateFleet(reactorCount: 2) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let events = descriptor.events
            let listener = Task(executorPreference: local.reactor.taskExecutor) {
                var heard: [BdevEvent] = []
                for await event in events { heard.append(event) }
                return heard
            }
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            for (index, blockCount) in [10_000, 20_000].enumerated() {
                let before = load.operationCount
                try await fleet.wait("load", on: local) { load.operationCount > before + 200 }
                try await fleet.softs[index].resizeNamespace(1, blockCount: UInt64(blockCount))
                await fleet.softs[1 - index].follow(fleet.softs[index], namespace: 1)
                try await fleet.wait("the size", on: local) { descriptor.blockCount == blockCount }
            }
            let before = load.operationCount
            try await fleet.wait("load", on: local) { load.operationCount > before + 200 }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            try await descriptor.withChannel(on: local.reactor) { channel in
                var buffer = try channel.allocateBuffer(byteCount: 512)
                try await channel.read(at: .block(19_999), into: &buffer)
            }
            await descriptor.close()
            #expect(await listener.value == [.resized(blockCount: 10_000), .resized(blockCount: 20_000)])
        }
    }

    @Test func `a namespace that shrinks keeps its bdev's size while somebody has that open`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            try await fleet.softs[0].resizeNamespace(1, blockCount: 100)
            try await fleet.sleep(.seconds(1), on: local)
            #expect(descriptor.blockCount == 8192)
            let error = await #expect(throws: BdevError.self) {
                try await descriptor.withChannel(on: reactor) { channel in
                    var buffer = try channel.allocateBuffer(byteCount: 512)
                    try await channel.read(at: .block(100), into: &buffer)
                }
            }
            #expect(error?.status?.detail == 0x80)
            await descriptor.close()
        }
    }

    @Test func `another format makes another bdev`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            var other = SoftNamespaceOptions(blockCount: 1024)
            other.dataByteCount = 4096
            try await fleet.softs[0].addNamespace(1, other)
            try await fleet.wait("the new format", on: local) {
                (try? await fleet.engine.info("Nvme0n1"))?.geometry.blockByteCount == 4096
            }
        }
    }
}

@Suite("What a bdev of a namespace does")
struct NamespaceOperationTests {
    @Test(arguments: [8, 16], [false, true])
    func `blocks with metadata pass the conformance suite`(metadataByteCount: Int, isInterleaved: Bool) throws {
        let change: SoftChange = { soft, _ in
            soft.namespaces[0].metadataByteCount = metadataByteCount
            soft.namespaces[0].isMetadataInterleaved = isInterleaved
        }
        try simulateFleet(count: 1, change: change) { local, fleet in
            try await fleet.attachAll()
            let geometry = try await fleet.engine.info("Nvme0n1").geometry
            #expect(geometry.metadataByteCount == metadataByteCount)
            #expect(geometry.isMetadataInterleaved == isInterleaved)
            #expect(geometry.blockByteCount == 512 + (isInterleaved ? metadataByteCount : 0))
            var suite = ConformanceSuite.Options()
            suite.seed = fleet.seed
            try await ConformanceSuite(engine: fleet.engine, bdev: "Nvme0n1", options: suite).run()
        }
    }

    @Test func `commands are handed on, to this namespace only`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await descriptor.withChannel(on: local.reactor) { channel in
                var none: IOBuffer? = nil, data: IOBuffer? = try channel.allocateBuffer(byteCount: 4096)
                // Identify, of the controller.
                var identify = NVMeCommand(opcode: AdminOpcode.identify)
                identify.words[10] = 1
                _ = try await channel.perform(identify, on: .admin, data: &data, metadata: &none)
                let vendor: UInt16 = data!.load(at: 0)
                #expect(vendor == 0x1B36)
                // Number of queues: an answer in the completion.
                var feature = NVMeCommand(opcode: AdminOpcode.getFeatures)
                feature.words[10] = 7
                var nothing: IOBuffer? = nil
                let queues = try await channel.perform(feature, on: .admin, data: &nothing, metadata: &none)
                #expect(queues == 0xF_000F)
                // What was written by a write is read by a command, whatever namespace it names.
                var written = try channel.allocateBuffer(byteCount: 512)
                written.fill(with: 0x5A)
                try await channel.write(from: written, at: .block(9))
                var read = NVMeCommand(opcode: IOOpcode.read, namespace: 77)
                read.words[10] = 9
                var block: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                _ = try await channel.perform(read, on: .io, data: &block, metadata: &none)
                let isSame = block!.contentEquals(written)
                #expect(isSame)
                // What fails says how.
                read.words[10] = 100_000
                do {
                    _ = try await channel.perform(read, on: .io, data: &block, metadata: &none)
                    Issue.record("blocks beyond the end were read")
                } catch let error as BdevError { #expect(error.status?.detail == 0x80) }
            }
            await descriptor.close()
        }
    }

    @Test func `commands that would pull the ground from under the driver are refused`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await descriptor.withChannel(on: local.reactor) { channel in
                var none: IOBuffer? = nil, other: IOBuffer? = nil
                let opcodes: [UInt8] = [0x00, 0x01, 0x04, 0x05, 0x08, 0x0C, 0x18, 0x7C]
                for opcode in opcodes {
                    do {
                        let command = NVMeCommand(opcode: opcode)
                        _ = try await channel.perform(command, on: .admin, data: &none, metadata: &other)
                        Issue.record("command \(opcode) was let through")
                    } catch let error as BdevError { #expect(error.code == .notSupported) }
                }
                // One that says itself where its data is.
                var own = NVMeCommand(opcode: IOOpcode.read)
                own.words[0] |= 0x4000
                do {
                    _ = try await channel.perform(own, on: .io, data: &none, metadata: &other)
                    Issue.record("a command with pointers of its own was let through")
                } catch let error as BdevError { #expect(error.code == .deviceFailed) }
            }
            await descriptor.close()
        }
    }

    @Test(arguments: [false, true])
    func `says truthfully whether a flush does something, and flushes then`(hasCache: Bool) throws {
        let change: SoftChange = { soft, _ in soft.hasVolatileWriteCache = hasCache }
        try simulateFleet(count: 1, change: change) { local, fleet in
            try await fleet.attachAll()
            #expect(try await fleet.engine.info("Nvme0n1").geometry.hasWriteCache == hasCache)
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            await fleet.softs[0].fail(IOOpcode.flush, count: 1, with: NVMeStatus(type: 2, code: 0x80, doNotRetry: true))
            var reached = false
            do {
                try await descriptor.withChannel(on: reactor) { channel in try await channel.flush() }
            } catch { reached = true }
            #expect(reached == hasCache)
            await descriptor.close()
        }
    }

    @Test func `what is given up ends, also while there is no path`() throws {
        try simulateFleet(count: 1, reportsAccess: true) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            await fleet.softs[0].setAccess(.inaccessible)
            let reader = Task(executorPreference: reactor.taskExecutor) { try await read(descriptor, reactor) }
            try await fleet.sleep(.milliseconds(500), on: local)
            let start = local.now
            reader.cancel()
            let error = await #expect(throws: BdevError.self) { try await reader.value }
            #expect(error?.code == .aborted)
            #expect(start.duration(to: local.now) < .milliseconds(100))
            await descriptor.close()
        }
    }
}
