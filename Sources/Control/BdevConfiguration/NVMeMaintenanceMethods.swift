import Bdev
import NVMeBdev
import NVMeDriver
import Reactors

/// `bdev_nvme_enable_controller` and `bdev_nvme_disable_controller`: all controllers of a name, or the one with
/// `cntlid`.
struct NVMeSwitch: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var id: UInt16?
    }

    let name: String
    let module: NVMeModule
    private let isOn: Bool

    init(module: NVMeModule, isOn: Bool) {
        name = isOn ? "bdev_nvme_enable_controller" : "bdev_nvme_disable_controller"
        self.module = module
        self.isOn = isOn
    }

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            controller: try reader.requiredString("name"),
            id: try reader.integer("cntlid", in: 0...65_535).map { UInt16($0) })
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        if isOn {
            try await module.enable(parameters.controller, controllerID: parameters.id)
        } else {
            try await module.disable(parameters.controller, controllerID: parameters.id)
        }
        return ConfigurationOutcome()
    }
}

/// `bdev_nvme_apply_firmware`: gives an image from a file to the controller of a bdev, and resets it.
struct NVMeApplyFirmware: ConfigurationMethod {
    struct Parameters: Sendable {
        var file: String
        var bdev: String
    }

    let name = "bdev_nvme_apply_firmware"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(file: try reader.requiredString("filename"), bdev: try reader.requiredString("bdev_name"))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.applyFirmware(try Self.read(parameters.file), to: parameters.bdev)
        return ConfigurationOutcome(result: .string("The controller uses the new firmware."))
    }

    /// No image is as large.
    private static let longest = 64 << 20

    private static func read(_ path: String) throws(BdevError) -> [UInt8] {
        let image: [UInt8]
        do {
            image = try SystemTree.bytes(path, limit: longest + 1)
        } catch {
            throw BdevError(.invalidArgument, "the firmware image '\(path)' cannot be read: \(error)")
        }
        if image.isEmpty || image.count > longest {
            throw BdevError(
                .invalidArgument, "'\(path)' is empty or longer than \(longest) bytes: it is no firmware image")
        }
        return image
    }
}

/// `bdev_nvme_get_transport_statistics`: what the queue pairs have done, by reactor.
struct NVMeGetTransportStatistics: ConfigurationMethod {
    struct Parameters: Sendable {}

    let name = "bdev_nvme_get_transport_statistics"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters { Parameters() }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let all = await module.queueStatistics()
        let groups: [JSONValue] = Set(all.map(\.reactor)).sorted().map { reactor in
            func sum(_ key: KeyPath<NVMeQueuePair.Statistics, UInt64>) -> JSONValue {
                .unsigned(all.filter { $0.reactor == reactor }.reduce(0) { $0 + $1.counters[keyPath: key] })
            }
            let transport: [String: JSONValue] = [
                "trname": .string("PCIE"), "polls": sum(\.polls), "idle_polls": sum(\.idlePolls),
                "completions": sum(\.completed), "submitted_requests": sum(\.submitted),
                "queued_requests": sum(\.queued), "sq_mmio_doorbell_updates": sum(\.submissionDoorbells),
                "cq_mmio_doorbell_updates": sum(\.completionDoorbells),
            ]
            return .object(["thread": .string(reactor), "transports": .array([.object(transport)])])
        }
        return ConfigurationOutcome(result: .object(["poll_groups": .array(groups)]))
    }
}

/// `bdev_nvme_add_error_injection`.
struct NVMeAddInjection: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var queues: NVMeController.QueueKind
        var injection: ErrorInjection
        var notice: String?
    }

    let name = "bdev_nvme_add_error_injection"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let controller = try reader.requiredString("name"), queues = try NVMeController.QueueKind(&reader)
        let opcode = UInt8(try reader.requiredInteger("opc", in: 0...255))
        let count = try reader.integer("err_count", in: 1...UInt64(Int32.max)) ?? 1
        let type = try reader.integer("sct", in: 0...7) ?? 0, code = try reader.integer("sc", in: 0...255) ?? 0
        let isKept = try reader.bool("do_not_submit") ?? false
        try reader.only("timeout_in_us", .unsigned(0), because: "a command that fails here does so at once")
        let status = NVMeStatus(type: UInt8(type), code: UInt8(code))
        return Parameters(
            controller: controller, queues: queues,
            injection: ErrorInjection(opcode: opcode, count: Int(count), status: status),
            notice: isKept ? nil : "the commands are not given to the controller, as with do_not_submit")
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let module = module
        try await module.inject(parameters.injection, into: parameters.queues, of: parameters.controller)
        return ConfigurationOutcome(notice: parameters.notice) {
            try? await module.removeInjections(
                opcode: parameters.injection.opcode, from: parameters.queues, of: parameters.controller)
        }
    }
}

/// `bdev_nvme_remove_error_injection`.
struct NVMeRemoveInjection: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var queues: NVMeController.QueueKind
        var opcode: UInt8
    }

    let name = "bdev_nvme_remove_error_injection"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            controller: try reader.requiredString("name"), queues: try NVMeController.QueueKind(&reader),
            opcode: UInt8(try reader.requiredInteger("opc", in: 0...255)))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.removeInjections(
            opcode: parameters.opcode, from: parameters.queues, of: parameters.controller)
        return ConfigurationOutcome()
    }
}

extension NVMeController.QueueKind {
    init(_ reader: inout ParameterReader) throws(ConfigurationError) {
        self = try reader.requiredChoice("cmd_type", [("admin", .admin), ("io", .io)])
    }
}
