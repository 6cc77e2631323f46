import Bdev
import Reactors
import SimulatedReactors
import Synchronization

/// Something that is done now and then, and what may fail because of it.
final class Activity: Sendable {
    private let begun = Atomic<Int>(0)
    private let ended = Atomic<Int>(0)

    func begin() { begun.add(1, ordering: .sequentiallyConsistent) }
    func end() { ended.add(1, ordering: .sequentiallyConsistent) }
    /// To be remembered where an I/O begins.
    var mark: Int { ended.load(ordering: .sequentiallyConsistent) }
    var count: Int { begun.load(ordering: .sequentiallyConsistent) }
    /// Whether it was going on at some time since.
    func happened(since mark: Int) -> Bool { begun.load(ordering: .sequentiallyConsistent) > mark }

    func during<Result>(_ body: () async throws -> Result) async rethrows -> Result {
        begin()
        defer { end() }
        return try await body()
    }
}

/// What all who take part in one run share.
final class World: Sendable {
    let options: StressOptions
    let reactors: [Reactor]
    let engine: BdevEngine
    let tower: Tower
    let resets = Activity(), removals = Activity(), injections = Activity()
    /// Changes before the ground goes and when it is there again, and with it is lost what was written.
    let groundAge = Atomic<Int>(0)
    let submitted = Atomic<Int>(0)
    let completed = Atomic<Int>(0)
    private let over = Atomic<Bool>(false)
    private let findings = ThreadLock<[String]>([])
    private let doings = ThreadLock<[String: String]>([:])

    init(_ options: StressOptions, reactors: [Reactor]) {
        self.options = options
        self.reactors = reactors
        engine = BdevEngine(reactors: reactors)
        tower = Tower(engine, seed: options.seed)
    }

    var isOver: Bool { over.load(ordering: .relaxed) }
    func end() { over.store(true, ordering: .relaxed) }
    var hasBudget: Bool { submitted.load(ordering: .relaxed) < options.ioCount }

    /// Which run it was.
    var name: String { "seed \(options.seed) (\(tower.description))" }

    /// Something is not as it should be.
    func find(_ what: String) { findings.withLock { if $0.count < 20 { $0.append("\(name): \(what)") } } }
    var allFindings: [String] { findings.withLock { $0 } }

    /// What `who` does now, for the watchdog.
    func note(_ who: String, _ what: String) { doings.withLock { $0[who] = what } }

    var allDoings: String {
        doings.withLock { $0 }.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: "\n")
    }

    func pause(_ microseconds: Int, on reactor: Reactor) async {
        // Nobody cancels the tasks that pause.
        try? await reactor.local.sleep(for: .microseconds(microseconds))
    }

    // MARK: What an I/O may come to

    struct Moment {
        let resets: Int
        let removals: Int
        let injections: Int
    }

    var moment: Moment { Moment(resets: resets.mark, removals: removals.mark, injections: injections.mark) }

    /// Whether an I/O that began then may have failed so. `allowed`: by what its own user did.
    func judge(
        _ code: BdevError.Code, since moment: Moment, _ allowed: [BdevError.Code], _ what: @autoclosure () -> String
    ) {
        if allowed.contains(code) { return }
        switch code {
        case .aborted:
            if resets.happened(since: moment.resets) || removals.happened(since: moment.removals) { return }
        case .removed: if removals.happened(since: moment.removals) { return }
        case .deviceFailed: if injections.happened(since: moment.injections) { return }
        default: break
        }
        find("\(what()) failed: \(code)")
    }

    /// Does control work that may fail for these reasons only.
    func attempt(_ who: String, _ what: String, _ allowed: [BdevError.Code], _ body: () async throws -> Void) async {
        note(who, what)
        do {
            try await body()
        } catch let error as BdevError {
            if !allowed.contains(error.code) { find("\(who): \(what): \(error.code): \(error)") }
        } catch {
            find("\(who): \(what): \(error)")
        }
        note(who, "done: \(what)")
    }

    // MARK: The end

    /// What is left on the reactors although everything is over.
    func leftovers() async -> [String] {
        var found: [String] = []
        for reactor in reactors {
            let all = await reactor.run { local in
                local.outstandingRequests.map(\.description)
                    + local.bufferOccupancy.filter { $0.total != $0.available }.map {
                        "\($0.total - $0.available) buffers of \($0.byteCount) bytes are missing on \(reactor.name)"
                    }
            }
            found += all
        }
        return found
    }
}
