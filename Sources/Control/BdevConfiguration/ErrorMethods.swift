import Bdev
import ErrorBdev

/// `bdev_error_create`: makes a bdev that fails when it is told to, now or when its base comes. The result is its name.
struct ErrorCreate: ConfigurationMethod {
    struct Parameters: Sendable {
        let base: String
        let uuid: BdevUUID?
    }

    let name = "bdev_error_create"
    let module: ErrorModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(base: try reader.requiredString("base_name"), uuid: try reader.uuid("uuid"))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let name = ErrorModule.name(on: parameters.base)
        let isThere = try await module.create(on: parameters.base, uuid: parameters.uuid)
        return .stacked(.string(name), on: parameters.base, isThere: isThere) { try? await module.delete(name) }
    }
}

/// `bdev_error_inject_error`.
struct ErrorInject: ConfigurationMethod {
    struct Parameters: Sendable {
        let bdev: String
        /// nil: what there is ends.
        let injection: ErrorInjection?
    }

    let name = "bdev_error_inject_error"
    let module: ErrorModule

    private enum Effect { case failure, pending, corruption, noMemory, nvmeFailure }

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let bdev = try reader.requiredString("name")
        let operation: ErrorInjection.Operation? = try reader.requiredChoice(
            "io_type",
            [("clear", nil), ("read", .read), ("write", .write), ("unmap", .unmap), ("flush", .flush), ("all", .all)])
        let effect = try reader.requiredChoice(
            "error_type",
            [
                ("failure", Effect.failure), ("pending", .pending), ("corrupt_data", .corruption),
                ("nomem", .noMemory), ("nvme_failure", .nvmeFailure),
            ])
        let statusType = try reader.integer("nvme_sct", in: 0...7) ?? 0
        let statusCode = try reader.integer("nvme_sc", in: 0...255) ?? 0
        let offset = try reader.integer("corrupt_offset") ?? 0
        let bits = try reader.integer("corrupt_value", in: 0...255) ?? 0
        if effect == .corruption && bits == 0 {
            throw reader.error(.outOfRange, "corrupt_value", "0 corrupts nothing", advice: "use 1 to 255")
        }
        let chosen: ErrorInjection.Effect =
            switch effect {
            case .failure: .failure
            case .pending: .pending
            case .corruption: .corruption(atByte: offset, bits: UInt8(bits))
            case .noMemory: .noMemory
            case .nvmeFailure: .nvmeFailure(type: UInt8(statusType), code: UInt8(statusCode))
            }
        var injection = ErrorInjection(chosen, of: operation ?? .all)
        injection.count = Int(try reader.integer("num", in: 0...UInt64(UInt32.max)) ?? 1)
        injection.queueDepth = Int(try reader.integer("queue_depth", in: 0...UInt64(UInt32.max)) ?? 0)
        return Parameters(bdev: bdev, injection: operation == nil ? nil : injection)
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        if let injection = parameters.injection {
            try await module.inject(injection, into: parameters.bdev)
        } else {
            try await module.clear(parameters.bdev)
        }
        return ConfigurationOutcome()
    }
}

/// `bdev_error_resume_pending`.
struct ErrorResumePending: ConfigurationMethod {
    let name = "bdev_error_resume_pending"
    let module: ErrorModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.resumePending(of: bdev)
        return ConfigurationOutcome()
    }
}

/// `bdev_error_delete`.
struct ErrorDelete: ConfigurationMethod {
    let name = "bdev_error_delete"
    let module: ErrorModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.delete(bdev)
        return ConfigurationOutcome()
    }
}
