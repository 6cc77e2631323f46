public import Bdev
public import Reactors

/// What every bdev must do, as checks that a module's author runs from tests of their own.
///
/// ```swift
/// try await ConformanceSuite(engine: engine, bdev: "Mine0").run()
/// ```
///
/// A bdev with zones is written as zones are, by checks of its own; the others are for bdevs without.
///
/// It depends on no test framework: the first check that fails is thrown as a ``ConformanceFailure``. **The bdev's
/// contents are destroyed.** It must be open nowhere else and hold at least 4 MiB.
public struct ConformanceSuite: Sendable {
    /// What the suite may expect and how long it takes.
    public struct Options: Sendable {
        /// What is written can be read back. False for bdevs that discard it: data is not compared then.
        public var keepsData = true
        /// Blocks read as zeros after an unmap. False: they may read as anything.
        public var zeroesUnmappedBlocks = false
        /// The bdev is opened without the metadata of its blocks: the data written here does not have the protection
        /// information that the bdev would check.
        public var hidesMetadata = false
        /// Where random offsets and data come from. Failures name it.
        public var seed: UInt64 = 0x5EED
        /// Random operations of each worker in the checks with many at once.
        public var operationCount = 200
        /// Workers on each reactor in those checks.
        public var workerCount = 8

        public init() {}
    }

    public let engine: BdevEngine
    /// The bdev's name.
    public let bdev: String
    public let options: Options
    /// The first is used for everything; the second, if there is one, in the checks with many at once.
    public let reactors: [Reactor]

    /// A suite for the bdev of this name. It runs on `reactors`, which are of `engine`; nil: on all of them.
    public init(engine: BdevEngine, bdev: String, reactors: [Reactor]? = nil, options: Options = Options()) {
        let chosen = reactors ?? engine.reactors
        precondition(!chosen.isEmpty, "a conformance suite runs on at least one reactor")
        self.engine = engine
        self.bdev = bdev
        self.options = options
        self.reactors = chosen
    }

    /// The names of all checks, in the order they run.
    public static var checkNames: [String] { Check.all.map { $0.name } }

    /// Runs every check that is for a bdev of its kind.
    ///
    /// - Throws: `ConformanceFailure` with the first thing that is wrong.
    public func run() async throws {
        for check in Check.all { try await run(check) }
    }

    /// Runs one check, if it is for a bdev of this kind.
    ///
    /// - Parameter name: one of ``checkNames``.
    /// - Throws: `ConformanceFailure`.
    public func run(_ name: String) async throws {
        guard let check = Check.all.first(where: { $0.name == name }) else {
            throw failure(of: name, "there is no such check")
        }
        try await run(check)
    }

    func open(mode: BdevDescriptor.Mode) async throws(BdevError) -> BdevDescriptor {
        if options.hidesMetadata { return try await engine.openHidingMetadata(bdev, mode: mode) }
        return try await engine.open(bdev, mode: mode)
    }

    private func run(_ check: Check) async throws {
        let descriptor: BdevDescriptor
        do {
            descriptor = try await open(mode: .readWrite)
        } catch {
            throw failure(of: check.name, "cannot be opened: \(error)")
        }
        if check.isForZones != (descriptor.geometry.zones != nil) { return await descriptor.close() }
        do {
            if descriptor.geometry.byteCount < 4 << 20 {
                throw failure(of: check.name, "the bdev is smaller than the 4 MiB this suite needs")
            }
            let pattern = try Pattern(seed: options.seed, blockByteCount: descriptor.blockByteCount)
            try await check.body(Scene(suite: self, check: check.name, descriptor: descriptor, pattern: pattern))
            await descriptor.close()
        } catch {
            await descriptor.close()
            if error is ConformanceFailure { throw error }
            throw failure(of: check.name, "\(error)")
        }
    }

    func failure(of check: String, _ message: String) -> ConformanceFailure {
        ConformanceFailure(check: check, bdev: bdev, message: message, seed: options.seed)
    }
}

/// What a bdev did that it must not do, or the reverse.
public struct ConformanceFailure: Error, Sendable, CustomStringConvertible {
    /// The check's name.
    public let check: String
    public let bdev: String
    /// What is wrong, and where.
    public let message: String
    /// Of the random offsets and data: the same seed fails in the same way.
    public let seed: UInt64

    /// One line.
    public var description: String { "\(bdev): \(check): \(message) (seed \(seed))" }
}

/// One thing every bdev must do.
struct Check: Sendable {
    let name: String
    /// Whether it is for bdevs with zones, or for those without.
    var isForZones = false
    let body: @Sendable (Scene) async throws -> Void

    static let all = basics + refusals + ranges + crowds + faces + zones
}

/// What a check is given.
struct Scene: Sendable {
    let suite: ConformanceSuite
    let check: String
    let descriptor: BdevDescriptor
    let pattern: Pattern

    var reactor: Reactor { suite.reactors[0] }
    var keepsData: Bool { suite.options.keepsData }
    var blockByteCount: Int { descriptor.blockByteCount }
    var blockCount: UInt64 { descriptor.blockCount }

    func failure(_ message: String) -> ConformanceFailure { suite.failure(of: check, message) }

    /// Blocks that hold at least this many bytes.
    func blocks(_ byteCount: Int) -> Int { (byteCount + blockByteCount - 1) / blockByteCount }

    /// Runs `body` on the first reactor with a channel there.
    func onChannel(_ body: @Sendable (isolated BdevChannel) async throws -> Void) async throws {
        try await descriptor.withChannel(on: reactor, body)
    }

    /// `body` must throw a `BdevError` of this code.
    nonisolated(nonsending) func expect(
        _ code: BdevError.Code, from what: String, _ body: nonisolated(nonsending) () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch {
            if let error = error as? BdevError, error.code == code { return }
            throw failure("\(what) ended with '\(error)' instead of \(code)")
        }
        throw failure("\(what) succeeded, and should have been refused as \(code)")
    }
}
