import Bdev
import Reactors

/// Behind one logged bdev.
final class LogDriver: BdevDriver {
    let store: LogStore
    private let base: BdevDescriptor
    private let log: BdevDescriptor?

    init(_ store: LogStore, _ base: BdevDescriptor, _ log: BdevDescriptor?) {
        self.store = store
        self.base = base
        self.log = log
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        let below = try await base.channel(on: local.reactor)
        do throws(BdevError) {
            let logBelow = try await log?.channel(on: local.reactor)
            return LogChannel(store, on: local, below: below, log: logBelow, requests: requests)
        } catch {
            await below.close()
            throw error
        }
    }
}
