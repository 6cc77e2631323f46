import Bdev
import Logging
import Reactors
import SimulatedReactors
import Testing

/// Modules that refuse a channel, take long over one, or never make it.
struct SlowModuleTests {
    @Test func `what a module throws for a channel is the caller's, and the next call may have one`() throws {
        try simulate(reactorCount: 2) { here, scene in
            let descriptor = try await scene.engine.open("disk", mode: .readWrite)
            scene.device.makeFailure = BdevError(.deviceFailed, bdev: "disk", "no queue pair is free")
            for reactor in scene.reactors {
                let error = await failure { () throws(BdevError) in _ = try await descriptor.channel(on: reactor) }
                #expect(error?.code == .deviceFailed)
                #expect(error?.message.contains("no queue pair is free") == true)
            }
            scene.device.makeFailure = nil
            for reactor in scene.reactors {
                let channel = try await descriptor.channel(on: reactor)
                #expect(await channel.readOnce(at: 0) == nil)
            }
            #expect(scene.device.channelsMade == 2)
            // It fails while the descriptor is being closed, too.
            scene.device.makeFailure = BdevError(.deviceFailed, bdev: "disk", "no queue pair is free")
            let other = try await scene.engine.open("disk")
            let late = Task(executorPreference: scene.reactors[1].taskExecutor) {
                await code { () throws(BdevError) in _ = try await other.channel(on: scene.reactors[1]) }
            }
            await other.close()
            #expect([BdevError.Code.closed, nil].contains(await late.value))
            await descriptor.close()
        }
    }

    @Test func `a channel that a module never makes keeps its bdev, and the log names the module`() throws {
        let lines = Shared<[String]>([]), driver = StuckDriver()
        try simulateLogged(lines) { here, engine, host in
            try await host.register(.stuck, driver: driver)
            let descriptor = try await engine.open("stuck")
            let opening = here.task {
                await code { () throws(BdevError) in _ = try await descriptor.channel(on: here.reactor) }
            }
            await here.settle()
            let removal = here.task { await code { () throws(BdevError) in try await engine.remove("stuck") } }
            await here.settle()
            let close = here.task { await descriptor.close() }
            await here.settle(.seconds(9))
            #expect(lines.value == [])
            await here.settle(.seconds(2))
            #expect(
                lines.value == [
                    "bdev 'stuck' of module 'test' is still being removed after 10.0 seconds: 1 descriptors are open, "
                        + "the module has not made 1 channels that are asked of it, 0 requests are not complete"
                ])
            // What the driver has may be what the channel is made of.
            #expect(driver.log.value == [])
            driver.makes.value = true
            #expect(await opening.value == .closed)
            await close.value
            #expect(await removal.value == nil)
            #expect(driver.log.value == ["made", "closed", "destroyed"])
        }
    }

    @Test func `a channel that takes long to close says once what it waits for`() throws {
        let lines = Shared<[String]>([]), device = TestDevice(.test, types: .everything)
        device.pace = .held
        try simulateLogged(lines) { here, engine, host in
            try await host.register(
                BdevProperties(name: "disk", productName: "disk", geometry: .test, supportedTypes: [.read]),
                driver: device)
            let descriptor = try await engine.open("disk"), other = try await engine.open("disk")
            let channel = try await descriptor.channel(on: here.reactor)
            let own = try await other.channel(on: here.reactor)
            let reads = [here.task { await channel.readOnce(at: 7) }, here.task { await own.readOnce(at: 8) }]
            await here.settle()
            let close = here.task { await descriptor.close() }
            await here.settle(.seconds(9))
            #expect(lines.value == [])
            await here.settle(.seconds(60))
            #expect(lines.value.count == 1)
            let line = lines.value.first ?? ""
            // Another descriptor's request is nothing to it.
            #expect(
                line.hasPrefix(
                    "a channel of bdev 'disk' on simulated_0 is still being closed after 10.0 seconds: 1 requests are "
                        + "not complete; read of 1 blocks at block 7 of 'disk' on simulated_0: module 'test' has "
                        + "kept it"
                ),
                "\(line)")
            device.completeAll()
            await close.value
            for read in reads { #expect(await read.value == nil) }
            await other.close()
            await here.settle(.seconds(60))
            #expect(lines.value.count == 1)
        }
    }

    @Test func `a module that takes long to close its channel is named`() throws {
        let lines = Shared<[String]>([]), driver = StuckDriver()
        driver.makes.value = true
        driver.closes.value = false
        try simulateLogged(lines) { here, engine, host in
            try await host.register(.stuck, driver: driver)
            let descriptor = try await engine.open("stuck")
            _ = try await descriptor.channel(on: here.reactor)
            let close = here.task { await descriptor.close() }
            await here.settle(.seconds(11))
            #expect(
                lines.value == [
                    "a channel of bdev 'stuck' on simulated_0 is still being closed after 10.0 seconds: module 'test' "
                        + "closes its own"
                ])
            driver.closes.value = true
            await close.value
        }
    }

    private func simulateLogged(
        _ lines: Shared<[String]>,
        _ body: @escaping @Sendable (isolated LocalReactor, BdevEngine, BdevModuleHost) async throws -> Void
    ) throws {
        let simulation = Simulation(seed: 1)
        try simulation.run { here in
            let logger = Logger(label: "test") { _ in LineHandler(lines: lines) }
            let engine = BdevEngine(reactors: simulation.reactors, logger: logger), module = TestModule()
            try await engine.register(module)
            try await body(here, engine, module.host.value)
            await engine.stop()
        }
        #expect(simulation.parkedTaskCount == 0)
    }
}

extension BdevProperties {
    fileprivate static var stuck: BdevProperties {
        BdevProperties(name: "stuck", productName: "stuck", geometry: .test, supportedTypes: [.read])
    }
}

/// Makes and closes channels when the test lets it.
private final class StuckDriver: BdevDriver {
    let makes = Shared(false)
    let closes = Shared(true)
    let log = Shared<[String]>([])

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        while !makes.value { await local.settle(.milliseconds(100)) }
        log.value.append("made")
        return StuckChannel(self, local.reactor)
    }

    func destroy() async { log.value.append("destroyed") }
}

private final class StuckChannel: BdevModuleChannel {
    private let driver: StuckDriver
    private let reactor: Reactor

    init(_ driver: StuckDriver, _ reactor: Reactor) {
        self.driver = driver
        self.reactor = reactor
    }

    override func submit(_ request: consuming IORequest) { request.complete() }

    override func close() async {
        while !driver.closes.value { await reactor.local.settle(.milliseconds(100)) }
        driver.log.value.append("closed")
    }
}
