extension Reactor {
    /// The pool has mapped more memory.
    func poolDidGrow(_ region: MemoryRegion) {}
}
