import Bdev
import BdevConfiguration
import Foundation
import NVMeBdev
import NVMeDriver
import NVMeSoftController
import Reactors
import Testing

@Suite("Methods of the NVMe module")
struct NVMeMethodsTests {
    /// Calls one method, on an engine of its own with a soft controller attached as `Nvme0` if `isAttached`.
    private func call(_ method: String, _ parameters: String, isAttached: Bool = false) async throws -> JSONValue {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules(), reactor = group.reactors[0]
        let soft = try await reactor.run { local in
            var options = SoftController.Options()
            options.namespaces = [SoftNamespaceOptions(blockCount: 1024), SoftNamespaceOptions(blockCount: 512)]
            return try SoftController(options, on: local)
        }
        let result: Result<JSONValue, any Error>
        do {
            try await modules.register(with: engine)
            if isAttached { _ = try await modules.nvme.add(try await soft.attach(on: reactor), as: "Nvme0") }
            let text = #"{"method": "\#(method)", "params": {\#(parameters)}}"#
            let document = try ConfigurationDocument(
                parsing: Array(#"{"subsystems":[{"subsystem":"bdev","config":[\#(text)]}]}"#.utf8))
            let descriptor = isAttached ? try await engine.open("Nvme0n1") : nil
            let channel = try await descriptor?.channel(on: reactor)
            do {
                result = .success(try await modules.methods.prepare(document.calls[0]).perform(on: engine).result)
            } catch { result = .failure(error) }
            await channel?.close()
            await descriptor?.close()
        } catch { result = .failure(error) }
        await engine.stop()
        await soft.powerOff()
        await group.shutDown()
        return try result.get()
    }

    private func refusal(_ method: String, _ parameters: String, isAttached: Bool = false) async -> String {
        do {
            let result = try await call(method, parameters, isAttached: isAttached)
            return "nothing was refused: \(result)"
        } catch { return "\(error)" }
    }

    private static let attach = #""name": "Nvme0", "trtype": "PCIe", "traddr": "0000:00:00.7""#
    /// What is added to a call that is right, and why it is refused.
    private static let additions: [(String, String)] = [
        (#""hostnqn": "nqn.a""#, "on a network"), (#""psk": "key0""#, "on a network"),
        (#""hdgst": true"#, "on a network"), (#""trsvcid": "4420""#, "on a network"),
        (#""multipath": "some""#, "use one of disable, failover, multipath"),
        (#""max_bdevs": 0"#, "this must be 1 to 1024"),
        (#""ctrlr_loss_timeout_sec": -2"#, "this must be"),
        (#""ctrlr_loss_timeout_sec": 10"#, "a delay before each reconnection"),
        (#""reconnect_delay_sec": 10"#, "without a controller loss timeout"),
        (#""ctrlr_loss_timeout_sec": 5, "reconnect_delay_sec": 6"#, "longer than the loss timeout"),
        (
            #""ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 6, "fast_io_fail_timeout_sec": 5"#,
            "before the first reconnection"
        ),
        (#""allow_unrecognized_csi": true"#, "no blocks to read"), (#""what": 1"#, "no such parameter"),
        (#""multipath": "failover""#, "there is no such PCI function"),
    ]

    @Test(arguments: additions.indices)
    func `attaching refuses what it cannot do, and says why`(index: Int) async {
        let (addition, reason) = Self.additions[index]
        let found = await refusal("bdev_nvme_attach_controller", "\(Self.attach), \(addition)")
        #expect(found.contains(reason), "\(found)")
    }

    @Test(arguments: [
        (#""name": "Nvme0""#, "\"trtype\" is missing"),
        (#""name": "Nvme0", "trtype": "PCIe""#, "\"traddr\" is missing"),
        (#""name": "Nvme0", "trtype": "TCP", "traddr": "1.2.3.4""#, "only controllers on the PCI bus"),
        (#""name": "Nvme0", "trtype": "PCIe", "traddr": "here""#, "is no PCI address"),
    ])
    func `attaching refuses what is no controller`(parameters: String, reason: String) async {
        let found = await refusal("bdev_nvme_attach_controller", parameters)
        #expect(found.contains(reason), "\(found)")
    }

    @Test(arguments: [
        (#""timeout_admin_us": 5"#, "needs a timeout_us"), (#""action_on_timeout": "wait""#, "none, reset, abort"),
        (#""bdev_retry_count": -2"#, "this must be"), (#""ctrlr_loss_timeout_sec": 3"#, "a delay before each"),
        (#""disable_auto_failback": true"#, "is not supported"), (#""allow_accel_sequence": true"#, "no accelerators"),
        (#""multipath_opts": {"selector": "queue_depth", "rr_min_io": 4}"#, "round_robin"),
        (#""multipath_opts": {"what": 1}"#, "no such parameter"), (#""multipath_opts": 7"#, "must be an object"),
        (#""timeout": 1"#, "no such parameter"),
    ])
    func `options that have no meaning are refused`(parameters: String, reason: String) async {
        let found = await refusal("bdev_nvme_set_options", parameters)
        #expect(found.contains(reason), "\(found)")
    }

    @Test func `options that SPDK saves are taken over, and cannot be changed under a controller`() async throws {
        let saved = #"""
            "action_on_timeout": "none", "timeout_us": 0, "timeout_admin_us": 0, "keep_alive_timeout_ms": 10000,
            "arbitration_burst": 0, "low_priority_weight": 0, "medium_priority_weight": 0, "high_priority_weight": 0,
            "nvme_adminq_poll_period_us": 10000, "nvme_ioq_poll_period_us": 0, "io_queue_requests": 0,
            "delay_cmd_submit": true, "transport_retry_count": 4, "bdev_retry_count": 3, "transport_ack_timeout": 0,
            "ctrlr_loss_timeout_sec": 0, "reconnect_delay_sec": 0, "fast_io_fail_timeout_sec": 0,
            "disable_auto_failback": false, "generate_uuids": false, "transport_tos": 0, "nvme_error_stat": false,
            "rdma_srq_size": 0, "io_path_stat": false, "allow_accel_sequence": false, "rdma_max_cq_size": 0,
            "rdma_cm_event_timeout_ms": 0, "dhchap_digests": ["sha256"], "dhchap_dhgroups": ["null"],
            "rdma_umr_per_io": false, "tcp_connect_timeout_ms": 0, "enable_flush": false,
            "multipath_opts": {"policy": "active_passive"}
            """#
        #expect(try await call("bdev_nvme_set_options", saved) == .bool(true))
        #expect(
            await refusal("bdev_nvme_set_options", saved, isAttached: true).contains("while controllers are attached"))
    }

    @Test(arguments: [
        ("bdev_nvme_detach_controller", #""name": "Nvme1""#, "no controller named 'Nvme1'"),
        ("bdev_nvme_detach_controller", #""name": "Nvme0", "traddr": "0000:09:00.0""#, "no controller at 0000:09:00.0"),
        ("bdev_nvme_reset_controller", #""name": "Nvme1""#, "no controller named 'Nvme1'"),
        ("bdev_nvme_reset_controller", #""name": "Nvme0", "cntlid": 9"#, "has no controller 9"),
        ("bdev_nvme_get_controllers", #""name": "Nvme1""#, "no controller named 'Nvme1'"),
        ("bdev_nvme_get_io_paths", #""name": "Nvme1n1""#, "no NVMe bdev of this name"),
        ("bdev_nvme_get_path_iostat", #""name": "Nvme0n1""#, "set io_path_stat"),
        ("bdev_nvme_get_controller_health_info", #""name": "Nvme1""#, "no controller named 'Nvme1'"),
        ("bdev_nvme_set_preferred_path", #""name": "Nvme0n1", "cntlid": 9"#, "no path through a controller 9"),
        ("bdev_nvme_set_preferred_path", #""name": "Nvme0n1""#, "\"cntlid\" is missing"),
        ("bdev_nvme_set_multipath_policy", #""name": "Nvme0n1""#, "\"policy\" is missing"),
        ("bdev_nvme_set_multipath_policy", #""name": "Nvme0n1", "policy": "all""#, "active_passive, active_active"),
        ("bdev_nvme_set_hotplug", #""period_us": 1"#, "\"enable\" is missing"),
        ("bdev_nvme_disable_controller", #""name": "Nvme0", "cntlid": 9"#, "has no controller 9"),
        ("bdev_nvme_disable_controller", #""name": "Nvme0""#, "nobody could enable it"),
        ("bdev_nvme_enable_controller", #""name": "Nvme0""#, "is not disabled"),
        ("bdev_nvme_apply_firmware", #""filename": "/no/such/image", "bdev_name": "Nvme0n1""#, "cannot be read"),
        ("bdev_nvme_apply_firmware", #""filename": "/dev/null", "bdev_name": "Nvme0n1""#, "no firmware image"),
        ("bdev_nvme_apply_firmware", #""filename": "Package.swift", "bdev_name": "Nvme9n1""#, "no NVMe bdev"),
        ("bdev_nvme_add_error_injection", #""name": "Nvme1", "cmd_type": "io", "opc": 2"#, "no controller named"),
        ("bdev_nvme_add_error_injection", #""name": "Nvme0", "cmd_type": "all", "opc": 2"#, "admin, io"),
        (
            "bdev_nvme_add_error_injection", #""name": "Nvme0", "cmd_type": "io", "opc": 2, "timeout_in_us": 5"#,
            "does so at once"
        ),
        ("bdev_nvme_remove_error_injection", #""name": "Nvme0", "cmd_type": "io""#, "\"opc\" is missing"),
    ])
    func `the others refuse what is not there`(method: String, parameters: String, reason: String) async {
        let found = await refusal(method, parameters, isAttached: true)
        #expect(found.contains(reason), "\(found)")
    }

    @Test func `a firmware image is taken from a file, and errors are made up and no more`() async throws {
        // Whose first bytes are the soft controller's next revision.
        let file = FileManager.default.temporaryDirectory.appending(path: "firmware-\(UUID())").path
        #expect(FileManager.default.createFile(atPath: file, contents: Data("2.0\0".utf8)))
        defer { try? FileManager.default.removeItem(atPath: file) }
        let done = try await call(
            "bdev_nvme_apply_firmware", #""filename": "\#(file)", "bdev_name": "Nvme0n1""#, isAttached: true)
        #expect(done == .string("The controller uses the new firmware."))
        for method in ["add", "remove"] {
            let parameters = #""name": "Nvme0", "cmd_type": "io", "opc": 2"#
            #expect(try await call("bdev_nvme_\(method)_error_injection", parameters, isAttached: true) == .bool(true))
        }
    }

    @Test func `send a command as bytes, and answer with its completion and what it read`() async throws {
        func command(_ bytes: [Int: UInt8]) -> String {
            Data((0..<64).map { bytes[$0] ?? 0 }).base64EncodedString()
        }
        func send(_ kind: String, _ bytes: [Int: UInt8], _ rest: String) async throws -> (cpl: [UInt8], data: [UInt8]) {
            let found = try await call(
                "bdev_nvme_send_cmd",
                #""name": "Nvme0", "cmd_type": "\#(kind)", "cmdbuf": "\#(command(bytes))", \#(rest)"#,
                isAttached: true)
            guard case .object(let fields) = found, case .string(let cpl) = fields["cpl"] else { return ([], []) }
            func decoded(_ text: String) -> [UInt8] {
                let standard = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
                return Array(Data(base64Encoded: standard) ?? Data())
            }
            guard case .string(let data) = fields["data"] else { return (decoded(cpl), []) }
            return (decoded(cpl), decoded(data))
        }
        // Identify, CNS 1.
        let identity = try await send("admin", [0: 6, 40: 1], #""data_direction": "c2h", "data_len": 4096"#)
        #expect(identity.cpl.count == 16 && identity.cpl.allSatisfy { $0 == 0 } && identity.data.count == 4096)
        #expect(String(decoding: identity.data[4..<9], as: UTF8.self) == "SOFT0")
        // A read beyond the end of namespace 1: LBA out of range.
        let beyond = try await send("io", [0: 2, 4: 1, 42: 1], #""data_direction": "c2h", "data_len": 512"#)
        #expect(Array(beyond.cpl[14...]) == [0, 1] && beyond.data.isEmpty)
        let rest = #""name": "Nvme0", "data_direction": "h2c""#
        for (parameters, reason) in [
            (#""cmd_type": "admin", "cmdbuf": "AAAA""#, "64 bytes, not 3"),
            (#""cmd_type": "admin", "cmdbuf": "!!!!""#, "not base 64"),
            (#""cmd_type": "admin", "cmdbuf": "\#(command([0: 5]))""#, "the driver's own"),
            (#""cmd_type": "io", "cmdbuf": "\#(command([0: 1]))", "metadata_len": 8"#, "use a bdev"),
        ] {
            let found = await refusal("bdev_nvme_send_cmd", "\(rest), \(parameters)", isAttached: true)
            #expect(found.contains(reason), "\(found)")
        }
    }

    @Test func `tell what queue pairs have done`() async throws {
        let found = try await call("bdev_nvme_get_transport_statistics", "", isAttached: true)
        let text = "\(found)"
        for word in ["poll_groups", "thread", "PCIE", "submitted_requests", "sq_mmio_doorbell_updates"] {
            #expect(text.contains(word), "\(text)")
        }
    }

    @Test func `show controllers and paths as SPDK does`() async throws {
        let trid = JSONValue.object(["trtype": .string("PCIe"), "traddr": .string("soft0")])
        #expect(
            try await call("bdev_nvme_get_controllers", "", isAttached: true)
                == .array([
                    .object([
                        "name": .string("Nvme0"),
                        "ctrlrs": .array([
                            .object([
                                "state": .string("enabled"), "trid": trid, "cntlid": .unsigned(0),
                                "numa_id": .negative(-1), "access": .string("direct"), "access_reason": .string(""),
                            ])
                        ]),
                    ])
                ]))
        let paths = try await call("bdev_nvme_get_io_paths", #""name": "Nvme0n1""#, isAttached: true)
        guard case .object(let top) = paths, case .array(let groups) = top["poll_groups"],
            case .object(let group) = groups.first
        else {
            Issue.record("\(paths)")
            return
        }
        #expect(
            group["io_paths"]
                == .array([
                    .object([
                        "bdev_name": .string("Nvme0n1"), "cntlid": .unsigned(0), "current": .bool(true),
                        "connected": .bool(true), "accessible": .bool(true), "transport": trid,
                    ])
                ]))
    }

    @Test(arguments: [
        ("bdev_nvme_reset_controller", #""name": "Nvme0""#),
        ("bdev_nvme_reset_controller", #""name": "Nvme0", "cntlid": 0"#),
        ("bdev_nvme_set_preferred_path", #""name": "Nvme0n1", "cntlid": 0"#),
        ("bdev_nvme_set_multipath_policy", #""name": "Nvme0n2", "policy": "active_active", "selector": "queue_depth""#),
        ("bdev_nvme_set_multipath_policy", #""name": "Nvme0n2", "policy": "active_active", "rr_min_io": 8"#),
        ("bdev_nvme_set_hotplug", #""enable": false, "period_us": 20000000"#),
    ])
    func `do what they say`(method: String, parameters: String) async throws {
        #expect(try await call(method, parameters, isAttached: true) == .bool(true))
    }

    @Test func `tell of a controller's health`() async throws {
        let health = try await call("bdev_nvme_get_controller_health_info", #""name": "Nvme0""#, isAttached: true)
        guard case .object(let fields) = health else {
            Issue.record("\(health)")
            return
        }
        #expect(fields["serial_number"] == .string("SOFT0"))
        #expect(fields["critical_warning"] == .unsigned(0))
        #expect(fields["temperature_celsius"] == nil, "the soft controller has no temperature")
    }
}
