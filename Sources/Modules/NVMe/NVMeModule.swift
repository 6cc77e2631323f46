public import Bdev
public import Logging
public import NVMeDriver
import Reactors

/// Makes a bdev of each namespace of an NVMe controller that this process drives itself.
///
/// A namespace `id` of a controller attached as `Nvme0` is the bdev `Nvme0n<id>`; its UUID is the namespace's own,
/// where it has one.
public final class NVMeModule: BdevModule {
    public let name = "nvme"
    private let host = HostSlot()
    private let logger: Logger
    private let controllers = ThreadLock<[String: AttachedController]>([:])

    /// - Parameter logger: what is worth knowing but is no error goes there, at notice.
    public init(logger: Logger = Logger(label: "swift-bdev.nvme")) { self.logger = logger }

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    public func stop() async {
        for attached in controllers.withLock({ Array($0.values) }) { await attached.controller.detach() }
        controllers.withLock { $0 = [:] }
    }

    /// Makes bdevs of all namespaces of `controller`, which is this module's from here on.
    ///
    /// - Parameters:
    ///   - controller: one that is ready.
    ///   - name: what the bdevs' names begin with.
    /// - Returns: the bdevs' names.
    /// - Throws: `nameInUse` when another controller or bdev has the name; what registering throws. The controller is
    ///   the caller's again then.
    public func add(_ controller: NVMeController, as name: String) async throws(BdevError) -> [String] {
        let attached = AttachedController(controller, name: name)
        let isFree = controllers.withLock { controllers in
            if controllers[name] != nil { return false }
            controllers[name] = attached
            return true
        }
        if !isFree { throw BdevError(.nameInUse, "a controller named '\(name)' is attached already") }
        var names: [String] = []
        do throws(BdevError) {
            for namespace in await controller.namespaces {
                let properties = await attached.properties(of: namespace)
                let driver = NamespaceDriver(attached, namespace, name: properties.name)
                try await host.value.register(properties, driver: driver)
                names.append(properties.name)
            }
        } catch {
            for made in names { try? await host.value.unregister(made) }
            controllers.withLock { $0[name] = nil }
            throw error
        }
        attached.setBdevs(names)
        return names
    }

    /// Removes a controller's bdevs, waits until everyone has closed them, and gives the device back.
    ///
    /// - Throws: `noSuchBdev` when no controller has this name.
    public func detach(_ name: String) async throws(BdevError) {
        guard let attached = controllers.withLock({ $0[name] }) else {
            throw BdevError(.noSuchBdev, "no controller named '\(name)' is attached")
        }
        for bdev in attached.bdevs { try? await host.value.unregister(bdev) }
        await attached.controller.detach()
        controllers.withLock { $0[name] = nil }
    }
}
