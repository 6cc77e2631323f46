/// Why a simulation did not end well. Its seed makes it happen again.
public struct SimulationError: Error, CustomStringConvertible {
    /// What kind of failure it is. More kinds may be added.
    public struct Code: Hashable, Sendable {
        private enum Kind { case bodyFailed, nothingCanHappen, noProgress }
        private let kind: Kind
        private init(_ kind: Kind) { self.kind = kind }

        /// The body threw.
        public static let bodyFailed = Code(.bodyFailed)
        /// The body has not returned, and nothing is ready, due or under way that could make it go on.
        public static let nothingCanHappen = Code(.nothingCanHappen)
        /// Steps without end, by which the body gets no further.
        public static let noProgress = Code(.noProgress)
    }

    public let code: Code
    /// Of the simulation.
    public let seed: UInt64
    /// When it happened: virtual time since the start.
    public let time: Duration
    /// What happened.
    public let message: String
    /// What the body threw.
    public let underlying: (any Error)?

    init(_ code: Code, seed: UInt64, time: Duration, _ message: String, underlying: (any Error)? = nil) {
        self.code = code
        self.seed = seed
        self.time = time
        self.message = message
        self.underlying = underlying
    }

    /// One line: the seed, when, what.
    public var description: String { "simulation with seed \(seed), at \(time): \(message)" }
}
