import Bdev
import Reactors

/// Bdevs on one device: they have the same channel on a reactor.
final class SharedDriver: BdevDriver, @unchecked Sendable {
    let device = TestDevice(.test, types: [.read])
    private var channel: TestChannel?

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel {
        if let channel { return channel }
        let made = TestChannel(device, reactor: local.reactor, requests: requests)
        channel = made
        return made
    }

    func destroy() async {}
}
