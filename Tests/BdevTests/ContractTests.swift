import Bdev
import Logging
import Reactors
import SimulatedReactors
import Testing

/// Modules that do what they must not, or take their time where others come and go.
struct ContractTests {
    @Test func `a request that a module keeps for ever is named when its bdev cannot be removed`() throws {
        let lines = Shared<[String]>([])
        let simulation = Simulation(seed: 1)
        let device = TestDevice(.test, types: .everything)
        device.pace = .held
        try simulation.run { here in
            let logger = Logger(label: "test") { _ in LineHandler(lines: lines) }
            let engine = BdevEngine(reactors: simulation.reactors, logger: logger), module = TestModule()
            try await engine.register(module)
            try await module.create("disk", device)
            let descriptor = try await engine.open("disk", mode: .readWrite)
            let channel = try await descriptor.channel(on: here.reactor)
            let read = here.task { await channel.readOnce(at: 7) }
            await here.settle()
            let stop = here.task { await engine.stop() }
            await here.settle(.seconds(9))
            #expect(lines.value == [])
            await here.settle(.seconds(2))
            let line = lines.value.first ?? ""
            #expect(line.contains("bdev 'disk' of module 'test' is still being removed after 10.0 seconds"))
            #expect(line.contains("1 descriptors are open, 1 requests are not complete"))
            #expect(line.contains("read of 1 blocks at block 7 of 'disk'"))
            #expect(line.contains("module 'test' has kept it for 10.0"), "\(line)")
            device.complete()
            _ = await read.value
            await descriptor.close()
            await stop.value
            // Once is enough, and a removal that is over says nothing.
            await here.settle(.seconds(60))
            #expect(lines.value.count == 1)
        }
    }

    @Test func `a token of another module's request stops the process with the names of the module and the bdev`()
        async throws
    {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try simulate { here, scene in
                let other = TestDevice(.test, types: .everything), thief = ThievingModule()
                other.pace = .held
                try await scene.engine.register(thief)
                try await scene.module.create("other", other)
                try await thief.create("thief")
                let descriptor = try await scene.engine.open("other"), second = try await scene.engine.open("thief")
                let channel = try await descriptor.channel(on: here.reactor)
                let bad = try await second.channel(on: here.reactor)
                _ = here.task { await channel.readOnce(at: 0) }
                await here.settle()
                _ = await bad.readOnce(at: 0)
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module thief of 'thief': a request token is of another module's request"))
    }

    @Test func `whoever makes a second channel and is late keeps the first one open`() throws {
        try simulate { here, scene in
            let driver = SlowDriver()
            try await scene.module.host.value.register(
                BdevProperties(name: "slow", productName: "slow", geometry: .test, supportedTypes: [.read]),
                driver: driver)
            let first = try await scene.engine.open("slow"), second = try await scene.engine.open("slow")
            let reactor = here.reactor
            let early = here.task {
                guard let channel = try? await first.channel(on: reactor) else { return }
                await here.settle(.microseconds(20))
                await channel.close()
            }
            // Its own channel of the module comes later, and takes until after the first has been closed to go.
            let late = try await second.channel(on: reactor)
            await early.value
            #expect(await late.readOnce(at: 0) == nil)
            #expect(driver.closed.value == [2])
            await first.close()
            await second.close()
            #expect(driver.closed.value == [2, 1])
        }
    }
}

/// Takes 10 µs for its first channel, and 20 for each further one, and 50 to close one.
private final class SlowDriver: BdevDriver {
    let made = Shared(0)
    /// In which order.
    let closed = Shared<[Int]>([])

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        made.value += 1
        let number = made.value
        await local.settle(.microseconds(number * 10))
        return SlowChannel(number, self, local.reactor)
    }
}

private final class SlowChannel: BdevModuleChannel {
    private let number: Int
    private let driver: SlowDriver
    private let reactor: Reactor

    init(_ number: Int, _ driver: SlowDriver, _ reactor: Reactor) {
        self.number = number
        self.driver = driver
        self.reactor = reactor
    }

    override func submit(_ request: consuming IORequest) {
        request.complete(driver.closed.value.contains(number) ? .failed : .success)
    }

    override func close() async {
        driver.closed.value.append(number)
        await reactor.local.settle(.microseconds(50))
    }
}

/// Its bdev completes the first request of the reactor, whoever's it is.
private final class ThievingModule: BdevModule {
    let name = "thief"
    let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(_ name: String) async throws(BdevError) {
        try await host.value.register(
            BdevProperties(name: name, productName: "thief", geometry: .test, supportedTypes: [.read]),
            driver: ThievingDriver())
    }
}

private final class ThievingDriver: BdevDriver {
    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { ThievingChannel(requests) }
}

private final class ThievingChannel: BdevModuleChannel {
    private let requests: RequestTable

    init(_ requests: RequestTable) { self.requests = requests }

    override func submit(_ request: consuming IORequest) {
        requests.request(RequestToken(rawValue: 0)).complete()
        request.complete()
    }
}

struct LineHandler: LogHandler {
    let lines: Shared<[String]>
    var logLevel = Logger.Level.notice
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.value.append("\(event.message)") }
}
