import Bdev
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A controller that is lost")
struct ReconnectTests {
    private static func recovery(
        loss: Duration?, delay: Duration = .seconds(1), fastFail: Duration = .zero
    ) -> NVMeModule.AttachOptions {
        var options = NVMeModule.AttachOptions()
        options.recovery = .init()
        options.recovery!.lossTimeout = loss
        options.recovery!.reconnectDelay = delay
        options.recovery!.fastFailTimeout = fastFail
        return options
    }

    @Test(arguments: [1, 2])
    func `comes back within the loss timeout, and no I/O fails`(count: Int) throws {
        try simulateFleet(count: count, reactorCount: 2) { local, fleet in
            try await fleet.attachAll(options: Self.recovery(loss: .seconds(20), delay: .seconds(2)))
            for soft in fleet.softs { await soft.setLatency(.microseconds(20)...Duration.microseconds(300)) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 300 }
            for soft in fleet.softs { await soft.pullOut() }
            try await fleet.sleep(.seconds(8), on: local)
            #expect(try await Set(fleet.module.controllers().map(\.state)) == ["reconnect_is_delayed"])
            let before = load.operationCount
            try await fleet.sleep(.seconds(1), on: local)
            #expect(load.operationCount == before, "everything waits")
            await fleet.softs[0].plugIn()
            try await fleet.wait("load again", on: local) { load.operationCount > before + 300 }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            #expect(try await fleet.module.controllers().map(\.state).contains("enabled"))
            await descriptor.close()
        }
    }

    @Test func `is given up after the loss timeout: what waits fails, and the bdev goes`() throws {
        try simulateFleet { local, fleet in
            try await fleet.attachAll(options: Self.recovery(loss: .seconds(10), delay: .seconds(3)))
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let events = descriptor.events, reactor = local.reactor
            let listener = Task(executorPreference: reactor.taskExecutor) {
                for await event in events where event == .removed { return true }
                return false
            }
            let start = local.now
            for soft in fleet.softs { await soft.pullOut() }
            try await fleet.sleep(.seconds(1), on: local)
            #expect(try await fleet.failure(on: local) { try await read(descriptor, reactor) } != nil)
            #expect((Duration.seconds(9)...Duration.seconds(12)).contains(start.duration(to: local.now)))
            #expect(await listener.value)
            await descriptor.close()
            try await fleet.wait("the end", on: local) { try await fleet.module.controllers().isEmpty }
            // Which ends with its last bdev.
            try await fleet.wait("the last bdev", on: local) { await fleet.engine.list().isEmpty }
            for soft in fleet.softs { await soft.plugIn() }
            try await fleet.attachAll()
        }
    }

