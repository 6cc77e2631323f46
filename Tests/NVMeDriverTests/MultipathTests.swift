import Bdev
import BdevConformance
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("A bdev with several paths")
struct MultipathTests {
    private static let latency = Duration.microseconds(20)...Duration.microseconds(400)

    @Test(arguments: [NVMeModule.PathPolicy.activePassive, .roundRobin(count: 3), .queueDepth])
    func `passes the conformance suite`(policy: NVMeModule.PathPolicy) throws {
        var options = NVMeModule.Options()
        options.pathPolicy = policy
        try simulateFleet(reactorCount: 2, module: options) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(.zero ... .microseconds(50)) }
            var suite = ConformanceSuite.Options()
            suite.seed = fleet.seed
            suite.zeroesUnmappedBlocks = true
            try await ConformanceSuite(engine: fleet.engine, bdev: "Nvme0n1", options: suite).run()
        }
    }

    @Test(arguments: [NVMeModule.PathPolicy.activePassive, .roundRobin(count: 1), .queueDepth], [1, 2])
    func `loses no I/O and no data when a controller is pulled out under load`(
        policy: NVMeModule.PathPolicy, reactorCount: Int
    ) throws {
        var options = NVMeModule.Options()
        options.pathPolicy = policy
        try simulateFleet(reactorCount: reactorCount, module: options) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 500 }
            await fleet.softs[0].pullOut()
            try await fleet.wait("the path is gone", on: local) { try await fleet.module.controllers().count == 1 }
            let before = load.operationCount
            try await fleet.wait("more load", on: local) { load.operationCount > before + 500 }
            #expect(try await fleet.currentController() == 2)
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    @Test func `goes on through resets of its only controller, whoever asks for them`() throws {
        try simulateFleet(count: 1, reactorCount: 2) { local, fleet in
            try await fleet.attachAll()
            await fleet.softs[0].setLatency(Self.latency)
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 300 }
            try await fleet.module.reset("Nvme0")
            var before = load.operationCount
            try await fleet.wait("load after a reset", on: local) { load.operationCount > before + 300 }
            await fleet.softs[0].breakDown()
            before = load.operationCount
            try await fleet.wait("load after a break-down", on: local) { load.operationCount > before + 300 }
            await fleet.softs[0].misbehave(.completesUnknownCommand)
            before = load.operationCount
            try await fleet.wait("load after a violation", on: local) { load.operationCount > before + 300 }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    @Test func `loses nothing when commands never end, and the controller is reset for it`() throws {
        var options = NVMeModule.Options()
        options.commandTimeout = .milliseconds(100)
        options.timeoutAction = .reset
        try simulateFleet(module: options) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 300 }
            await fleet.softs[0].lose(IOOpcode.read, count: 3)
            await fleet.softs[0].lose(IOOpcode.write, count: 3)
            let before = load.operationCount
            try await fleet.sleep(.milliseconds(400), on: local)
            try await fleet.wait("more load", on: local) { load.operationCount > before + 300 }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    // MARK: Asymmetric access

    @Test(arguments: [false, true], [SoftController.Access.inaccessible, .change, .persistentLoss])
    func `goes where the namespace can be reached, told of it or not`(
        isQuiet: Bool, access: SoftController.Access
    ) throws {
        try simulateFleet(reactorCount: 2, reportsAccess: true) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            try await fleet.wait("load", on: local) { load.operationCount > 200 }
            #expect(try await fleet.currentController() == 1)
            await fleet.softs[0].setAccess(access, isQuiet: isQuiet)
            try await fleet.wait("the other path", on: local) { try await fleet.currentController() == 2 }
            let accessible = try await fleet.module.paths().filter { $0.controllerID == 1 }.map(\.isAccessible)
            #expect(accessible == [false, false])
            await fleet.softs[0].setAccess(.optimized)
            await fleet.softs[1].setAccess(access, isQuiet: isQuiet)
            try await fleet.wait("the first path again", on: local) { try await fleet.currentController() == 1 }
            let before = load.operationCount
            try await fleet.wait("more load", on: local) { load.operationCount > before + 200 }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    @Test func `prefers an optimized path, and takes another where there is none`() throws {
        try simulateFleet(reportsAccess: true) { local, fleet in
            await fleet.softs[0].setAccess(.nonOptimized)
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let channel = try await descriptor.channel(on: local.reactor)
            try await fleet.wait("the optimized one", on: local) { try await fleet.currentController() == 2 }
            await fleet.softs[1].setAccess(.inaccessible)
            try await fleet.wait("the other", on: local) { try await fleet.currentController() == 1 }
            await channel.close()
            await descriptor.close()
        }
    }

    @Test func `keeps I/O while a transition lasts, and fails it when it lasts longer than the controller says`() throws
    {
        let change: SoftChange = { soft, _ in soft.subsystem.transitionTime = 4 }
        try simulateFleet(count: 1, reportsAccess: true, change: change) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            await fleet.softs[0].setAccess(.change)
            let start = local.now
            let within = Task(executorPreference: local.reactor.taskExecutor) {
                try await read(descriptor, local.reactor)
            }
            try await fleet.sleep(.seconds(2), on: local)
            await fleet.softs[0].setAccess(.optimized)
            try await within.value
            #expect(start.duration(to: local.now) < .seconds(3))
            await fleet.softs[0].setAccess(.change)
            let again = local.now
            let reactor = local.reactor
            #expect(try await fleet.failure(on: local) { try await read(descriptor, reactor) } != nil)
            #expect((Duration.seconds(3)...Duration.seconds(6)).contains(again.duration(to: local.now)))
            await descriptor.close()
        }
    }

    // MARK: Which path

    @Test func `takes turns, or the path that is preferred, as it is told`() throws {
        var options = NVMeModule.Options()
        options.countsPathIO = true
        try simulateFleet(module: options) { local, fleet in
            try await fleet.attachAll()
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            func counts(_ reads: Int) async throws -> [UInt64] {
                let before = try await fleet.module.paths().sorted { $0.controllerID < $1.controllerID }
                for _ in 0..<reads { try await read(descriptor, local.reactor) }
                let after = try await fleet.module.paths().sorted { $0.controllerID < $1.controllerID }
                return zip(before, after).map { $1.readCount - $0.readCount }
            }
            let channel = try await descriptor.channel(on: local.reactor)
            #expect(try await counts(10) == [10, 0])
            try await fleet.module.setPreferredPath(of: "Nvme0n1", controllerID: 2)
            #expect(try await counts(10) == [0, 10])
            try await fleet.module.setPolicy(.roundRobin(count: 1), of: "Nvme0n1")
            #expect(try await counts(10) == [5, 5])
            try await fleet.module.setPolicy(.roundRobin(count: 4), of: "Nvme0n1")
            #expect(try await counts(16) == [8, 8])
            try await fleet.module.setPolicy(.activePassive, of: "Nvme0n1")
            #expect(try await counts(10) == [0, 10])
            #expect(try await fleet.module.paths().map(\.readByteCount).reduce(0, +) == 56 * 512)
            await #expect(throws: BdevError.self) {
                try await fleet.module.setPreferredPath(of: "Nvme0n1", controllerID: 7)
            }
            await channel.close()
            await descriptor.close()
        }
    }

    @Test func `one path is detached and attached again under load without an error`() throws {
        try simulateFleet(reactorCount: 2) { local, fleet in
            try await fleet.attachAll()
            for soft in fleet.softs { await soft.setLatency(Self.latency) }
            let descriptor = try await fleet.engine.open("Nvme0n1", mode: .readWrite)
            let load = ShadowLoad(on: descriptor, reactors: fleet.engine.reactors, seed: fleet.seed)
            for index in [0, 1, 0] {
                var before = load.operationCount
                try await fleet.wait("load", on: local) { load.operationCount > before + 200 }
                try await fleet.module.detach("Nvme0", at: "soft\(index)")
                #expect(try await fleet.module.controllers().map(\.address) == ["soft\(1 - index)"])
                before = load.operationCount
                try await fleet.wait("load on one path", on: local) { load.operationCount > before + 200 }
                #expect(try await fleet.attach(index) == ["Nvme0n1"])
            }
            #expect(await load.finish() == [], "seed \(fleet.seed)")
            await descriptor.close()
        }
    }

    // MARK: What is no path

    @Test func `is only made of controllers that show the same namespace of the same subsystem`() throws {
        let change: SoftChange = { soft, index in
            if index == 1 { soft.subsystem.name = "nqn.2014-08.org.nvmexpress:another" }
            if index == 2 { soft.subsystem.controllerID = 1 }
        }
        try simulateFleet(count: 4, change: change) { local, fleet in
            let names = try await fleet.attach(0)
            #expect(names == ["Nvme0n1"])
            for index in 1...2 {
                let error = await #expect(throws: BdevError.self) { try await fleet.attach(index) }
                #expect(error?.code == .invalidArgument)
            }
            var alone = NVMeModule.AttachOptions()
            alone.allowsMultipath = false
            let error = await #expect(throws: BdevError.self) { try await fleet.attach(3, options: alone) }
            #expect(error?.code == .nameInUse)
            let count = try await fleet.module.controllers().count
            #expect(count == 1)
            // What was refused has been given back, and can be used elsewhere.
            let again = try await fleet.attach(3)
            #expect(again == ["Nvme0n1"])
        }
    }

    @Test func `is not made of namespaces that only have the same number`() throws {
        try simulateFleet { local, fleet in
            await fleet.softs[1].removeNamespace(1)
            try await fleet.softs[1].addNamespace(1, other)
            let names = try await fleet.attach(0)
            #expect(names == ["Nvme0n1"])
            let error = await #expect(throws: BdevError.self) { try await fleet.attach(1) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.description.contains("not known to be the same") == true)
            #expect(await fleet.engine.list().map(\.name) == ["Nvme0n1"])
        }
    }
}

private let other: SoftNamespaceOptions = {
    var options = SoftNamespaceOptions(blockCount: 8192)
    options.uuid = Array(repeating: 9, count: 16)
    options.isShared = true
    return options
}()

/// Reads the first block.
func read(_ descriptor: BdevDescriptor, _ reactor: Reactor) async throws {
    try await descriptor.withChannel(on: reactor) { channel in
        var buffer = try channel.allocateBuffer(byteCount: 512)
        try await channel.read(at: .block(0), into: &buffer)
    }
}
