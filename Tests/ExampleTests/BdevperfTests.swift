import Foundation
import Testing

/// One after another: they share the cores.
@Suite(.serialized)
struct BdevperfTests {
    @Test(arguments: [
        ("", "no bdev to use"), ("--null -q x", "-q"), ("--null -q 0", "1 to 32768"), ("--null -q 40000", "1 to 32768"),
        ("--null -w shuffle", "'shuffle' is no workload"), ("--null -o 1000", "blocks of 512 bytes"),
        ("--null -o 4x", "'4x' is no size"),
        ("--null -o 0", "1 byte to 1 GiB"), ("--null -o 99999999999999999999G", "no size"),
        ("--null -o 17179869184G", "too big"),
        ("--null -q 32768 -o 1G", "16 GiB"), ("--malloc 1M -o 2M", "more than Malloc0 holds (1 MiB)"),
        ("--malloc 0", "no size of a RAM disk"), ("--malloc 1000", "multiple of 512"),
        ("--file /nowhere/at/all", "No such file"),
        ("--file :1M", "names no file"), ("--file /tmp", "neither a regular file"), ("--file /dev/shm/x:0", "no bytes"),
        ("--null -T Null9", "'Null9' is no bdev; there are Null0"), ("--null -m 8000", "core 8000 does not exist"),
        ("--null -m 0x0", "names no core"), ("--null -m ,", "is not a list of cores"),
        ("--null -m numa:9", "NUMA node 9"),
        ("-c /nowhere.json", "no such file"), ("--null -t 0", "out of range"), ("--null -t -1", "-t"),
        ("--null --number-ios 0", "1 or more"),
        ("--null --api magic", "'magic' is not there"), ("--null --output xml", "table or json"),
        ("--null -M 101 -w rw", "0 to 100"),
        ("--null -k 3", "-k is not offered"), ("--null -z", "-z is not offered"),
        ("--null -j a.ini", "-j is not offered"),
        ("--null -F 1", "theta"), ("--null -F 0.5 -D", "exclude"), ("--null -D -w read", "sequential"),
        ("--null -P 3", "add -S"),
        ("--null -w unmap", "does not support unmap"), ("--null -w verify --api engine", "leave --api out"),
        ("--null --verify-phase read", "-w verify"), ("--null-parked --malloc 1M", "add --null"),
        ("--null surplus", "surplus"),
        ("--null --nul", "--nul"), ("--null -S", "-S"),
    ])
    func `bad input ends in one line that says what to do, with status 2`(line: String, what: String) throws {
        let result = try Program.bdevperf(line)
        #expect(result.status == 2, "\(result.errors)")
        #expect(!result.crashed)
        #expect(result.errorLines.count == 1, "\(result.errors)")
        #expect(result.errors.hasPrefix("bdevperf: "))
        #expect(result.errors.contains(what), "\(result.errors)")
        #expect(result.output.isEmpty, "\(result.output)")
    }

