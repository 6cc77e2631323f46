import Bdev
import DelayBdev
import ErrorBdev
import LogBdev
import Reactors
import SimulatedReactors
import Synchronization

/// One kind of thing that goes on beside the I/O.
struct Disturbance: Sendable {
    let name: String
    let body: @Sendable (Disturber) async -> Void

    static let all = [
        Disturbance(name: "opens") { await $0.open() },
        Disturbance(name: "claims") { await $0.claim() },
        Disturbance(name: "resets") { await $0.reset() },
        Disturbance(name: "quiesces") { await $0.quiesce() },
        Disturbance(name: "removals") { await $0.remove() },
        Disturbance(name: "resizes") { await $0.resize() },
        Disturbance(name: "limits") { await $0.limit() },
        Disturbance(name: "statistics") { await $0.lookAtStatistics() },
        Disturbance(name: "injections") { await $0.inject() },
    ]
}

/// Does one kind of thing again and again.
final class Disturber: @unchecked Sendable {
    // Sendable unchecked: only its task uses it.
    let name: String
    let world: World
    let home: Reactor
    var random: SeededRandom
    private var tower: Tower { world.tower }

    init(_ name: String, _ index: Int, _ world: World) {
        self.name = name
        self.world = world
        home = world.reactors[index % world.reactors.count]
        random = SeededRandom(seed: world.options.seed &* 64 &+ UInt64(index) &+ 1)
    }

    func run(_ body: (Disturber) async -> Void) async {
        while !world.isOver {
            await body(self)
            await pause(3000)
        }
        world.note(name, "over")
    }

    private func pause(_ most: Int) async {
        await world.pause(Int.random(in: 1...most, using: &random), on: home)
    }

    private func anyName() -> String { tower.names.randomElement(using: &random)! }
    private func anyReactor() -> Reactor { world.reactors.randomElement(using: &random)! }

    /// What may be said of a bdev that may be away.
    private static let absence: [BdevError.Code] = [.noSuchBdev, .removed]

    private func attempt(
        _ what: String, _ allowed: [BdevError.Code] = absence, _ body: () async throws -> Void
    ) async { await world.attempt(name, what, allowed, body) }

    // MARK: What it does

    /// Opens a bdev, looks at it through a channel, closes.
    func open() async {
        let name = anyName(), reactor = anyReactor(), moment = world.moment
        await attempt("open \(name)") {
            let descriptor = try await world.engine.open(name)
            if Bool.random(using: &random) {
                try? await descriptor.setTimeout(.milliseconds(1)) { _ in }
            }
            let channel: BdevChannel
            do {
                channel = try await descriptor.channel(on: reactor)
            } catch {
                await descriptor.close()
                throw error
            }
            await read(channel, moment)
            if Bool.random(using: &random) { await channel.close() }
            await descriptor.close()
        }
    }

    private func read(_ channel: BdevChannel, _ moment: World.Moment) async {
        var buffer = await channel.buffer(byteCount: 512)
        world.submitted.add(1, ordering: .relaxed)
        do {
            try await channel.read(at: .block(0), into: &buffer)
        } catch {
            world.judge(error.code, since: moment, [], "\(name): \(error)")
        }
        world.completed.add(1, ordering: .relaxed)
    }

    /// Tries to have a bdev to itself, which others write to most of the time.
    func claim() async {
        let name = anyName(), host = tower.claims.host.value
        let kinds: [ClaimKind] = [.exclusiveWrite, .readManyWriteOne, .readManyWriteNone, .readManyWriteShared(key: 7)]
        let kind = kinds.randomElement(using: &random)!
        await attempt("claim \(name)", Self.absence + [.claimed]) {
            let descriptor = try await world.engine.open(name)
            let channel = try? await descriptor.channel(on: anyReactor())
            do {
                try await host.claim(descriptor, kind)
                await pause(50)
                if Bool.random(using: &random) { try await host.release(descriptor) }
            } catch {
                await descriptor.close()
                throw error
            }
            if Bool.random(using: &random) { await channel?.close() }
            await descriptor.close()
        }
    }

    func reset() async {
        let name = anyName(), reactor = anyReactor()
        await attempt("reset \(name)", Self.absence + [.aborted, .closed]) {
            try await world.resets.during {
                let descriptor = try await world.engine.open(name)
                do {
                    let channel = try await descriptor.channel(on: reactor)
                    try await channel.reset()
                } catch {
                    await descriptor.close()
                    throw error
                }
                await descriptor.close()
            }
        }
    }

    func quiesce() async {
        let name = anyName(), host = tower.host(of: name)
        let start = UInt64.random(in: 0..<400, using: &random)
        let blocks = Bool.random(using: &random) ? nil : start..<start + UInt64.random(in: 1...100, using: &random)
        await attempt("quiesce \(name)") {
            let quiescence = try await host.quiesce(name, blocks: blocks)
            await pause(200)
            try await host.unquiesce(quiescence)
        }
    }

    func resize() async {
        if tower.ground == .malloc { return }
        await attempt("resize") {
            let host = tower.host(of: Tower.base)
            let size = try await world.engine.info(Tower.base).geometry.blockCount
            let new = size + UInt64.random(in: 1...8, using: &random)
            if new <= Tower.room { try await host.resize(Tower.base, blockCount: new) }
        }
    }

