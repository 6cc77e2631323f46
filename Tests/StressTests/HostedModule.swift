import Bdev
import Reactors

/// Another module, whose host the test has too: what is asked of a module's own bdevs can be asked for it.
class HostedModule: BdevModule, @unchecked Sendable {
    // Sendable unchecked: it has constants only.
    let inner: any BdevModule
    let host = HostSlot()

    init(_ inner: any BdevModule) { self.inner = inner }

    var name: String { inner.name }
    var requestScratchByteCount: Int { inner.requestScratchByteCount }

    func start(_ host: BdevModuleHost) async throws(BdevError) {
        self.host.fill(host)
        try await inner.start(host)
    }

    func startCompleted() async { await inner.startCompleted() }
    func willStop() async { await inner.willStop() }
    func stop() async { await inner.stop() }
}

final class HostedVirtualModule: HostedModule, VirtualBdevModule, @unchecked Sendable {
    private let virtual: any VirtualBdevModule

    init(_ virtual: any VirtualBdevModule) {
        self.virtual = virtual
        super.init(virtual)
    }

    func examineConfiguration(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {
        try await virtual.examineConfiguration(bdev, host: host)
    }

    func examineDisk(_ bdev: BdevInfo, host: BdevModuleHost) async throws(BdevError) {
        try await virtual.examineDisk(bdev, host: host)
    }
}

/// A module without bdevs, which claims those of others.
final class ClaimingModule: BdevModule {
    let name = "claimer"
    let host = HostSlot()

    func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }
}
