package import NVMeDriver
package import NVMeSoftController
package import Reactors
package import ToolSupport

/// A controller that a tool is pointed at.
package enum Device: Sendable, Hashable {
    case pci(PCIAddress)
    /// One in this process, made of memory.
    case soft

    /// - Throws: `UsageError`: `text` is no PCI address.
    package init(parsing text: String) throws(UsageError) {
        guard let address = PCIAddress(text) else {
            throw UsageError("'\(text)' is no PCI address; write one such as 0000:3b:00.0, or --soft")
        }
        self = .pci(address)
    }
}

/// Starts reactors, and ends them however `body` ends.
package func withReactors<Result: Sendable>(
    _ cores: CoreList = .first, options: ReactorOptions = ReactorOptions(),
    _ body: (ReactorGroup) async throws -> Result
) async throws -> Result {
    let group = try ReactorGroup(cores: cores, options: options)
    do {
        let result = try await body(group)
        await group.shutDown()
        return result
    } catch {
        await group.shutDown()
        throw error
    }
}

/// Brings controllers up, dealt over the reactors of `group`, and gives them back however `body` ends.
///
/// `soft`: what one in this process is like.
package func withControllers<Result: Sendable>(
    _ devices: [Device], on group: ReactorGroup, options: NVMeController.Options, soft: SoftController.Options,
    _ body: ([NVMeController]) async throws -> Result
) async throws -> Result {
    var controllers: [NVMeController] = []
    do {
        for (index, device) in devices.enumerated() {
            let reactor = group.reactors[index % group.reactors.count]
            switch device {
            case .pci(let address):
                controllers.append(
                    try await NVMeController.attach(pciAddress: address, on: reactor, options: options))
            case .soft:
                let made = try await reactor.run { local in try SoftController(soft, on: local) }
                controllers.append(try await made.attach(on: reactor, options: options))
            }
        }
        let result = try await body(controllers)
        for controller in controllers { await controller.detach() }
        return result
    } catch {
        for controller in controllers { await controller.detach() }
        throw error
    }
}
