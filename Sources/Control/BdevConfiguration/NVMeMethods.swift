import Bdev
import NVMeBdev
import NVMeDriver

/// `bdev_nvme_attach_controller`: makes bdevs of the namespaces of a controller, or adds it as another path to those of
/// the same name. Its answer is a list of their names. `traddr` may also be a device file of the kernel's driver.
struct NVMeAttach: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var address: NVMeAddress
        var options = NVMeModule.AttachOptions()
        var recovery: RecoveryParameters
    }

    let name = "bdev_nvme_attach_controller"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let controller = try reader.requiredString("name")
        try reader.requirePCIe(isOptional: false)
        guard let address = try reader.nvmeAddress("traddr") else { throw reader.missing("traddr") }
        try reader.refuseFabrics()
        var result = Parameters(
            controller: controller, address: address, recovery: try RecoveryParameters(&reader))
        if try reader.bool("prchk_guard") ?? false { result.options.checks.insert(.guard) }
        if try reader.bool("prchk_reftag") ?? false { result.options.checks.insert(.referenceTag) }
        if try reader.string("multipath") != nil {
            // Another address of the same controller is another path here.
            result.options.allowsMultipath = try reader.requiredChoice(
                "multipath", [("disable", false), ("failover", true), ("multipath", true)])
        }
        result.options.subsystemName = try reader.string("subnqn")
        if let limit = try reader.integer("max_bdevs", in: 1...1024) { result.options.bdevCountLimit = Int(limit) }
        if let count = try reader.integer("num_io_queues", in: 1...65_535) {
            result.options.queuePairCount = Int(count)
        }
        try reader.only(
            "allow_unrecognized_csi", .bool(false), because: "namespaces of unknown command sets have no blocks to read"
        )
        try reader.only(
            "multipath_opts", .null, because: "the policy is set for each bdev (bdev_nvme_set_multipath_policy)")
        return result
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        var options = parameters.options
        options.recovery = parameters.recovery.merged(into: module.options.recovery)
        let names = try await module.attach(parameters.controller, at: parameters.address, options: options)
        let module = module
        return ConfigurationOutcome(result: .array(names.map(JSONValue.string))) {
            try? await module.detach(parameters.controller, at: "\(parameters.address)")
        }
    }
}

/// What is done when a controller is lost, as far as a call says; the rest is as the module's options say.
struct RecoveryParameters: Sendable {
    /// -1: for ever.
    var lossTimeout: Int64?
    var reconnectDelay: UInt64?
    var fastFailTimeout: UInt64?

    init(_ reader: inout ParameterReader) throws(ConfigurationError) {
        let seconds = UInt64(Int32.max)
        if reader.isMinusOne("ctrlr_loss_timeout_sec") {
            lossTimeout = -1
        } else {
            lossTimeout = try reader.integer("ctrlr_loss_timeout_sec", in: 0...seconds).map { Int64($0) }
        }
        reconnectDelay = try reader.integer("reconnect_delay_sec", in: 0...seconds)
        fastFailTimeout = try reader.integer("fast_io_fail_timeout_sec", in: 0...seconds)
    }

    func merged(into recovery: NVMeModule.Recovery) -> NVMeModule.Recovery {
        var result = recovery
        if let lossTimeout { result.lossTimeout = lossTimeout < 0 ? nil : .seconds(lossTimeout) }
        if let reconnectDelay { result.reconnectDelay = .seconds(reconnectDelay) }
        if let fastFailTimeout { result.fastFailTimeout = .seconds(fastFailTimeout) }
        return result
    }
}

/// `bdev_nvme_detach_controller`: a whole subsystem, or with `traddr` one path of it.
struct NVMeDetach: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var address: NVMeAddress?
    }

    let name = "bdev_nvme_detach_controller"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let controller = try reader.requiredString("name")
        try reader.requirePCIe(isOptional: true)
        let address = try reader.nvmeAddress("traddr")
        try reader.refuseFabrics()
        _ = try reader.string("subnqn")
        return Parameters(controller: controller, address: address)
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.detach(parameters.controller, at: parameters.address.map { "\($0)" })
        return ConfigurationOutcome()
    }
}

/// `bdev_nvme_reset_controller`: all controllers of a name, or the one with `cntlid`.
struct NVMeReset: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var id: UInt16?
    }

    let name = "bdev_nvme_reset_controller"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            controller: try reader.requiredString("name"),
            id: try reader.integer("cntlid", in: 0...65_535).map { UInt16($0) })
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.reset(parameters.controller, controllerID: parameters.id)
        return ConfigurationOutcome()
    }
}

/// `bdev_nvme_set_options`. What is of other transports, or is the driver's own business here, is understood and does
/// nothing; configurations that SPDK saves have all of it.
struct NVMeSetOptions: ConfigurationMethod {
    struct Parameters: Sendable {
        var options: NVMeModule.Options
        var recovery: RecoveryParameters
        var notices: [String] = []
    }

