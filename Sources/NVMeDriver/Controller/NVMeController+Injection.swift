import Reactors

extension NVMeController {
    /// Which queues something is about.
    public enum QueueKind: Sendable, Hashable, CaseIterable {
        case admin, io
    }

    /// From now on commands end with a made-up error, and are not given to the controller: those of the admin queue,
    /// or of each I/O queue pair, those that are made later too. Each pair counts for itself. Costs a command nothing
    /// while nothing is injected.
    ///
    /// Injected into the admin queue, it meets the driver's own commands as all others.
    public func inject(_ injection: ErrorInjection, into queues: QueueKind) async {
        if queues == .admin { return admin.pair.inject(injection) }
        injections.removeAll { $0.opcode == injection.opcode }
        injections.append(injection)
        for entry in pairs { await entry.reactor.run { _ in entry.pair.value.inject(injection) } }
    }

    /// As ``NVMeQueuePair/removeInjections(opcode:)``, of the same queues.
    public func removeInjections(opcode: UInt8, from queues: QueueKind) async {
        if queues == .admin { return admin.pair.removeInjections(opcode: opcode) }
        injections.removeAll { $0.opcode == opcode }
        for entry in pairs { await entry.reactor.run { _ in entry.pair.value.removeInjections(opcode: opcode) } }
    }

    /// What has happened on one of its I/O queue pairs.
    public struct QueueStatistics: Sendable, Hashable {
        /// The name of the reactor that has it.
        public let reactor: String
        public let counters: NVMeQueuePair.Statistics
    }

    /// Of each I/O queue pair that there is now.
    public func queueStatistics() async -> [QueueStatistics] {
        var result: [QueueStatistics] = []
        for entry in pairs {
            let counters = await entry.reactor.run { _ in entry.pair.value.statistics }
            result.append(QueueStatistics(reactor: entry.reactor.name, counters: counters))
        }
        return result
    }
}
