import Logging
import Reactors

/// What takes long to end says, once, what it waits for.
enum SlowEnds {
    /// After so long.
    static let patience = Duration.seconds(10)
    /// So many of the requests it waits for are named.
    private static let shownCount = 4

    static func describe(_ waiting: [OutstandingRequest]) -> String {
        var text = "\(waiting.count) requests are not complete"
        for request in waiting.sorted(by: { $0.age > $1.age }).prefix(shownCount) { text += "; \(request)" }
        return text
    }
}

extension BdevEngine {
    /// Has the logger told, once, what the removal of `bdev` waits for, unless the timer is cancelled in time.
    func watchRemoval(of bdev: RegisteredBdev) -> ReactorTimer {
        home.loop.schedule(after: SlowEnds.patience) { [home] in
            Task(executorPreference: home.taskExecutor) { await self.reportRemoval(of: bdev) }
        }
    }

    private func reportRemoval(of bdev: RegisteredBdev) async {
        var waiting: [OutstandingRequest] = []
        for reactor in reactors { waiting += await reactor.local.outstandingRequests.filter { $0.bdev == bdev.name } }
        let descriptors = await bdev.descriptors
        var text = "bdev '\(bdev.name)' of module '\(bdev.moduleName)' is still being removed after "
        text += "\(SlowEnds.patience): \(descriptors.count) descriptors are open, "
        let openingCount = descriptors.reduce(0) { $0 + $1.openingCount }
        if openingCount > 0 { text += "the module has not made \(openingCount) channels that are asked of it, " }
        logger.warning("\(text)\(SlowEnds.describe(waiting))")
    }
}

/// The same for the channels that are being closed on one reactor, by all of which one timer is used.
final class CloseWatch {
    private struct Entry {
        let face: EngineChannel
        let deadline: ReactorInstant
        var isTold = false
    }

    private let loop: ReactorLoop
    /// In the order they began to be closed.
    private var entries: [Entry] = []
    private var isTimerSet = false

    init(loop: ReactorLoop) { self.loop = loop }

    func begin(_ face: EngineChannel) {
        entries.append(Entry(face: face, deadline: loop.clock.instant.advanced(by: SlowEnds.patience)))
        setTimer()
    }

    func end(_ face: EngineChannel) { entries.removeAll { $0.face === face } }

    private func setTimer() {
        guard !isTimerSet, let next = entries.first(where: { !$0.isTold }) else { return }
        isTimerSet = true
        _ = loop.schedule(after: loop.clock.instant.duration(to: next.deadline)) { [self] in
            isTimerSet = false
            let now = loop.clock.instant
            for index in entries.indices where !entries[index].isTold && entries[index].deadline <= now {
                entries[index].isTold = true
                report(entries[index].face)
            }
            setTimer()
        }
    }

    private func report(_ face: EngineChannel) {
        let bdev = face.core.bdev
        // SAFETY: addresses are compared, not followed.
        let waiting = unsafe face.core.pool.outstandingRequests { slot in
            unsafe slot.pointee.channel?.toOpaque() == Unmanaged.passUnretained(face).toOpaque()
        }
        var text = "a channel of bdev '\(bdev.name)' on \(face.core.pool.reactor.name) is still being closed after "
        text += "\(SlowEnds.patience): "
        text += waiting.isEmpty ? "module '\(bdev.moduleName)' closes its own" : SlowEnds.describe(waiting)
        bdev.logger.warning("\(text)")
    }
}
