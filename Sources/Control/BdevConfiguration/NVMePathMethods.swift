import Bdev
import NVMeBdev
import NVMeDriver

/// `bdev_nvme_get_controllers`: those of one name, or all.
struct NVMeGetControllers: ConfigurationMethod {
    let name = "bdev_nvme_get_controllers"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String? { try reader.string("name") }

    func apply(_ name: String?, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let all = try await module.controllers(named: name)
        var names: [String] = []
        for each in all where !names.contains(each.name) { names.append(each.name) }
        let groups: [JSONValue] = names.map { name in
            let controllers: [JSONValue] = all.filter { $0.name == name }.map { each in
                .object([
                    "state": .string(each.state), "trid": .transport(each.address),
                    "cntlid": .unsigned(UInt64(each.controllerID)),
                    "numa_id": each.node.map { .unsigned(UInt64($0)) } ?? .negative(-1),
                    "access": .string(each.access?.way.rawValue ?? ""),
                    "access_reason": .string(each.access?.reason ?? ""),
                ])
            }
            return .object(["name": .string(name), "ctrlrs": .array(controllers)])
        }
        return ConfigurationOutcome(result: .array(groups))
    }
}

/// `bdev_nvme_get_io_paths`: of one bdev, or of all, by reactor.
struct NVMeGetPaths: ConfigurationMethod {
    let name = "bdev_nvme_get_io_paths"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String? { try reader.string("name") }

    func apply(_ bdev: String?, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let all = try await module.paths(of: bdev)
        let groups: [JSONValue] = Set(all.map(\.reactor)).sorted().map { reactor in
            let paths: [JSONValue] = all.filter { $0.reactor == reactor }.map { path in
                .object([
                    "bdev_name": .string(path.bdev), "cntlid": .unsigned(UInt64(path.controllerID)),
                    "current": .bool(path.isCurrent), "connected": .bool(path.isConnected),
                    "accessible": .bool(path.isAccessible), "transport": .transport(path.address),
                ])
            }
            return .object(["thread": .string(reactor), "io_paths": .array(paths)])
        }
        return ConfigurationOutcome(result: .object(["poll_groups": .array(groups)]))
    }
}

/// `bdev_nvme_get_path_iostat`: what went over each path of a bdev, when `io_path_stat` is on.
struct NVMeGetPathStatistics: ConfigurationMethod {
    let name = "bdev_nvme_get_path_iostat"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ bdev: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let all = try await module.paths(of: bdev)
        if !module.options.countsPathIO {
            throw BdevError(
                .notPermitted, bdev: bdev, "the I/O of paths is not counted",
                advice: "set io_path_stat with bdev_nvme_set_options before controllers are attached")
        }
        var addresses: [String] = []
        for path in all where !addresses.contains(path.address) { addresses.append(path.address) }
        let stats: [JSONValue] = addresses.map { address in
            func sum(_ key: (NVMeModule.PathInfo) -> UInt64) -> JSONValue {
                .unsigned(all.filter { $0.address == address }.reduce(0) { $0 + key($1) })
            }
            return .object([
                "trid": .transport(address),
                "stat": .object([
                    "bytes_read": sum(\.readByteCount), "num_read_ops": sum(\.readCount),
                    "bytes_written": sum(\.writtenByteCount), "num_write_ops": sum(\.writeCount),
                    "num_other_ops": sum(\.otherCount), "num_failed_ops": sum(\.failureCount),
                ]),
            ])
        }
        return ConfigurationOutcome(result: .object(["name": .string(bdev), "stats": .array(stats)]))
    }
}

/// `bdev_nvme_set_preferred_path`.
struct NVMeSetPreferredPath: ConfigurationMethod {
    struct Parameters: Sendable {
        var bdev: String
        var id: UInt16
    }

    let name = "bdev_nvme_set_preferred_path"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        Parameters(
            bdev: try reader.requiredString("name"), id: UInt16(try reader.requiredInteger("cntlid", in: 0...65_535)))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.setPreferredPath(of: parameters.bdev, controllerID: parameters.id)
        return ConfigurationOutcome()
    }
}

