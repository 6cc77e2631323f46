public import Bdev
public import DelayBdev
public import ErrorBdev
public import LogBdev
public import MallocBdev
public import NVMeBdev
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
    public let nvme: NVMeModule

    /// - Parameters:
    ///   - uring: another than the standard one, such as one with a logger of its own.
    ///   - nvme: the same.
    public init(uring: UringModule = UringModule(), nvme: NVMeModule = NVMeModule()) {
        self.uring = uring
        self.nvme = nvme
        nvme.useBlockDevices(
            NVMeModule.BlockDevices { name, path async throws(BdevError) in
                try await uring.create(UringModule.Options(name: name, path: path))
            } delete: { name async throws(BdevError) in
                try await uring.delete(name)
            })
    }

    /// Starts all of them with `engine`.
    ///
    /// - Throws: as `BdevEngine.start(_:)`.
    public func register(with engine: BdevEngine) async throws(BdevError) {
        try await engine.start([malloc, null, uring, nvme, passthru, split, delay, error, zoneBlock, log])
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
        addNVMe(to: &registry)
        registry.add(SetLimits())
        registry.add(GetStatistics())
        registry.add(ResetStatistics())
        registry.add(SampleQueueDepth())
        registry.add(RecordLatencies())
        registry.add(GetLatencies())
        for method in AcceptedMethod.all { registry.add(method) }
        return registry
    }

    private func addNVMe(to registry: inout ConfigurationRegistry) {
        registry.add(NVMeAttach(module: nvme))
        registry.add(NVMeDetach(module: nvme))
        registry.add(NVMeReset(module: nvme))
        registry.add(NVMeSetOptions(module: nvme))
        registry.add(NVMeSetHotplug(module: nvme))
        registry.add(NVMeGetControllers(module: nvme))
        registry.add(NVMeGetPaths(module: nvme))
        registry.add(NVMeGetPathStatistics(module: nvme))
        registry.add(NVMeGetHealth(module: nvme))
        registry.add(NVMeSetPreferredPath(module: nvme))
        registry.add(NVMeSetPolicy(module: nvme))
        registry.add(NVMeSwitch(module: nvme, isOn: true))
        registry.add(NVMeSwitch(module: nvme, isOn: false))
        registry.add(NVMeApplyFirmware(module: nvme))
        registry.add(NVMeGetTransportStatistics(module: nvme))
        registry.add(NVMeAddInjection(module: nvme))
        registry.add(NVMeRemoveInjection(module: nvme))
        registry.add(NVMeSendCommand(module: nvme))
    }
}
