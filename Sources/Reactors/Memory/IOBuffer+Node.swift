import CLinux

extension IOBuffer {
    /// The NUMA node its first byte is on now; nil while nothing was written there, or where the kernel does not say.
    /// move_pages(2).
    ///
    /// Cost: a system call. For checking where memory came from, not for the path of an I/O.
    public var node: Int? {
        let memory = self.memory
        // SAFETY: the address is only asked about.
        let node = unsafe clinux_node_of_page(memory.base)
        return node < 0 ? nil : Int(node)
    }
}