    @Test func `a file made for a run that is refused goes away again`() throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/disk"
        #expect(try Program.bdevperf("--file \(file):1M -o 1000").status == 2)
        #expect(!FileManager.default.fileExists(atPath: file))
        #expect(try Program.bdevperf("--file \(file):1M --number-ios 1").status == 0)
        #expect(try Program.bdevperf("--file \(file):1M -o 1000").status == 2)
        #expect(FileManager.default.fileExists(atPath: file))
    }

    @Test func `help is for standard output, with status 0`() throws {
        let result = try Program.bdevperf("--help")
        #expect(result.status == 0)
        #expect(result.output.contains("-w <w>"))
        #expect(result.errors.isEmpty)
    }

    @Test func `JSON has the keys of SPDK's results`() throws {
        let result = try Program.bdevperf("--null -q 4 -t 0.2 -l --output json")
        #expect(result.status == 0, "\(result.errors)")
        let job = try #require(result.jobs.first)
        for key in [
            "job", "core_mask", "workload", "status", "queue_depth", "io_size", "runtime", "iops", "mibps", "io_failed",
            "io_timeout",
            "avg_latency_us", "min_latency_us", "max_latency_us", "iops_per_cpu_second", "percentiles_us",
        ] { #expect(job[key] != nil, "\(key) is missing") }
        #expect(job["job"] as? String == "Null0")
        #expect(job["status"] as? String == "finished")
        #expect(job["io_failed"] as? Int == 0)
        #expect(try #require(job["iops"] as? Double) > 0)
        #expect(result.json?["core_count"] as? Int == 1)
        #expect(result.output.contains("\"io_failed\": 0"))
    }

    @Test func `the table has SPDK's columns, a line for each job and a total`() throws {
        let result = try Program.bdevperf("--null --malloc 1M -q 2 -t 0.2 -ll")
        #expect(result.status == 0, "\(result.errors)")
        for text in [
            "Latency(us)", "Device Information", "runtime(s)", "IOPS", "MiB/s", "Fail/s", "TO/s", "Average", "min",
            "max", "Total",
            "Job: Null0 (Core Mask 0x", "Job: Malloc0 (", "workload: randread, depth: 2, IO size: 4096)", "99.90000%",
            "Latency histogram",
        ] { #expect(result.output.contains(text), "\(text) is missing in \(result.output)") }
    }

    @Test(
        arguments: ["async", "batch", "engine", "global"],
        ["randread", "randrw", "read", "flush", "unmap", "write_zeroes", "write"])
    func `a number of I/Os is kept exactly`(api: String, workload: String) throws {
        let result = try Program.bdevperf(
            "--malloc 1M -q 33 --number-ios 1001 --api \(api) -w \(workload) --output json")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.jobs.first?["io_completed"] as? Int == 1001)
    }

    @Test func `jobs of several bdevs share a number of I/Os`() throws {
        let result = try Program.bdevperf("--malloc 1M --null -q 8 --number-ios 101 --output json")
        #expect(
            result.jobs.map { $0["io_completed"] as? Int } == [51, 50]
                || result.jobs.map { $0["io_completed"] as? Int } == [50, 51])
    }

    @Test(arguments: [
        "-F 0.9", "-D", "-o 128k", "-w verify", "-w verify -o 512 -q 3", "-w reset -t 0.2", "-w rw -M 70",
    ])
    func `a RAM disk does what is asked without a failure`(options: String) throws {
        let result = try Program.bdevperf(
            "--malloc 4M -t 0.1 -q 8 \(options.replacing(" -t 0.2", with: "")) --output json")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.jobs.first?["io_failed"] as? Int == 0)
        #expect(try #require(result.jobs.first?["io_completed"] as? Int) > 0)
    }

    @Test func `verify finds that a null bdev keeps nothing, with status 1`() throws {
        let result = try Program.bdevperf("--null -w verify -q 1 -t 1 --output json")
        #expect(result.status == 1)
        #expect(result.jobs.first?["status"] as? String == "failed")
        #expect(result.errorLines.count == 1)
        #expect(result.errors.contains("differs from what was written"))
    }

    @Test func `verify names the first byte of a file that changed between writing and reading`() throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/disk"
        let options = "-w verify -q 4 -o 4096 --seed 7 --number-ios 64"
        #expect(try Program.bdevperf("--file \(file):1M \(options) --verify-phase write").status == 0)
        #expect(try Program.bdevperf("--file \(file) \(options) --verify-phase read").status == 0)
        let handle = try #require(FileHandle(forUpdatingAtPath: file))
        // Byte 100 of block 17, of 512 bytes.
        try handle.seek(toOffset: 17 * 512 + 100)
        let before = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: 17 * 512 + 100)
        try handle.write(contentsOf: [before ^ 0xFF])
        try handle.close()
        let result = try Program.bdevperf("--file \(file) \(options) --verify-phase read")
        #expect(result.status == 1)
        #expect(
            result.errors.contains("block 17 differs from what was written, first at its byte 100"), "\(result.errors)")
        #expect(try Program.bdevperf("--file \(file) \(options) --verify-phase read --seed 8").status == 1)
    }

    @Test func `a configuration makes the bdevs, and -T chooses one`() throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/c.json"
        let text = """
            {"subsystems": [{"subsystem": "accel", "config": []}, {"subsystem": "bdev", "config": [
            {"method": "bdev_null_create", "params": {"name": "A", "num_blocks": 1024, "block_size": 512}},
            {"method": "bdev_malloc_create", "params": {"name": "B", "num_blocks": 1024, "block_size": 4096}}]}]}
            """
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        let both = try Program.bdevperf("-c \(file) --number-ios 10 --output json")
        #expect(both.jobs.compactMap { $0["job"] as? String } == ["A", "B"])
        #expect(both.errors.contains("ignored the subsystems accel"))
        let one = try Program.bdevperf("--json \(file) -T B --number-ios 10 --output json")
        #expect(one.jobs.compactMap { $0["job"] as? String } == ["B"])
        try text.replacing("4096", with: "4097").write(toFile: file, atomically: false, encoding: .utf8)
        let wrong = try Program.bdevperf("-c \(file)")
        #expect(wrong.status == 2)
        #expect(
            wrong.errors.contains("subsystems[1].config[1].params.block_size: a block of 4097 bytes"), "\(wrong.errors)"
        )
    }

    @Test func `Ctrl-C ends the run and prints what was measured`() throws {
        let result = try Program.bdevperf("--null -t 60 -q 4", signals: [(1.5, SIGINT)])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("Total"))
    }

    @Test func `the live line comes at its interval`() throws {
        let result = try Program.bdevperf("--null -t 1 -q 4 -S 0.2 -P 2")
        #expect(result.output.split(separator: "\n").count { $0.contains("IOPS,") } >= 2, "\(result.output)")
    }

    @Test func `the demonstration does not write over somebody's file`() throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/precious"
        try "precious".write(toFile: file, atomically: false, encoding: .utf8)
        let result = try Program.bdevperf("--demo --file \(file)")
        #expect(result.status == 2)
        #expect(result.errors.contains("--overwrite"))
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "precious")
    }

    @Test(.timeLimit(.minutes(2))) func `the demonstration verifies a file and leaves none of its own`() throws {
        let result = try Program.bdevperf("--demo")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("is what was written"))
        let line = try #require(result.output.split(separator: "\n").first { $0.contains("File: ") })
        let path = String(line[line.range(of: "File: ")!.upperBound...])
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `the executor's figures are numbers`() throws {
        let result = try Program.bdevperf("--executor")
        #expect(result.status == 0, "\(result.errors)")
        #expect(try #require(result.json?["jobs_per_second"] as? Double) > 0)
    }
}
