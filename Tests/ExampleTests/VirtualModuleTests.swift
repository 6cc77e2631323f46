import Foundation
import Testing

/// bdevperf over each virtual module, made by SPDK's methods.
@Suite(.serialized)
struct VirtualModuleTests {
    @Test(arguments: [
        ("P", #"{"method": "bdev_passthru_create", "params": {"name": "P", "base_bdev_name": "M"}}"#),
        (
            "Mp1",
            #"{"method": "bdev_split_create", "params": {"base_bdev": "M", "split_count": 3, "split_size_mb": 1}}"#
        ),
        (
            "D",
            #"""
            {"method": "bdev_delay_create", "params": {"name": "D", "base_bdev_name": "M", "avg_read_latency": 10,
             "p99_read_latency": 100, "avg_write_latency": 20, "p99_write_latency": 200}}
            """#
        ),
        ("EE_M", #"{"method": "bdev_error_create", "params": {"base_name": "M"}}"#),
    ])
    func `what is written through a virtual bdev is read back`(bdev: String, method: String) throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/c.json"
        let malloc =
            #"{"method": "bdev_malloc_create", "params": {"name": "M", "num_blocks": 8192, "block_size": 512}}"#
        // Before its base and after it.
        for calls in ["\(malloc), \(method)", "\(method), \(malloc)"] {
            try #"{"subsystems": [{"subsystem": "bdev", "config": [\#(calls), {"method": "bdev_wait_for_examine"}]}]}"#
                .write(toFile: file, atomically: false, encoding: .utf8)
            let result = try Program.bdevperf("-c \(file) -T \(bdev) -w verify -q 16 -t 0.3 --output json")
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.jobs.first?["job"] as? String == bdev)
            #expect(result.jobs.first?["io_failed"] as? Int == 0)
            #expect(try #require(result.jobs.first?["io_completed"] as? Int) > 0)
        }
    }

    @Test(arguments: [
        (
            "Z",
            #"""
            {"method": "bdev_zone_block_create", "params": {"name": "Z", "base_bdev": "M", "zone_capacity": 500,
             "optimal_open_zones": 8}}
            """#
        ),
        (
            "L",
            #"{"method": "bdev_log_create", "params": {"name": "L", "base_bdev_name": "M", "log_size_mb": 256}}"#
        ),
    ])
    func `what is written is read back where the base must be there first`(bdev: String, method: String) throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/c.json"
        let malloc =
            #"{"method": "bdev_malloc_create", "params": {"name": "M", "num_blocks": 8192, "block_size": 512}}"#
        try #"{"subsystems": [{"subsystem": "bdev", "config": [\#(malloc), \#(method)]}]}"#
            .write(toFile: file, atomically: false, encoding: .utf8)
        let result = try Program.bdevperf("-c \(file) -T \(bdev) -w verify -q 8 --number-ios 20000 --output json")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.jobs.first?["io_failed"] as? Int == 0)
        #expect(try #require(result.jobs.first?["io_completed"] as? Int) >= 20000)
    }

    @Test(arguments: [("", 1), ("-f", 5)])
    func `injected failures are counted, and end the run unless it is to go on`(flag: String, failed: Int) throws {
        let scratch = try Scratch()
        let file = "\(scratch.path)/c.json"
        try """
        {"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_malloc_create", "params": {"name": "M", "num_blocks": 8192, "block_size": 512}},
        {"method": "bdev_error_create", "params": {"base_name": "M"}},
        {"method": "bdev_error_inject_error", "params": {"name": "EE_M", "io_type": "read",
         "error_type": "failure", "num": 5}}]}]}
        """.write(toFile: file, atomically: false, encoding: .utf8)
        let result = try Program.bdevperf("-c \(file) -T EE_M -w randread -q 1 --number-ios 100 --output json \(flag)")
        #expect(result.status == 1)
        #expect(result.jobs.first?["io_failed"] as? Int == failed)
    }
}
