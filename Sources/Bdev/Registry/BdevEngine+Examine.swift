import Logging
import Reactors
import Synchronization

/// One walk of modules over one bdev: keeps the bdev from going away meanwhile.
final class Examination: Sendable {
    let bdev: RegisteredBdev
    /// Nobody else's: a removal waits for it to be closed.
    let descriptor: BdevDescriptor
    /// The walk, and the calls of `examineDisk` that are not over.
    private let parts = Atomic(1)

    init(of bdev: RegisteredBdev) {
        self.bdev = bdev
        descriptor = BdevDescriptor(bdev: bdev, mode: .readOnly)
    }

    func enter() { parts.add(1, ordering: .relaxed) }

    /// Whether this was the last part.
    func leave() -> Bool { parts.subtract(1, ordering: .relaxed).newValue == 0 }

    /// Those that the running task is part of. A removal from inside an examination does not wait for that one, which
    /// would wait for the removal.
    @TaskLocal static var current: [Examination] = []
}

extension BdevEngine {
    // MARK: Asking for it

    /// Has a bdev examined although not all are, now if it is there, and whenever one is registered under this name or
    /// alias (SPDK: `spdk_bdev_examine`). Returns when every module's `examineConfiguration` has; ``waitForExamine()``
    /// waits for the rest.
    ///
    /// - Throws: `invalidArgument` when all bdevs are examined by themselves, `nameInUse` when this name has been given
    ///   before.
    public func examine(_ name: String) async throws(BdevError) {
        if automaticallyExamines {
            throw BdevError(
                .invalidArgument, bdev: name, "cannot ask for an examination: every bdev is examined by itself",
                advice: "make the engine with automaticallyExamines: false")
        }
        if allowList.contains(name) {
            throw BdevError(.nameInUse, bdev: name, "the examination of this name has been asked for before")
        }
        allowList.append(name)
        if let bdev = names[name] { await examine(bdev, by: examiners(of: bdev)) }
    }

    /// What ``examine(_:)`` was called with, in that order, without those whose bdev has been removed since.
    public var examinedNames: [String] { allowList }

    /// Returns when no bdev is being examined. Not from inside a module's examination: it would wait for itself.
    public func waitForExamine() async {
        while examinationCount > 0 { await changes.wait() }
    }

    // MARK: Examining

    /// The modules that have to examine a bdev now.
    func examiners(of bdev: RegisteredBdev) -> [ModuleEntry] {
        mayExamine(bdev) ? modules.filter { $0.virtual != nil && $0.phase == .active } : []
    }

    private func mayExamine(_ bdev: RegisteredBdev) -> Bool {
        bdev.supportedTypes.contains(.read) && (automaticallyExamines || allowList.contains { names[$0] === bdev })
    }

    /// A module has started: it examines the bdevs that are there. Those that come later it examines in turn with the
    /// others.
    func activate(_ entry: ModuleEntry) async {
        entry.phase = .active
        if entry.virtual == nil { return }
        let present = bdevs.filter(mayExamine)
        for bdev in present { await examine(bdev, by: [entry]) }
    }

    /// Calls `examineConfiguration` of each module, in their order, and then, in tasks of their own, the `examineDisk`s
    /// that the claims made by then leave over. Returns when those have begun.
    func examine(_ bdev: RegisteredBdev, by entries: [ModuleEntry]) async {
        if entries.isEmpty { return }
        let examination = Examination(of: bdev)
        // Refused to one that is on its way out already.
        guard await bdev.begin(examination) else { return }
        examinationCount += 1
        let examinations = Examination.current + [examination]
        await Examination.$current.withValue(examinations) {
            for entry in entries { await examineConfiguration(bdev, by: entry) }
            let claims = await bdev.claims.map(\.claim)
            for entry in Self.diskExaminers(among: entries, claims) { begin(examination, by: entry) }
        }
        await leave(examination)
    }

    private func begin(_ examination: Examination, by entry: ModuleEntry) {
        guard let module = entry.virtual else { return }
        examination.enter()
        Task(executorPreference: home.taskExecutor) {
            await self.examineDisk(examination.bdev, by: module)
            await self.leave(examination)
        }
    }

    /// Whose `examineDisk` is called: everyone's while nobody has claimed the bdev, otherwise those of the claimers, in
    /// the order of their claims.
    private static func diskExaminers(among entries: [ModuleEntry], _ claims: [BdevClaim]) -> [ModuleEntry] {
        if claims.isEmpty { return entries }
        var result: [ModuleEntry] = []
        for claim in claims {
            if let entry = entries.first(where: { $0.name == claim.module }), !result.contains(where: { $0 === entry })
            {
                result.append(entry)
            }
        }
        return result
    }

    private func examineConfiguration(_ bdev: RegisteredBdev, by entry: ModuleEntry) async {
        guard let module = entry.virtual, isAsked(module, about: bdev) else { return }
        do throws(BdevError) {
            try await module.examineConfiguration(bdev.info(), host: BdevModuleHost(engine: self, module: module.name))
        } catch {
            report(module, bdev, error)
        }
    }

    private func examineDisk(_ bdev: RegisteredBdev, by module: any VirtualBdevModule) async {
        if !isAsked(module, about: bdev) { return }
        do throws(BdevError) {
            try await module.examineDisk(bdev.info(), host: BdevModuleHost(engine: self, module: module.name))
        } catch {
            report(module, bdev, error)
        }
    }

    /// Neither is going away.
    private func isAsked(_ module: any VirtualBdevModule, about bdev: RegisteredBdev) -> Bool {
        !bdev.isRemoved && modules.contains { $0.module === module && $0.phase == .active }
    }

    private func report(_ module: any VirtualBdevModule, _ bdev: RegisteredBdev, _ error: BdevError) {
        // To come second where another module has claimed the bdev is no failure.
        let level: Logger.Level = error.code == .claimed ? .debug : .warning
        logger.log(level: level, "module '\(module.name)' could not examine '\(bdev.name)': \(error)")
    }

    private func leave(_ examination: Examination) async {
        if !examination.leave() { return }
        await examination.descriptor.close()
        if await examination.bdev.endExamination() { hub.send(.registered(examination.bdev.name)) }
        examinationCount -= 1
        changes.signal()
    }
}