    func limit() async {
        let name = anyName()
        var limits = QoSLimits()
        switch Int.random(in: 0..<4, using: &random) {
        case 0: limits.operationsPerSecond = UInt64.random(in: 2_000...2_000_000, using: &random)
        case 1: limits.bytesPerSecond = UInt64.random(in: 10_000_000...2_000_000_000, using: &random)
        case 2:
            limits.readBytesPerSecond = UInt64.random(in: 10_000_000...2_000_000_000, using: &random)
            limits.writeBytesPerSecond = UInt64.random(in: 10_000_000...2_000_000_000, using: &random)
        default: break
        }
        await attempt("limit \(name)") { try await world.engine.setLimits(limits, of: name) }
        await pause(2000)
        await attempt("unlimit \(name)") { try await world.engine.setLimits(QoSLimits(), of: name) }
    }

    func lookAtStatistics() async {
        let name = anyName(), resets: [StatisticsReset] = [.none, .all, .extremes, .errors]
        let reset = resets.randomElement(using: &random)!
        let choice = Int.random(in: 0..<6, using: &random)
        await attempt("statistics of \(name)", Self.absence + [.invalidArgument]) {
            switch choice {
            case 0: _ = try await world.engine.statistics(name, reset: reset)
            case 1: _ = try await world.engine.channelStatistics(name, reset: reset)
            case 2: try await world.engine.recordLatencies(of: name, types: .all)
            case 3: _ = try await world.engine.latencies(of: name)
            case 4: try await world.engine.recordLatencies(of: name, types: [])
            default:
                let isOn = Bool.random(using: &random)
                try await world.engine.sampleQueueDepth(of: name, every: isOn ? .microseconds(500) : nil)
            }
        }
    }

    // MARK: Errors and latencies

    /// Has the layers that are made for it do what they are made for.
    func inject() async {
        for layer in tower.layers {
            switch layer.kind {
            case .error: await inject(into: layer.name)
            case .delay:
                let kinds = DelayModule.LatencyKind.allCases, kind = kinds.randomElement(using: &random)!
                let latency = Duration.microseconds(Int.random(in: 0...30, using: &random))
                await attempt("latency", Self.absence + [.invalidArgument]) {
                    try await tower.delay.setLatency(kind, of: layer.name, to: latency)
                }
            case .log: await attempt("clear the log") { try await tower.log.clear(layer.name) }
            case .passthru, .split, .zoneBlock: break
            }
        }
    }

    private func inject(into name: String) async {
        let effects: [ErrorInjection.Effect] = [.failure, .pending, .noMemory, .nvmeFailure(type: 2, code: 0x81)]
        let operations = ErrorInjection.Operation.allCases
        await world.injections.during {
            for _ in 0..<3 {
                var injection = ErrorInjection(
                    effects.randomElement(using: &random)!, of: operations.randomElement(using: &random)!,
                    count: Int.random(in: 1...5, using: &random))
                if Bool.random(using: &random) { injection.queueDepth = Int.random(in: 0...3, using: &random) }
                await attempt("inject \(injection)") { try await tower.error.inject(injection, into: name) }
                await pause(300)
            }
            await attempt("clear") { try await tower.error.clear(name) }
            // What is kept stays so until somebody lets it go on.
            await attempt("resume") { try await tower.error.resumePending(of: name) }
        }
    }

    // MARK: Removal

    /// Takes the ground or a layer away, and makes it again.
    func remove() async {
        let choice = Int.random(in: 0...tower.layers.count, using: &random)
        world.removals.begin()
        defer { world.removals.end() }
        if choice == 0 {
            world.groundAge.add(1, ordering: .sequentiallyConsistent)
            await attempt("remove the ground") { try await tower.removeGround() }
            await pause(100)
            await attempt("make the ground", []) { try await tower.makeGround() }
            world.groundAge.add(1, ordering: .sequentiallyConsistent)
        } else {
            let layer = tower.layers[choice - 1]
            let byEngine = Bool.random(using: &random)
            await attempt("remove \(layer.name)") {
                if byEngine && layer.kind != .split {
                    try await world.engine.remove(layer.name)
                } else {
                    try await tower.remove(layer)
                }
            }
            await pause(100)
            await remake(layer)
        }
        if let top = tower.layers.last, top.kind == .zoneBlock || top.kind == .log { await remake(top) }
        await pause(10_000)
    }

    /// As soon as it can be, or not at all if it is there already.
    private func remake(_ layer: Tower.Layer) async {
        var last: BdevError?
        for _ in 0..<1000 {
            world.note(name, "make \(layer.name)")
            do {
                try await tower.make(layer)
                return
            } catch let error as BdevError {
                last = error
                switch error.code {
                case .nameInUse where await isThere(layer.name), .claimed where await isThere(layer.name): return
                // Those who use the one before have not gone, or those below have not come.
                case .nameInUse, .claimed, .noSuchBdev, .removed, .aborted, .busy: await pause(200)
                default: return world.find("\(name): make \(layer.name): \(error)")
                }
            } catch { return world.find("\(name): make \(layer.name): \(error)") }
        }
        world.find("\(name): \(layer.name) could not be made again: \(last.map { "\($0)" } ?? "")")
    }

    private func isThere(_ name: String) async -> Bool {
        guard let descriptor = try? await world.engine.open(name) else { return false }
        await descriptor.close()
        return true
    }
}
