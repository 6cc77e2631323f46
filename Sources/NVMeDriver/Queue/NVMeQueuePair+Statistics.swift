// What others see of a pair.
extension NVMeQueuePair {
    public var statistics: Statistics { counters }
    public internal(set) var state: State {
        get { connection }
        set { connection = newValue }
    }
    /// Commands in the queue, and those that wait for room in it.
    public internal(set) var outstanding: Int {
        get { commandCount }
        set { commandCount = newValue }
    }

    /// What has happened so far.
    public struct Statistics: Sendable, Hashable {
        /// Commands given to the controller.
        public var submitted: UInt64 = 0
        public var completed: UInt64 = 0
        /// Commands that had to wait for room in the queue.
        public var queued: UInt64 = 0
        /// Stores to the registers of the submission queue and of the completion queue.
        public var submissionDoorbells: UInt64 = 0
        public var completionDoorbells: UInt64 = 0
        public var polls: UInt64 = 0
        public var idlePolls: UInt64 = 0
    }
}
