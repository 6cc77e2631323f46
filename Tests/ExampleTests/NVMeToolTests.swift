import Foundation
import Testing

/// The tools of the NVMe driver, on the controller that they have in themselves. Real ones: Tests/VMTests.
@Suite(.serialized)
struct NVMeToolTests {
    private func run(_ name: String, _ line: String) throws -> Program.Result {
        try Program(name: name).run(line.split(separator: " ").map(String.init))
    }

    private func perf(_ line: String) throws -> Program.Result {
        try run("nvme-perf", line + " --disable-cpumask-locks")
    }

    private func expectRefusal(_ result: Program.Result, _ program: String, _ what: String) {
        #expect(result.status == 2, "\(result.errors)")
        #expect(!result.crashed)
        #expect(result.errorLines.count == 1, "\(result.errors)")
        #expect(result.errors.hasPrefix("\(program): "))
        #expect(result.errors.contains(what), "\(result.errors)")
    }

    // MARK: hello-nvme

    @Test func `hello-nvme reads back what it wrote`() throws {
        var last: Program.Result?
        for attempt in 0..<40 {
            let cores = ProcessInfo.processInfo.activeProcessorCount
            let result = try Program(name: "hello-nvme").run([], core: attempt % cores)
            last = result
            if !result.output.contains("has a reactor of") { break }
            Thread.sleep(forTimeInterval: 0.5)
        }
        let result = try #require(last)
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output == "read back what was written\n")
    }

    // MARK: nvme-identify

    @Test func `nvme-identify shows a controller and its namespaces`() throws {
        let result = try run("nvme-identify", "--soft")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.errors.isEmpty)
        for text in [
            "Controller soft0", "swift-bdev soft controller", "Volatile write cache", "Health (SMART)",
            "Error log: empty", "Namespace 1", "Namespace 2", "8192 blocks, 32 MiB",
            "0: 4096 bytes, performance 0 (in use)",
        ] { #expect(result.output.contains(text), "\(text)") }
    }

    @Test func `nvme-identify's JSON has stable keys`() throws {
        let result = try run("nvme-identify", "--soft --json")
        #expect(result.status == 0, "\(result.errors)")
        let controllers = try #require(result.json?["controllers"] as? [[String: Any]])
        let controller = try #require(controllers.first)
        #expect(
            controller.keys.sorted() == [
                "address", "capabilities", "commands", "controller", "errors", "firmware_slots", "health", "namespaces",
            ])
        let identity = try #require(controller["controller"] as? [String: Any])
        #expect(identity["serial"] as? String == "SOFT0")
        #expect(identity["version"] as? String == "1.4")
        #expect(identity["volatile_write_cache"] as? Bool == true)
        #expect(identity["mdts"] is NSNull)
        let commands = try #require(controller["commands"] as? [String: Any])
        #expect(commands["compare"] as? Bool == true && commands["reservations"] as? Bool == false)
        let namespaces = try #require(controller["namespaces"] as? [[String: Any]])
        #expect(namespaces.map { $0["block_size"] as? Int } == [512, 4096])
        #expect(namespaces.map { $0["size_blocks"] as? Int } == [65_536, 8192])
        #expect((namespaces[0]["formats"] as? [[String: Any]])?.count == 3)
    }

    @Test func `nvme-identify lists the controllers of a machine, and why they cannot be used`() throws {
        let scratch = try Scratch(), devices = "\(scratch.path)/sys/bus/pci/devices"
        func add(_ address: String, driver: String?, group: Int?) throws {
            let folder = "\(devices)/\(address)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for (name, text) in [
                ("class", "0x010802"), ("vendor", "0x1b36"), ("device", "0x0010"), ("numa_node", "1"),
            ] { try (text + "\n").write(toFile: "\(folder)/\(name)", atomically: false, encoding: .utf8) }
            for (link, target) in [
                ("driver", driver.map { "sys/bus/pci/drivers/\($0)" }),
                ("iommu_group", group.map { "sys/kernel/iommu_groups/\($0)" }),
            ] {
                guard let target else { continue }
                let path = "\(scratch.path)/\(target)"
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
                try FileManager.default.createSymbolicLink(atPath: "\(folder)/\(link)", withDestinationPath: path)
            }
        }
        try add("0000:3b:00.0", driver: "vfio-pci", group: 7)
        try add("0000:3c:00.0", driver: "nvme", group: 8)
        try add("0000:3d:00.0", driver: "vfio-pci", group: nil)
        let table = try run("nvme-identify", "--list --root \(scratch.path)")
        #expect(table.status == 0, "\(table.errors)")
        #expect(table.output.split(separator: "\n").count == 4)
        #expect(table.output.contains("1b36:0010"))
        let result = try run("nvme-identify", "--json --root \(scratch.path)")
        let found = try #require(result.json?["devices"] as? [[String: Any]])
        #expect(found.map { $0["address"] as? String } == ["0000:3b:00.0", "0000:3c:00.0", "0000:3d:00.0"])
        #expect(found.map { $0["usable"] as? Bool } == [true, false, false])
        #expect(found.map { $0["iommu_group"] as? Int } == [7, 8, nil])
        #expect((found[1]["obstacle"] as? String)?.contains("nvme-identify --bind 0000:3c:00.0") == true)
        #expect((found[2]["obstacle"] as? String)?.contains("IOMMU") == true)
    }

    @Test(arguments: [
        ("nonsense", "'nonsense' is no PCI address"), ("--bind", "wants the PCI address"),
        ("--bind --unbind 3b:00.0", "exclude"), ("--force --soft", "--bind"),
        ("--list --soft", "leave the address out"),
        ("3b:00.0 0000:3b:00.0", "twice"), ("ffff:ff:1f.7", "there is no such PCI function"),
        ("--bind ffff:ff:1f.7", "there is no PCI function"), ("--jsn", "--jsn"),
    ])
    func `nvme-identify refuses bad input in one line, with status 2`(line: String, what: String) throws {
        expectRefusal(try run("nvme-identify", line), "nvme-identify", what)
    }

    // MARK: nvme-perf

    @Test(arguments: ["randread", "read", "randwrite", "write", "randrw -M 70", "rw"])
    func `nvme-perf runs a workload to its number of I/Os`(workload: String) throws {
        let result = try perf("--soft -q 8 --number-ios 3000 --output json -w \(workload)")
        #expect(result.status == 0, "\(result.errors)")
        let job = try #require(result.jobs.first)
        #expect(job["io_completed"] as? Int == 3000)
        #expect(job["io_failed"] as? Int == 0)
        #expect(job["driver"] as? String == "nvme")
        #expect((job["iops"] as? Double ?? 0) > 0)
        #expect((job["min_latency_us"] as? Double ?? -1) <= (job["max_latency_us"] as? Double ?? -2))
        #expect((result.json?["total"] as? [String: Any])?["io_completed"] as? Int == 3000)
    }

    @Test func `nvme-perf shares the depth among queue pairs, and ends when its time is up`() throws {
        let result = try perf("--soft -q 5 -P 2 -t 0.2 -a 0.1 --output json -L")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.jobs.map { $0["queue_depth"] as? Int } == [3, 2])
        for job in result.jobs {
            #expect(0.15...2 ~= (job["runtime"] as? Double ?? 0))
            let percentiles = try #require(job["percentiles_us"] as? [String: Double])
            #expect(percentiles.count == 14)
            #expect(try #require(percentiles["50.00000"]) <= #require(percentiles["99.00000"]))
        }
    }

    @Test func `nvme-perf writes a doorbell once for all commands of a turn`() throws {
        let result = try perf("--soft -q 32 --number-ios 6400 --output json")
        let job = try #require(result.jobs.first)
        #expect(try #require(job["submission_doorbells"] as? Int) <= 6400 / 32 + 1)
        #expect(try #require(job["completion_doorbells"] as? Int) <= 6400 / (256 - 64) + 1)
    }

    @Test func `nvme-perf prints a table with percentiles, buckets and counts`() throws {
        let result = try perf("--soft -q 4 --number-ios 500 -LL --transport-stats")
        #expect(result.status == 0, "\(result.errors)")
        for text in [
            "Latency(us)", "soft0 NSID 1 from core", "Total", "Summary latency data", "99.99990%", "Latency histogram",
            "doorbell writes: submission 125",
        ] { #expect(result.output.contains(text), "\(text)") }
    }

    @Test func `nvme-perf loads a file through the kernel`() throws {
        let scratch = try Scratch(), file = "\(scratch.path)/disk"
        #expect(FileManager.default.createFile(atPath: file, contents: Data(count: 1 << 20)))
        let result = try perf("\(file) -q 8 --number-ios 1000 --output json")
        #expect(result.status == 0, "\(result.errors)")
        let job = try #require(result.jobs.first)
        #expect(job["driver"] as? String == "kernel")
        #expect(job["io_completed"] as? Int == 1000)
        #expect(job["io_failed"] as? Int == 0)
    }

    @Test(arguments: [
        ("--soft -q 0", "1 to 65534"), ("--soft -o 1000", "blocks of namespace 1"), ("--soft -o 0", "1 byte to 1 GiB"),
        ("--soft -o 128M", "one command moves at most"), ("--soft -w shuffle", "'shuffle' is no workload"),
        ("--soft -M 50", "-M goes with"), ("--soft -M 101 -w rw", "0 to 100"), ("--soft -t 0", "out of range"),
        ("--soft --number-ios 0", "1 or more"), ("--soft --number-ios 9 -a 1", "exclude"), ("--soft -P 40", "1 to 32"),
        ("--soft -O 512", "-O is not offered"), ("--soft -F 1.1", "bdevperf -F"), ("--soft -N", "-N is not offered"),
        ("--soft --output xml", "table or json"), ("--soft -c 0x0", "names no core"), ("nonsense", "no PCI address"),
        ("-r trtype:TCP", "'trtype:TCP' is not known"), ("-r trtype:PCIe", "names no device"),
        ("-r traddr:3b:00.0,ns:0", "no namespace identifier"), ("-b 3b:00.0 3b:00.0", "twice"),
        ("-b ffff:ff:1f.7", "there is no such PCI function"), ("/nowhere/at/all", "No such file"), ("--sft", "--sft"),
    ])
    func `nvme-perf refuses bad input in one line, with status 2`(line: String, what: String) throws {
        let result = try perf(line)
        expectRefusal(result, "nvme-perf", what)
        #expect(result.output.isEmpty, "\(result.output)")
    }
}