    @Test func `fails I/O after the fast-fail timeout, and serves it when it is back`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll(
                options: Self.recovery(loss: nil, delay: .seconds(1), fastFail: .seconds(4)))
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let start = local.now, reactor = local.reactor
            await fleet.softs[0].pullOut()
            try await fleet.sleep(.seconds(1), on: local)
            #expect(try await fleet.failure(on: local) { try await read(descriptor, reactor) } != nil)
            #expect((Duration.seconds(4)...Duration.seconds(5)).contains(start.duration(to: local.now)))
            let again = local.now
            await #expect(throws: BdevError.self) { try await read(descriptor, local.reactor) }
            #expect(again.duration(to: local.now) < .milliseconds(100), "at once")
            await fleet.softs[0].plugIn()
            try await fleet.sleep(.seconds(3), on: local)
            try await read(descriptor, local.reactor)
            await descriptor.close()
        }
    }

    @Test func `without reconnection fails what is under way, and goes with its bdev`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            await fleet.softs[0].setLatency(.seconds(1)...Duration.seconds(2))
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            let soft = fleet.softs[0]
            let failure = try await fleet.failure(on: local) {
                let pull = Task(executorPreference: reactor.taskExecutor) { await soft.pullOut() }
                try await read(descriptor, reactor)
                await pull.value
            }
            #expect(failure != nil)
            await descriptor.close()
            try await fleet.wait("the end", on: local) { await fleet.engine.list().isEmpty }
        }
    }

    @Test func `is brought back by a reset that somebody asks for`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll(options: Self.recovery(loss: .seconds(600), delay: .seconds(500)))
            await fleet.softs[0].pullOut()
            try await fleet.wait("the loss", on: local) {
                try await fleet.module.controllers().map(\.state) == ["reconnect_is_delayed"]
            }
            await #expect(throws: BdevError.self) { try await fleet.module.reset("Nvme0") }
            await fleet.softs[0].plugIn()
            try await fleet.module.reset("Nvme0")
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            try await read(descriptor, local.reactor)
            await descriptor.close()
        }
    }

    @Test(arguments: [1, 2])
    func `a reset of the bdev ends what is under way, and waits for nothing`(count: Int) throws {
        try simulateFleet(count: count) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(.seconds(50)...Duration.seconds(60)) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), reactor = local.reactor
            let reader = Task(executorPreference: reactor.taskExecutor) { try await read(descriptor, reactor) }
            try await local.sleep(for: .milliseconds(10))
            let start = local.now
            try await descriptor.withChannel(on: reactor) { channel in try await channel.reset() }
            let error = await #expect(throws: BdevError.self) { try await reader.value }
            #expect(error?.code == .aborted)
            #expect(start.duration(to: local.now) < .seconds(1))
            for soft in fleet.softs { await soft.setLatency(.zero ... .zero) }
            try await read(descriptor, reactor)
            await descriptor.close()
        }
    }

    // MARK: Retries

    @Test func `an I/O that the device fails is tried again as often as is allowed`() throws {
        try simulateFleet(count: 1) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite), soft = fleet.softs[0]
            await soft.fail(IOOpcode.read, count: 3, with: .unrecoveredReadError)
            try await read(descriptor, local.reactor)
            await soft.fail(IOOpcode.read, count: 4, with: .unrecoveredReadError)
            let error = await #expect(throws: BdevError.self) { try await read(descriptor, local.reactor) }
            #expect(error?.status?.detail == 0x281)
            // What would fail again is not tried again.
            await soft.fail(IOOpcode.read, count: 1, with: NVMeStatus(type: 2, code: 0x81, doNotRetry: true))
            await #expect(throws: BdevError.self) { try await read(descriptor, local.reactor) }
            try await read(descriptor, local.reactor)
            // A path that fails, and is the only one, is no loop without end.
            await soft.fail(IOOpcode.read, count: 1000, with: NVMeStatus(type: 3, code: 0x60))
            let last = await #expect(throws: BdevError.self) { try await read(descriptor, local.reactor) }
            #expect(last?.status?.detail == 0x360)
            await descriptor.close()
        }
    }

    @Test func `an I/O that one path fails goes another way at once`() throws {
        try simulateFleet { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            await fleet.softs[0].fail(IOOpcode.read, count: 1, with: NVMeStatus(type: 3, code: 0x60))
            let start = local.now
            try await read(descriptor, local.reactor)
            #expect(start.duration(to: local.now) < .milliseconds(5))
            await descriptor.close()
        }
    }

    @Test func `times that do not go together are refused`() throws {
        func check(_ loss: Duration?, _ delay: Int, _ fastFail: Int) -> Bool {
            var recovery = NVMeModule.Recovery()
            recovery.lossTimeout = loss
            recovery.reconnectDelay = .seconds(delay)
            recovery.fastFailTimeout = .seconds(fastFail)
            do { try recovery.validate() } catch { return error.code != .invalidArgument }
            return true
        }
        #expect(check(.zero, 0, 0))
        #expect(check(nil, 1, 0))
        #expect(check(nil, 10, 10))
        #expect(check(.seconds(10), 10, 0))
        #expect(check(.seconds(10), 2, 10))
        #expect(!check(.seconds(-2), 1, 0))
        #expect(!check(.zero, 1, 0))
        #expect(!check(.zero, 0, 1))
        #expect(!check(.seconds(10), 0, 0))
        #expect(!check(nil, 0, 0))
        #expect(!check(.seconds(10), 11, 0))
        #expect(!check(.seconds(10), 3, 2))
        #expect(!check(.seconds(10), 3, 11))
    }
}
