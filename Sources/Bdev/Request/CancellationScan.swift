import Reactors

/// Looks, while tasks wait for I/O, whether one of them has been cancelled: every 10 ms, so that an I/O itself pays
/// nothing for it.
final class CancellationScan: Poller {
    static let period = Duration.milliseconds(10)
    private unowned let pool: RequestPool

    init(pool: RequestPool) {
        self.pool = pool
        super.init(name: "bdev cancellation")
    }

    override func poll() -> PollResult {
        pool.scanForCancellation()
        return .idle
    }
}