    let name = "bdev_nvme_set_options"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        var options = NVMeModule.Options()
        var notices: [String] = []
        if let time = try reader.integer("timeout_us", in: 0...Self.longest), time > 0 {
            options.commandTimeout = .microseconds(time)
        }
        if let time = try reader.integer("timeout_admin_us", in: 0...Self.longest), time > 0 {
            if options.commandTimeout == nil {
                throw reader.error(
                    .outOfRange, "timeout_admin_us", "this needs a timeout_us", advice: "set both, or leave it at 0")
            }
            options.adminTimeout = .microseconds(time)
        }
        if try reader.string("action_on_timeout") != nil {
            options.timeoutAction = try reader.requiredChoice(
                "action_on_timeout", [("none", .none), ("reset", .reset), ("abort", .abort)])
        }
        if reader.isMinusOne("bdev_retry_count") {
            options.retryLimit = nil
        } else if let count = try reader.integer("bdev_retry_count", in: 0...UInt64(Int32.max)) {
            options.retryLimit = Int(count)
        }
        if let count = try reader.integer("io_queue_requests", in: 0...65_535), count > 0 {
            options.requestCount = Int(count)
        }
        options.countsPathIO = try reader.bool("io_path_stat") ?? false
        let recovery = try RecoveryParameters(&reader)
        do throws(BdevError) { try recovery.merged(into: .init()).validate() } catch {
            throw reader.error(.outOfRange, "ctrlr_loss_timeout_sec", error.message, advice: error.advice)
        }
        if try reader.bool("enable_flush") == false {
            notices.append("enable_flush is on all the same: a flush that does not reach the device keeps nothing safe")
        }
        if let period = try reader.integer("nvme_ioq_poll_period_us"), period > 0 {
            notices.append("nvme_ioq_poll_period_us is not used: queue pairs are polled in every turn of their reactor")
        }
        try reader.only("disable_auto_failback", .bool(false), because: "I/O goes the best way there is")
        try reader.only("allow_accel_sequence", .bool(false), because: "there are no accelerators")
        if let policy = try reader.object("multipath_opts") { options.pathPolicy = try PolicyParameters.decode(policy) }
        for key in Self.unused { reader.accept(key) }
        return Parameters(options: options, recovery: recovery, notices: notices)
    }

    /// A day and more.
    private static let longest: UInt64 = 1 << 40
    private static let unused = [
        "keep_alive_timeout_ms", "arbitration_burst", "low_priority_weight", "medium_priority_weight",
        "high_priority_weight", "nvme_adminq_poll_period_us", "delay_cmd_submit", "transport_retry_count",
        "transport_ack_timeout", "generate_uuids", "transport_tos", "nvme_error_stat", "rdma_srq_size",
        "rdma_max_cq_size", "rdma_cm_event_timeout_ms", "dhchap_digests", "dhchap_dhgroups", "rdma_umr_per_io",
        "tcp_connect_timeout_ms",
    ]

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let old = module.options, module = module
        var options = parameters.options
        options.recovery = parameters.recovery.merged(into: options.recovery)
        try module.setOptions(options)
        let notice = parameters.notices.isEmpty ? nil : parameters.notices.joined(separator: "; ")
        return ConfigurationOutcome(notice: notice) { try? module.setOptions(old) }
    }
}

/// `bdev_nvme_set_hotplug`.
struct NVMeSetHotplug: ConfigurationMethod {
    struct Parameters: Sendable {
        var isEnabled: Bool
        var period: Duration
    }

    let name = "bdev_nvme_set_hotplug"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        guard let isEnabled = try reader.bool("enable") else { throw reader.missing("enable") }
        let period = try reader.integer("period_us", in: 0...(1 << 40)) ?? 0
        return Parameters(
            isEnabled: isEnabled, period: period == 0 ? NVMeModule.standardHotplugPeriod : .microseconds(period))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let module = module, limit = NVMeModule.hotplugPeriodLimit
        await module.setHotplug(enabled: parameters.isEnabled, period: parameters.period)
        let notice = parameters.period > limit ? "new controllers are looked for every \(limit), not more seldom" : nil
        return ConfigurationOutcome(notice: notice) { await module.setHotplug(enabled: false) }
    }
}

extension ParameterReader {
    mutating func requirePCIe(isOptional: Bool) throws(ConfigurationError) {
        guard let type = isOptional ? try string("trtype") : try requiredString("trtype") else { return }
        if type.lowercased() == "pcie" { return }
        throw error(
            .notSupported, "trtype",
            "the transport \"\(type)\" is not there: only controllers on the PCI bus can be attached",
            advice: "use PCIe")
    }

    mutating func nvmeAddress(_ key: String) throws(ConfigurationError) -> NVMeAddress? {
        guard let text = try string(key) else { return nil }
        if let address = NVMeAddress(text) { return address }
        throw error(
            .outOfRange, key, "\"\(text)\" is no PCI address",
            advice: "write it as lspci -D does: 0000:3b:00.0, or name a device such as /dev/ng0n1")
    }

    func missing(_ key: String) -> ConfigurationError {
        ConfigurationError(.missingKey, path: path, "the parameter \"\(key)\" is missing", advice: "add it")
    }

    /// What a controller on a network would need.
    mutating func refuseFabrics() throws(ConfigurationError) {
        let reason = "it is for controllers on a network, and only those on the PCI bus can be attached"
        for key in [
            "adrfam", "trsvcid", "priority", "hostnqn", "hostaddr", "hostsvcid", "psk", "dhchap_key",
            "dhchap_ctrlr_key", "fabrics_connect_timeout_us",
        ] {
            try only(key, .null, because: reason)
        }
        for key in ["hdgst", "ddgst", "disable_sq_flow_control"] { try only(key, .bool(false), because: reason) }
    }
}
