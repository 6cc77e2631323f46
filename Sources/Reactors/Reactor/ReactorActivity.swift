import Synchronization

/// What a reactor's thread is doing, where other threads can see it: one word, stored at each change and never waited
/// for.
struct ReactorActivity: Sendable, Hashable {
    let word: UInt32

    static let asleep = ReactorActivity(word: 0)
    /// Between the parts of a turn.
    static let turn = ReactorActivity(word: 1)
    static let jobs = ReactorActivity(word: 2)
    static let timer = ReactorActivity(word: 3)
    static let ring = ReactorActivity(word: 4)

    private static let firstPoller: UInt32 = 16
    /// - Parameter slot: its place in the `PollerNames` of its reactor.
    static func poller(slot: Int) -> ReactorActivity { ReactorActivity(word: firstPoller + UInt32(slot)) }
    var pollerSlot: Int? { word >= Self.firstPoller ? Int(word - Self.firstPoller) : nil }
}

/// The names behind the words of pollers. Written by the reactor when a poller is added or removed, read by a watchdog.
final class PollerNames: Sendable {
    private struct Table {
        var names: [String?] = []
        var free: [Int] = []
    }

    private let table = ThreadLock(Table())

    func add(_ name: String) -> Int {
        table.withLock { table in
            if let slot = table.free.popLast() {
                table.names[slot] = name
                return slot
            }
            table.names.append(name)
            return table.names.count - 1
        }
    }

    func remove(_ slot: Int) {
        table.withLock { table in
            table.names[slot] = nil
            table.free.append(slot)
        }
    }

    func name(_ slot: Int) -> String? {
        table.withLock { $0.names.indices.contains(slot) ? $0.names[slot] : nil }
    }
}
