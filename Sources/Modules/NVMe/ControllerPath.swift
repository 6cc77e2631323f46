import Bdev
import NVMeDriver
import Reactors

/// One controller of a subsystem, for as long as it is attached: through resets, losses and reconnections. And a queue
/// pair of it for each reactor that uses one of its namespaces.
final class ControllerPath: Sendable {
    enum Phase: Sendable, Hashable {
        case connected
        /// It is being reset, and will be back soon or be lost.
        case resetting
        /// It is gone; reconnections are tried.
        case lost
        /// It is gone; nothing is tried until somebody asks for a reset.
        case failed
        /// It is off, by somebody's wish, until it is enabled again.
        case disabled
        /// It has been detached.
        case gone
    }

    /// Where it is: `0000:3b:00.0`.
    let address: String
    let recovery: NVMeModule.Recovery
    let checks: ProtectionInformation.Checks
    private let connector: NVMeModule.Connector?
    private let options: NVMeController.Options
    private let home: Reactor
    private let state: ThreadLock<State>

    private struct State {
        var controller: NVMeController?
        var phase = Phase.connected
        /// I/O does not wait for it any more.
        var failsFast = false
        /// Of the controller: counts the connections.
        var generation: UInt64 = 1
        var queues: [ObjectIdentifier: SharedQueue] = [:]
        /// The reactors whose queue pair is on its way.
        var making: Set<ObjectIdentifier> = []
        var controllerID: UInt16 = 0
    }

    /// A queue pair that several bdevs of one reactor use.
    private struct SharedQueue {
        let pair: ReactorConfined<NVMeQueuePair>
        let controller: NVMeController
        let generation: UInt64
        var userCount: Int
    }

    /// `connector`: makes the controller again after it was lost; nil: nobody can.
    init(
        _ controller: NVMeController, controllerID: UInt16, recovery: NVMeModule.Recovery,
        checks: ProtectionInformation.Checks, connector: NVMeModule.Connector?
    ) {
        address = controller.name
        options = controller.options
        home = controller.reactor
        self.recovery = recovery
        self.checks = checks
        self.connector = connector
        var state = State()
        state.controller = controller
        state.controllerID = controllerID
        self.state = ThreadLock(state)
    }

    /// CNTLID.
    var controllerID: UInt16 { state.withLock { $0.controllerID } }
    /// nil while it is lost or failed.
    var controller: NVMeController? { state.withLock { $0.controller } }
    var generation: UInt64 { state.withLock { $0.generation } }
    var phase: Phase { state.withLock { $0.phase } }
    var canReconnect: Bool { connector != nil }

    func set(_ phase: Phase) { state.withLock { $0.phase = phase } }
    func failFast() { state.withLock { $0.failsFast = true } }

    /// Whether it is worth waiting for.
    var isHopeful: Bool {
        state.withLock { state in
            switch state.phase {
            case .connected, .resetting: true
            case .lost: !state.failsFast
            case .failed, .disabled, .gone: false
            }
        }
    }

    /// The controller cannot be used any more: the caller detaches it. Queue pairs are its own to close.
    func lose(_ phase: Phase) -> NVMeController? {
        state.withLock { state in
            let controller = state.controller
            state.controller = nil
            state.queues = [:]
            state.generation += 1
            state.phase = phase
            return controller
        }
    }

    /// Makes the controller again.
    func reconnect() async throws(NVMeError) -> NVMeController {
        guard let connector else {
            throw NVMeError(.notSupported, device: address, "nobody knows how to reach the controller again")
        }
        return try await connector(home, options)
    }

    func adopt(_ controller: NVMeController, controllerID: UInt16) {
        state.withLock { state in
            state.controller = controller
            state.controllerID = controllerID
            state.generation += 1
            state.failsFast = false
            state.phase = .connected
        }
    }

    // MARK: Queues

    /// A queue pair, and which connection it is of.
    struct Link {
        let pair: NVMeQueuePair
        let controller: NVMeController
        let generation: UInt64
    }

    /// The queue pair of this reactor, made for the first who asks.
    ///
    /// - Throws: `closed` while there is no controller; what making one throws.
    func queue(on local: isolated LocalReactor) async throws(NVMeError) -> Link {
        let key = ObjectIdentifier(local.reactor)
        while true {
            if let link = take(key) { return link }
            // One is being made: the controller may have no other to give.
            if state.withLock({ $0.making.insert(key).inserted }) { break }
            await local.pause()
        }
        defer { state.withLock { _ = $0.making.remove(key) } }
        let (controller, generation) = state.withLock { ($0.controller, $0.generation) }
        guard let controller else { throw NVMeError(.closed, device: address, "the controller is lost") }
        let made = try await local.makeQueuePair(of: controller)
        let queue = SharedQueue(
            pair: ReactorConfined(made), controller: controller, generation: generation, userCount: 1)
        let isKept = state.withLock { state in
            if state.generation != generation { return false }
            state.queues[key] = queue
            return true
        }
        if !isKept {
            await local.close(made, of: controller)
            throw NVMeError(.closed, device: address, "the controller was lost while a queue pair was made")
        }
        return Link(pair: made, controller: controller, generation: generation)
    }

    private func take(_ key: ObjectIdentifier) -> Link? {
        let queue: SharedQueue? = state.withLock { state in
            guard state.queues[key] != nil else { return nil }
            state.queues[key]!.userCount += 1
            return state.queues[key]
        }
        return queue.map { Link(pair: $0.pair.value, controller: $0.controller, generation: $0.generation) }
    }

    /// The last one closes it, unless the connection it was of is over, and the queue pair with it.
    func leaveQueue(generation: UInt64, on local: isolated LocalReactor) async {
        let key = ObjectIdentifier(local.reactor)
        let last: SharedQueue? = state.withLock { state in
            guard var queue = state.queues[key], queue.generation == generation else { return nil }
            queue.userCount -= 1
            state.queues[key] = queue.userCount > 0 ? queue : nil
            return queue.userCount > 0 ? nil : queue
        }
        if let last { await local.close(last.pair.value, of: last.controller) }
    }
}
