extension BufferPool {
    /// How the pool is laid out.
    public struct Options: Sendable {
        /// Blocks of one size.
        public struct SizeClass: Sendable, Hashable {
            /// In bytes: a multiple of 4,096.
            public var byteCount: Int
            /// How many at the start.
            public var count: Int

            public init(byteCount: Int, count: Int) {
                self.byteCount = byteCount
                self.count = count
            }
        }

        /// In rising order of size.
        public var sizeClasses = [
            SizeClass(byteCount: 4096, count: 512), SizeClass(byteCount: 65536, count: 64),
            SizeClass(byteCount: 1_048_576, count: 8),
        ]
        /// The most memory the pool may grow to, in bytes. Default: 1 GiB.
        public var byteCountLimit = 1 << 30
        public var pages = MemoryRegion.Pages.normal
        /// nil: the node of the reactor's core.
        public var node: Int?

        public init() {}
    }
}
