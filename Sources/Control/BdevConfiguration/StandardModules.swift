public import Bdev
public import MallocBdev
public import NullBdev

/// The modules of this package that a configuration can make bdevs with, and the methods to do it.
public struct StandardModules: Sendable {
    public let malloc = MallocModule()
    public let null = NullModule()

    public init() {}

    /// Registers each of them with `engine`.
    ///
    /// - Throws: as `BdevEngine.register(_:)`; those that were registered stay so until the engine stops.
    public func register(with engine: BdevEngine) async throws(BdevError) {
        try await engine.register(malloc)
        try await engine.register(null)
    }

    /// The methods that make and delete their bdevs, and those that are accepted for the sake of saved configurations.
    public var methods: ConfigurationRegistry {
        var registry = ConfigurationRegistry()
        registry.add(MallocCreate(module: malloc))
        registry.add(MallocDelete(module: malloc))
        registry.add(NullCreate(module: null))
        registry.add(NullDelete(module: null))
        for method in AcceptedMethod.all { registry.add(method) }
        return registry
    }
}
