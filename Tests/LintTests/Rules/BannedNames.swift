/// Names that code of ours does not use, and what it uses instead.
struct BannedNames: Sendable {
    /// As `String.mentions` reads them.
    let names: [String]
    /// Why, in a few words.
    let why: String
    let replacement: String
    /// The folders the ban holds in.
    var folders = ["Sources"]
    /// The folders inside of them in which it does not hold.
    var exceptions: [String] = []
    /// A line that has one of these is let through.
    var unless: [String] = []
    /// A line that passes: the replacement.
    let passed: String

    static let table = [
        BannedNames(
            names: ["Task.detached", "@concurrent"], why: "runs on the global thread pool",
            replacement: "use a task rooted on a reactor (`Reactor.run`)", passed: "try await reactor.run { _ in }"),
        BannedNames(
            names: ["Task.sleep"], why: "waits on the global thread pool and on real time",
            replacement: "use the reactor's `sleep(until:)` or `sleep(for:)`",
            passed: "try await here.sleep(for: .seconds(1))"),
        BannedNames(
            names: [
                "import Dispatch", "DispatchQueue", "DispatchGroup", "DispatchSemaphore", "DispatchSource*",
                "DispatchTime",
            ],
            why: "brings threads of its own", replacement: "use the reactor's queue, timers and messages",
            passed: "reactor.post { _ in dispatchQueueDepth += 1 }"),
        BannedNames(
            names: [
                "ContinuousClock", "SuspendingClock", "Date()", "Date.now", "clock_gettime", "gettimeofday",
                "time(nil)",
            ],
            why: "reads the time behind the simulator's back", replacement: "use the reactor's clock (`ReactorClock`)",
            exceptions: ["Sources/Reactors/Backend", "Sources/CLinux"],
            passed: "let date = Update(); let now = clock.now()"),
        BannedNames(
            names: ["SystemRandomNumberGenerator", ".random(*", ".randomElement(*", ".shuffled(*", ".shuffle(*"],
            why: "draws randomness that no seed repeats",
            replacement: "use the backend's random numbers, or pass a seeded generator (`using:`)",
            exceptions: ["Sources/Reactors/Backend"], unless: ["using:"],
            passed: "let n = Int.random(in: 0..<3, using: &generator)"),
        BannedNames(
            names: [
                "UnsafeContinuation", "CheckedContinuation", "withUnsafeContinuation", "withCheckedContinuation",
                "withUnsafeThrowingContinuation", "withCheckedThrowingContinuation",
            ],
            why: "resumes through the global thread pool", replacement: "use parking (`ParkingSpot`)",
            // A group is shut down from outside its reactors, where there is nothing to park on.
            exceptions: [
                "Sources/Reactors/Executor", "Sources/Reactors/Reactor/ReactorGroup.swift",
                "Sources/Reactors/Reactor/ReactorLoop.swift",
            ],
            passed: "await loop.park(spot)"),
        BannedNames(
            names: ["Mutex"], why: "is invisible to a thread sanitizer", replacement: "use `ThreadLock`",
            exceptions: [],
            passed: "let state = ThreadLock(State())"),
        BannedNames(
            names: ["print(*", "debugPrint(*", "dump(*", "NSLog"], why: "writes to somebody else's terminal",
            replacement: "use a `Logger`, an event or an error", exceptions: ["Sources/Tools"],
            passed: "let fingerprint = footprint(of: volume)"),
        BannedNames(
            names: ["fatalError()", "preconditionFailure()", "assertionFailure()"], why: "traps without saying why",
            replacement: "use a message that says what was wrong", folders: ["Sources", "Examples"],
            passed: "preconditionFailure(message)"),
        BannedNames(
            names: ["try!"], why: "turns an operating error into a trap that does not explain itself",
            replacement: "use a typed `throws`, or `do`/`catch` with a message", folders: ["Sources", "Examples"],
            passed: "let value = try? read()"),
        BannedNames(
            names: ["as!"], why: "traps without saying why",
            replacement: "use `as?` with a message, or a type that needs no cast", folders: ["Sources", "Examples"],
            passed: "let value = any as? Int"),
        BannedNames(
            names: ["import Foundation", "import FoundationEssentials"], why: "is not for libraries",
            replacement:
                "use SystemPackage, the standard library or CLinux (`FoundationEssentials` in Sources/Control)",
            exceptions: ["Sources/Control", "Sources/Tools"], passed: "import SystemPackage"),
        BannedNames(
            names: ["import Foundation"], why: "is not for libraries", replacement: "use `import FoundationEssentials`",
            folders: ["Sources/Control", "Sources/Tools"], passed: "import FoundationEssentials"),
    ]

    var rule: Rule {
        let home = folders[0] + "/Anything"
        return Rule(
            name: "\(names[0]) is not used in \(folders.joined(separator: ", "))",
            check: { source in
                guard source.isSwift, source.isIn(folders), !source.isIn(exceptions) else { return [] }
                return names.flatMap { name in
                    source.findings("`\(name.shown)` \(why)", use: replacement) { line in
                        line.mentions(name) && !unless.contains(where: line.contains)
                    }
                }
            },
            caught: names.map { Sample("\(home)/Bad.swift", "/// A line above.\n\($0.shown) \n") },
            passed: [
                Sample("\(home)/Good.swift", passed + "\n"),
                Sample("\(home)/Comment.swift", names.map { "// \($0.shown)\nlet a = \"\($0.shown)\"\n" }.joined()),
                Sample("Tests/SomeTests/Test.swift", names.map { $0.shown + " \n" }.joined()),
            ] + exceptions.map { folder in Sample("\(folder)/Allowed.swift", names.map { $0.shown + "\n" }.joined()) })
    }
}

extension String {
    /// A banned name without the star that stands for a longer word.
    fileprivate var shown: String { hasSuffix("*") ? String(dropLast()) : self }
}

extension Rule {
    static let banned = BannedNames.table.map(\.rule)
}
