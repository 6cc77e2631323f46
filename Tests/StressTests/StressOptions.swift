import Glibc

/// What one run is like. Everything that is chosen at random in it follows from the seed.
struct StressOptions: Sendable {
    var seed: UInt64
    /// I/Os of all workers together.
    var ioCount: Int
    /// How long nothing may have been completed before the run is given up.
    var patience = Duration.seconds(30)

    /// The seed of a run on threads: `STRESS_SEED`, or another one each time.
    static var seed: UInt64 { variable("STRESS_SEED").flatMap { UInt64($0) } ?? .random(in: 0..<1_000_000) }
    /// I/Os of all runs on threads together: `STRESS_IO_COUNT`, or as many as a debug build does beside other tests.
    static var ioCount: Int { variable("STRESS_IO_COUNT").flatMap { Int($0) } ?? 40_000 }
    /// The seed of the first simulation: `STRESS_SEED`, or always the same.
    static var simulationSeed: UInt64 { variable("STRESS_SEED").flatMap { UInt64($0) } ?? 1 }
    /// How many simulations: `STRESS_SIMULATIONS`, or as many as a debug build does beside other tests.
    static var simulationCount: UInt64 { variable("STRESS_SIMULATIONS").flatMap { UInt64($0) } ?? 12 }

    private static func variable(_ name: String) -> String? {
        // SAFETY: nobody changes the environment, and the string is copied at once.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}