/// `bdev_nvme_set_multipath_policy`.
struct NVMeSetPolicy: ConfigurationMethod {
    struct Parameters: Sendable {
        var bdev: String
        var policy: NVMeModule.PathPolicy
    }

    let name = "bdev_nvme_set_multipath_policy"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let bdev = try reader.requiredString("name")
        guard try reader.string("policy") != nil else { throw reader.missing("policy") }
        return Parameters(bdev: bdev, policy: try PolicyParameters.read(&reader))
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await module.setPolicy(parameters.policy, of: parameters.bdev)
        return ConfigurationOutcome()
    }
}

/// `policy`, `selector` and `rr_min_io`.
enum PolicyParameters {
    /// Of an object of their own.
    static func decode(_ reader: ParameterReader) throws(ConfigurationError) -> NVMeModule.PathPolicy {
        var reader = reader
        let policy = try read(&reader)
        try reader.finish()
        return policy
    }

    static func read(_ reader: inout ParameterReader) throws(ConfigurationError) -> NVMeModule.PathPolicy {
        var isActive = false, isRoundRobin = true
        if try reader.string("policy") != nil {
            isActive = try reader.requiredChoice("policy", [("active_passive", false), ("active_active", true)])
        }
        if try reader.string("selector") != nil {
            isRoundRobin = try reader.requiredChoice("selector", [("round_robin", true), ("queue_depth", false)])
        }
        let count = try reader.integer("rr_min_io", in: 1...UInt64(UInt32.max))
        if count != nil, !isRoundRobin {
            throw reader.error(
                .notSupported, "rr_min_io", "this is for the selector round_robin", advice: "leave it out")
        }
        if !isActive { return .activePassive }
        return isRoundRobin ? .roundRobin(count: UInt32(count ?? 1)) : .queueDepth
    }
}

/// `bdev_nvme_get_controller_health_info`: the SMART / health information log page.
struct NVMeGetHealth: ConfigurationMethod {
    let name = "bdev_nvme_get_controller_health_info"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ controller: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let health = try await module.health(of: controller)
        let page = health.page
        func number(_ offset: Int, _ count: Int) -> JSONValue {
            .unsigned((0..<count).reduce(0) { $0 | UInt64(page[offset + $1]) << UInt64(8 * $1) })
        }
        func celsius(_ offset: Int) -> JSONValue? {
            let kelvin = Int64(page[offset]) | Int64(page[offset + 1]) << 8
            if kelvin == 0 { return nil }
            return kelvin >= 273 ? .unsigned(UInt64(kelvin - 273)) : .negative(kelvin - 273)
        }
        // Counters of 128 bits are told of as far as 64 go.
        var result: [String: JSONValue] = [
            "model_number": .string(health.identity.modelNumber),
            "serial_number": .string(health.identity.serialNumber),
            "firmware_revision": .string(health.identity.firmwareRevision), "traddr": .string(health.address),
            "critical_warning": number(0, 1), "available_spare_percentage": number(3, 1),
            "available_spare_threshold_percentage": number(4, 1), "percentage_used": number(5, 1),
            "data_units_read": number(32, 8), "data_units_written": number(48, 8),
            "host_read_commands": number(64, 8), "host_write_commands": number(80, 8),
            "controller_busy_time": number(96, 8), "power_cycles": number(112, 8), "power_on_hours": number(128, 8),
            "unsafe_shutdowns": number(144, 8), "media_errors": number(160, 8), "num_err_log_entries": number(176, 8),
            "warning_temperature_time_minutes": number(192, 4),
            "critical_composite_temperature_time_minutes": number(196, 4),
        ]
        result["temperature_celsius"] = celsius(1)
        result["temperature_sensors"] = .array((0..<8).compactMap { celsius(200 + 2 * $0) })
        return ConfigurationOutcome(result: .object(result))
    }
}

extension JSONValue {
    /// A transport identifier, as SPDK has it.
    fileprivate static func transport(_ address: String) -> JSONValue {
        .object(["trtype": .string("PCIe"), "traddr": .string(address)])
    }
}
