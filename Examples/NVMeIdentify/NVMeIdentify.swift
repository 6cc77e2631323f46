import ArgumentParser
import Logging
import NVMeDriver
import NVMeSoftController
import NVMeTools
import Reactors
import ToolSupport

/// The command line.
struct Options: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "nvme-identify")

    @Argument(help: "PCI addresses of controllers that are bound to vfio-pci, such as 0000:3b:00.0.")
    var addresses: [String] = []
    @Flag(name: .customLong("soft"), help: "Show a controller in this process, made of memory.")
    var usesSoft = false
    @Flag(help: "List the NVMe controllers of the machine, and why they cannot be used. (default without an address)")
    var list = false
    @Flag(help: "Take the controllers from the kernel's driver and give them to vfio-pci, then list. Wants root.")
    var bind = false
    @Flag(help: "Give the controllers back to the kernel's driver, then list. Wants root.")
    var unbind = false
    @Flag(help: "--bind: also those that are in use or carry data.")
    var force = false
    @Flag(help: "Print JSON.")
    var json = false
    @Option(help: .hidden)
    var root = "/"

    func devices() throws(UsageError) -> [Device] {
        var devices: [Device] = []
        for address in addresses { devices.append(try Device(parsing: address)) }
        if Set(devices).count < devices.count { throw UsageError("a controller is named twice; name each once") }
        if usesSoft { devices.append(.soft) }
        if bind && unbind { throw UsageError("--bind and --unbind exclude each other; leave one out") }
        if force && !bind { throw UsageError("--force goes with --bind; leave it out") }
        if (bind || unbind) && addresses.isEmpty {
            throw UsageError("--\(bind ? "bind" : "unbind") wants the PCI address of a controller; see --list")
        }
        if list && !devices.isEmpty && !bind && !unbind {
            throw UsageError("--list lists all controllers; leave the address out")
        }
        return devices
    }
}

@main
struct NVMeIdentify {
    /// 0: done. 2: the command line or the machine does not allow it.
    static func main() async {
        await Tool.run(Options.self) { options in
            let devices = try options.devices()
            if options.bind || options.unbind { try rebind(devices, options) }
            if options.bind || options.unbind || devices.isEmpty {
                let list = DeviceList(in: SystemTree(root: options.root))
                Tool.print(options.json ? list.json.text(depth: 2) + "\n" : list.text)
                return 0
            }
            let reports = try await reports(devices)
            if options.json {
                let document: JSON = ["controllers": .array(reports.map(\.json))]
                Tool.print(document.text() + "\n")
            } else {
                Tool.print(reports.map(\.text).joined(separator: "\n"))
            }
            return 0
        }
    }

    private static func rebind(_ devices: [Device], _ options: Options) throws {
        for case .pci(let address) in devices {
            guard let function = PCIFunction(address) else {
                throw UsageError("there is no PCI function \(address); see nvme-identify --list")
            }
            if !function.isNVMe { throw UsageError("\(address) is no NVMe controller; see nvme-identify --list") }
            if options.bind { try function.bindToVFIO(force: options.force) } else { try function.bindToKernel() }
        }
    }

    private static func reports(_ devices: [Device]) async throws -> [ControllerReport] {
        // One look, which shares its core with whoever has it.
        var reactorOptions = ReactorOptions()
        reactorOptions.locksCores = false
        var soft = SoftController.Options()
        soft.namespaces = [SoftNamespaceOptions(blockCount: 65_536), SoftNamespaceOptions(blockCount: 8192)]
        soft.namespaces[1].dataByteCount = 4096
        var options = NVMeController.Options()
        options.logger = Logger(label: "nvme-identify") { _ in SwiftLogNoOpLogHandler() }
        return try await withReactors(options: reactorOptions) { group in
            try await withControllers(devices, on: group, options: options, soft: soft) { controllers in
                var reports: [ControllerReport] = []
                for controller in controllers { reports.append(try await ControllerReport(of: controller)) }
                return reports
            }
        }
    }
}
