public import Bdev
public import DelayBdev
public import ErrorBdev
public import LogBdev
public import MallocBdev
public import NullBdev
public import PassthruBdev
public import SplitBdev
public import UringBdev
public import ZoneBlockBdev

/// The modules of this package that a configuration can make bdevs with, and the methods to do it.
public struct StandardModules: Sendable {
    public let log = LogModule()
    public let malloc = MallocModule()
    public let null = NullModule()
    public let passthru = PassthruModule()
    public let split = SplitModule()
    public let delay = DelayModule()
    public let error = ErrorModule()
    public let zoneBlock = ZoneBlockModule()
    public let uring: UringModule

    /// - Parameter uring: another than the standard one, such as one with a logger of its own.
    public init(uring: UringModule = UringModule()) { self.uring = uring }

    /// Starts all of them with `engine`.
    ///
    /// - Throws: as `BdevEngine.start(_:)`.
    public func register(with engine: BdevEngine) async throws(BdevError) {
        try await engine.start([malloc, null, uring, passthru, split, delay, error, zoneBlock, log])
    }

    /// The methods that make and delete their bdevs, and those that are accepted for the sake of saved configurations.
    public var methods: ConfigurationRegistry {
        var registry = ConfigurationRegistry()
        registry.add(MallocCreate(module: malloc))
        registry.add(MallocDelete(module: malloc))
        registry.add(NullCreate(module: null))
        registry.add(NullDelete(module: null))
        registry.add(NullResize(module: null))
        registry.add(PassthruCreate(module: passthru))
        registry.add(PassthruDelete(module: passthru))
        registry.add(SplitCreate(module: split))
        registry.add(SplitDelete(module: split))
        registry.add(DelayCreate(module: delay))
        registry.add(DelayDelete(module: delay))
        registry.add(DelayUpdateLatency(module: delay))
        registry.add(ErrorCreate(module: error))
        registry.add(ErrorDelete(module: error))
        registry.add(ErrorInject(module: error))
        registry.add(ErrorResumePending(module: error))
        registry.add(ZoneBlockCreate(module: zoneBlock))
        registry.add(ZoneBlockDelete(module: zoneBlock))
        registry.add(Examine())
        registry.add(WaitForExamine())
        registry.add(LogCreate(module: log))
        registry.add(LogDelete(module: log))
        for kind in ["bdev_uring", "bdev_aio"] {
            registry.add(UringCreate(name: "\(kind)_create", module: uring))
            registry.add(UringDelete(name: "\(kind)_delete", module: uring))
            registry.add(UringRescan(name: "\(kind)_rescan", module: uring))
        }
        registry.add(SetLimits())
        registry.add(GetStatistics())
        registry.add(ResetStatistics())
        registry.add(SampleQueueDepth())
        registry.add(RecordLatencies())
        registry.add(GetLatencies())
        for method in AcceptedMethod.all { registry.add(method) }
        return registry
    }
}
