import Bdev
import Reactors
import SimulatedReactors
import Testing

/// Modules that break their contract where the compiler cannot see it: the process stops, and says whose bdev it was.
struct BrokenModuleTests {
    // MARK: Completing

    @Test func `a request that is completed on another reactor stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misuse(reactorCount: 2) { request, rogue in
                rogue.keep(request)
                rogue.reactors[1].post { _ in rogue.table(0).request(rogue.tokens.removeFirst()).complete() }
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(
            text.contains(
                "module rogue of 'bad': a request token was turned back on another thread than that of simulated_0"))
    }

    @Test func `a token of another reactor stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misuse(reactorCount: 2) { request, rogue in
                // Both reactors have a request of this index and use.
                rogue.keep(request)
                if rogue.tokens.count == 2 { rogue.table(1).request(rogue.tokens[0]).complete() }
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module rogue of 'bad': a request token names no request of this reactor"))
    }

    @Test func `a token that is turned back twice stops the process before the request is completed`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misuse { request, rogue in
                rogue.keep(request)
                let first = rogue.table(0).request(rogue.tokens[0])
                rogue.table(0).request(rogue.tokens[0]).complete()
                first.complete()
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module rogue of 'bad': a request token was used twice"))
    }

    @Test(arguments: [true, false])
    func `a request may be turned into a token again and again, and is the same`(isLate: Bool) throws {
        try misuse { request, rogue in
            rogue.keep(request)
            for _ in 0..<3 { rogue.keep(rogue.table(0).request(rogue.tokens.removeFirst())) }
            if !isLate { return rogue.table(0).request(rogue.tokens.removeFirst()).complete() }
            rogue.reactors[0].post { _ in rogue.table(0).request(rogue.tokens.removeFirst()).complete() }
        }
    }

    @Test func `completing as pending stops the process`() async throws {
        let atOnce = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misuse { request, _ in request.complete(IOStatus(.pending)) }
        }
        let later = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misuse { request, rogue in
                rogue.keep(request)
                rogue.reactors[0].post { _ in
                    rogue.table(0).request(rogue.tokens.removeFirst()).complete(IOStatus(.pending))
                }
            }
        }
        for result in [atOnce, later] {
            let text = String(decoding: result.standardErrorContent, as: UTF8.self)
            #expect(text.contains("module rogue of 'bad': a request was completed as pending"))
        }
    }

    @Test func `a detail that no status has is passed on as a failure`() throws {
        try simulate { here, scene in
            let statuses = [
                IOStatus(.systemError, detail: -1), IOStatus(.systemError, detail: 1 << 30),
                IOStatus(.nvmeError, detail: .max), IOStatus(.scsiError, detail: .min), IOStatus(.firstFusedFailed),
            ]
            try await scene.withChannel { channel in
                for status in statuses {
                    scene.device.answer = { _ in status }
                    let error = await failure { () throws(BdevError) in try await channel.flush() }
                    #expect(error?.code == .deviceFailed, "\(status)")
                    #expect(error?.status == status)
                    #expect(error?.description.contains("disk") == true)
                }
                scene.device.answer = { _ in .success }
                try await channel.flush()
            }
        }
    }

    // MARK: Scratch

    @Test func `requests that only the layer takes have bytes for their module too`() throws {
        try simulate { here, scene in
            let rogue = Rogue(scene.reactors, requestScratchByteCount: 4096) { request, rogue in
                request.setScratch(request.startBlock, at: 4088)
                rogue.keep(request)
            }
            try await scene.engine.register(rogue)
            try await rogue.create("below")
            let module = PassModule()
            try await scene.engine.register(module)
            try await module.create("above", on: "below", here)
            let descriptor = try await scene.engine.open("above")
            try await descriptor.withChannel(on: here.reactor) { channel in
                let handler = RecordingHandler(), count = 65_536
                let quiescence = try await module.host.value.quiesce("above")
                for index in 0..<count {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(
                        into: &buffer, at: .block(UInt64(index % 1024)), tag: UInt64(index), handler: handler)
                }
                try await module.host.value.unquiesce(quiescence)
                while handler.completions.count < count {
                    try #require(!rogue.tokens.isEmpty)
                    let tokens = rogue.tokens
                    // Completing makes room for others.
                    rogue.tokens = []
                    for token in tokens {
                        let request = rogue.table(0).request(token)
                        let isOwn = request.scratch(at: 4088, as: UInt64.self) == request.startBlock
                        request.complete(isOwn ? .success : .failed)
                    }
                    await channel.reactor.local.settle(.milliseconds(20))
                }
                #expect(handler.completions.allSatisfy { $0.status.isSuccess })
            }
            await descriptor.close()
        }
    }
}

/// Reads from a bdev "bad", on every reactor at once, whose channels do `act` with each request.
private func misuse(
    reactorCount: Int = 1, _ act: @escaping @Sendable (consuming IORequest, Rogue) -> Void
) throws {
    try simulate(reactorCount: reactorCount) { here, scene in
        let rogue = Rogue(scene.reactors, act)
        try await scene.engine.register(rogue)
        try await rogue.create("bad")
        let descriptor = try await scene.engine.open("bad")
        var channels: [BdevChannel] = []
        for reactor in scene.reactors { channels.append(try await descriptor.channel(on: reactor)) }
        var reads: [Task<BdevError.Code?, Never>] = []
        for channel in channels {
            reads.append(
                Task(executorPreference: channel.reactor.taskExecutor) { await channel.attempt(.read, at: 0) })
        }
        for read in reads { #expect(await read.value == nil) }
        await descriptor.close()
    }
}

/// Sendable unchecked: a simulation has one thread.
private final class Rogue: BdevModule, BdevDriver, @unchecked Sendable {
    let name = "rogue"
    let requestScratchByteCount: Int
    let reactors: [Reactor]
    private let host = HostSlot()
    private let act: @Sendable (consuming IORequest, Rogue) -> Void
    /// Of the requests that are kept.
    var tokens: [RequestToken] = []
    private var tables: [Int: RequestTable] = [:]

    init(
        _ reactors: [Reactor], requestScratchByteCount: Int = 0,
        _ act: @escaping @Sendable (consuming IORequest, Rogue) -> Void
    ) {
        self.reactors = reactors
        self.requestScratchByteCount = requestScratchByteCount
        self.act = act
    }

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    func create(_ name: String) async throws(BdevError) {
        try await host.value.register(
            BdevProperties(name: name, productName: "Bad disk", geometry: .test, supportedTypes: [.read]), driver: self)
    }

    func table(_ reactor: Int) -> RequestTable { tables[reactor]! }
    func keep(_ request: consuming IORequest) { tokens.append(request.detach()) }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        tables[local.reactor.index] = requests
        return RogueChannel(self)
    }

    fileprivate func submit(_ request: consuming IORequest) { act(request, self) }
}

private final class RogueChannel: BdevModuleChannel {
    private let rogue: Rogue

    init(_ rogue: Rogue) { self.rogue = rogue }

    override func submit(_ request: consuming IORequest) { rogue.submit(request) }
}
