import Logging
import Reactors

extension BdevEngine {
    /// After which a removal says what it waits for.
    private static let patience = Duration.seconds(10)
    /// So many of the requests it waits for are named.
    private static let shownCount = 4

    /// Has the logger told, once, what the removal of `bdev` waits for, unless the timer is cancelled in time.
    func watchRemoval(of bdev: RegisteredBdev) -> ReactorTimer {
        home.loop.schedule(after: Self.patience) { [home] in
            Task(executorPreference: home.taskExecutor) { await self.reportRemoval(of: bdev) }
        }
    }

    private func reportRemoval(of bdev: RegisteredBdev) async {
        var waiting: [OutstandingRequest] = []
        for reactor in reactors { waiting += await reactor.local.outstandingRequests.filter { $0.bdev == bdev.name } }
        let openCount = await bdev.descriptors.count
        var text = "bdev '\(bdev.name)' of module '\(bdev.moduleName)' is still being removed after \(Self.patience): "
        text += "\(openCount) descriptors are open, \(waiting.count) requests are not complete"
        for request in waiting.sorted(by: { $0.age > $1.age }).prefix(Self.shownCount) { text += "; \(request)" }
        logger.warning("\(text)")
    }
}
