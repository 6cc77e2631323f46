import Reactors

/// Where a module keeps the host it was started with.
public final class HostSlot: Sendable {
    private let host = ThreadLock<BdevModuleHost?>(nil)

    public init() {}

    public func fill(_ host: BdevModuleHost) { self.host.withLock { $0 = host } }

    /// Traps when the module has not been registered with an engine.
    public var value: BdevModuleHost {
        guard let host = host.withLock({ $0 }) else {
            preconditionFailure("register the module with an engine before making bdevs with it")
        }
        return host
    }
}
