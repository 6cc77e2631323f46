extension Reactor {
    /// The pool has mapped more memory.
    func poolDidGrow(_ region: MemoryRegion) {}
}

extension ReactorLoop {
    /// A buffer of the reactor's own memory, or nil when there is none now.
    package func allocateBuffer(byteCount: Int) -> IOBuffer? { pool.allocate(byteCount: byteCount) }
}
