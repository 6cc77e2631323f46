/// Which registered buffer an arena is: one load from a small array.
package struct ArenaTable {
    /// By arena, the buffer's index and 1; 0: not registered. Arenas are numbered from 1 in a process.
    private var entries: [UInt16] = []
    private static let limit = 1 << 16

    @inline(__always)
    func index(of arena: UInt32) -> Int32 {
        let arena = Int(arena)
        return arena < entries.count ? Int32(entries[arena]) - 1 : -1
    }

    /// Whether there can be an entry for `arena`.
    func canHold(_ arena: UInt32) -> Bool { arena > 0 && Int(arena) < Self.limit }

    mutating func set(_ arena: UInt32, to index: Int) {
        let needed = Int(arena) + 1
        if entries.count < needed { entries += Array(repeating: 0, count: needed - entries.count) }
        entries[Int(arena)] = UInt16(index + 1)
    }
}
