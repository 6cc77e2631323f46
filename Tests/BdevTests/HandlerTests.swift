import Bdev
import Reactors
import SimulatedReactors
import Testing

/// The synchronous face and the contract of requests.
struct HandlerTests {
    @Test func `a handler is never called inside its own submit`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for tag in UInt64(0)..<10 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    handler.isInsideSubmit = true
                    try channel.engine.write(from: &buffer, at: .block(tag), tag: tag, handler: handler)
                    try channel.engine.submit(
                        .flush, at: .block(0), count: .blocks(0), tag: 100 + tag, handler: handler)
                    handler.isInsideSubmit = false
                    #expect(handler.completions.isEmpty)
                }
                while handler.completions.count < 20 { await here.yield() }
                #expect(!handler.calledInsideSubmit)
                #expect(handler.buffersBack == 10)
                #expect(handler.tags.filter { $0 < 100 } == Array(0..<10))
            }
        }
    }

    @Test func `a handler may submit again at once, for as long as it likes`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                let handler = Chain(channel.engine, length: 20_000)
                handler.submit(try channel.allocateBuffer(byteCount: 512))
                while handler.left > 0 { await here.yield() }
                #expect(scene.device.submissionCount == 20_000)
                #expect(handler.deepest == 1)
            }
        }
    }

    @Test func `a handler stays alive while requests of it are outstanding, and goes with its channel`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let observed = WeakHandler()
            let told = Shared(0)
            try await scene.withChannel { channel in
                do {
                    let handler = RecordingHandler()
                    observed.handler = handler
                    handler.onCompletion = { _ in told.value += 1 }
                    for block in UInt64(0)..<2 {
                        var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                        try channel.engine.read(into: &buffer, at: .block(block), handler: handler)
                    }
                }
                #expect(observed.handler != nil)
                scene.device.complete()
                #expect(told.value == 1)
                #expect(observed.handler != nil)
                scene.device.complete()
                #expect(told.value == 2)
            }
            #expect(observed.handler == nil)
        }
    }

    @Test func `a channel lets go of handlers that have nothing outstanding before they become many`() throws {
        try simulate { here, scene in
            try await scene.withChannel { channel in
                var observed: [WeakHandler] = []
                for _ in 0..<1000 {
                    let handler = RecordingHandler()
                    observed.append(WeakHandler())
                    observed[observed.count - 1].handler = handler
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(0), handler: handler)
                    while handler.completions.isEmpty { await channel.reactor.local.yield() }
                }
                try await channel.reactor.local.sleep(for: .milliseconds(1))
                let alive = observed.count { $0.handler != nil }
                #expect(alive < 128, "\(alive) of 1000 handlers are still there")
            }
        }
    }

    @Test func `a failed request gives its buffer back with the status`() throws {
        try simulate { here, scene in
            scene.device.answer = { $0.start == 1 ? IOStatus(.scsiError, detail: 7) : .success }
            try await scene.withChannel { channel in
                let handler = RecordingHandler()
                for block in UInt64(0)..<3 {
                    var buffer: IOBuffer? = try channel.allocateBuffer(byteCount: 512)
                    try channel.engine.read(into: &buffer, at: .block(block), tag: block, handler: handler)
                }
                while handler.completions.count < 3 { await here.yield() }
                #expect(handler.completions.map(\.status) == [.success, IOStatus(.scsiError, detail: 7), .success])
                #expect(handler.buffersBack == 3)
            }
        }
    }

    @Test func `requests of two descriptors keep apart when one closes`() throws {
        try simulate { here, scene in
            scene.device.pace = .held
            let first = try await scene.engine.open("disk", mode: .readWrite)
            let second = try await scene.engine.open("disk", mode: .readWrite)
            let a = try await first.channel(on: here.reactor), b = try await second.channel(on: here.reactor)
            let left = Task(executorPreference: here.reactor.taskExecutor) { await a.readOnce(at: 1) }
            while scene.device.held.count < 1 { await here.yield() }
            let right = Task(executorPreference: here.reactor.taskExecutor) { await b.readOnce(at: 2) }
            while scene.device.held.count < 2 { await here.yield() }
            scene.device.complete(0)
            #expect(await left.value == nil)
            // The other's request does not hold this one's close.
            await first.close()
            #expect(scene.device.channelsClosed == 0)
            scene.device.complete(0)
            #expect(await right.value == nil)
            await second.close()
        }
    }

    // MARK: What a module must not do

    @Test func `a module that drops a request stops the process with the names of the bdev and the module`()
        async throws
    {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misbehave { request in _ = consume request }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module test of 'bad': a read request was dropped without being completed"))
    }

    @Test func `a token that is used twice stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misbehave { request, requests in
                let token = request.detach()
                requests.request(token).complete()
                requests.request(token).complete()
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module test of 'bad': a request token was used after its request was completed"))
    }

    @Test func `a token of an earlier use of its slot stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let kept = Shared<RequestToken?>(nil)
            try misbehave { request, requests in
                let token = request.detach()
                if let old = kept.value { requests.request(old).complete() }
                kept.value = token
                requests.request(token).complete()
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module test of 'bad': a request token was used after its request was completed"))
    }

    @Test func `a token that names no request stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try misbehave { request, requests in
                requests.request(RequestToken(rawValue: 0xFFFF_FFFF)).complete()
                request.complete()
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module test of 'bad': a request token names no request of this reactor"))
    }

    @Test func `a reset that is refused for want of room stops the process`() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try simulate { _, scene in
                scene.device.refusals = 1
                try await scene.withChannel { channel in try await channel.reset() }
            }
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("module test of 'disk': there is no room for a reset, which cannot wait"))
    }
}

/// Reads through a module that does `act` with every request, three times.
private func misbehave(_ act: @escaping @Sendable (consuming IORequest) -> Void) throws {
    try misbehave { request, _ in act(request) }
}

private func misbehave(_ act: @escaping @Sendable (consuming IORequest, RequestTable) -> Void) throws {
    try simulate { here, scene in
        try await scene.module.host.value.register(
            BdevProperties(name: "bad", productName: "Bad disk", geometry: .test, supportedTypes: [.read]),
            driver: BadDriver(act))
        let descriptor = try await scene.engine.open("bad")
        let channel = try await descriptor.channel(on: here.reactor)
        for _ in 0..<3 { _ = await channel.readOnce(at: 0) }
        await descriptor.close()
    }
}

private final class BadDriver: BdevDriver {
    private let act: @Sendable (consuming IORequest, RequestTable) -> Void

    init(_ act: @escaping @Sendable (consuming IORequest, RequestTable) -> Void) { self.act = act }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        BadChannel(act, requests)
    }
}

private final class BadChannel: BdevModuleChannel {
    private let act: (consuming IORequest, RequestTable) -> Void
    private let requests: RequestTable

    init(_ act: @escaping (consuming IORequest, RequestTable) -> Void, _ requests: RequestTable) {
        self.act = act
        self.requests = requests
    }

    override func submit(_ request: consuming IORequest) { act(request, requests) }
}

/// Submits the next request when the last is complete.
final class Chain: IOHandler {
    private let channel: EngineChannel
    private(set) var left: Int
    private var depth = 0
    private(set) var deepest = 0

    init(_ channel: EngineChannel, length: Int) {
        self.channel = channel
        left = length
    }

    func submit(_ buffer: consuming IOBuffer) {
        var buffer: IOBuffer? = buffer
        do {
            try channel.read(into: &buffer, at: .block(UInt64(left % 1024)), handler: self)
        } catch {
            Issue.record(error)
        }
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        depth += 1
        deepest = max(deepest, depth)
        left -= 1
        if left > 0, let buffer = completion.buffer.take() { submit(buffer) }
        depth -= 1
    }
}

private final class WeakHandler: @unchecked Sendable {
    weak var handler: RecordingHandler?
}
