import Bdev
import BdevConfiguration
import Reactors
import Testing

@Suite("Methods of the virtual modules")
struct VirtualMethodTests {
    /// Applies `calls`, and runs `body` with the engine.
    private func apply(
        _ calls: [String], _ body: (BdevEngine, [String]) async throws -> Void = { _, _ in }
    ) async throws {
        var options = ReactorOptions()
        options.locksCores = false
        let group = try ReactorGroup(options: options)
        let engine = BdevEngine(group: group), modules = StandardModules()
        let text = #"{"subsystems":[{"subsystem":"bdev","config":[\#(calls.joined(separator: ","))]}]}"#
        var failure: (any Error)?
        do {
            try await modules.register(with: engine)
            let document = try ConfigurationDocument(parsing: Array(text.utf8))
            let notices = try await modules.methods.apply(document, to: engine)
            await engine.waitForExamine()
            try await body(engine, notices)
        } catch { failure = error }
        let left = await engine.list()
        if failure != nil { #expect(left.isEmpty, "what was done has been taken back") }
        await engine.stop()
        await group.shutDown()
        if let failure { throw failure }
    }

    private static func call(_ method: String, _ parameters: String) -> String {
        #"{"method": "\#(method)", "params": {\#(parameters)}}"#
    }

    private static let malloc = call("bdev_malloc_create", #""name": "M", "num_blocks": 8192, "block_size": 512"#)
    private static let delay = call(
        "bdev_delay_create",
        #""name": "D", "base_bdev_name": "M", "avg_read_latency": 1, "p99_read_latency": 2, "avg_write_latency": 3, "#
            + #""p99_write_latency": 4, "uuid": "e1c24cb1-dd44-4be6-8d67-de92a332013f""#)
    private static let error = call("bdev_error_create", #""base_name": "M""#)

    @Test func `bdevs are made before their bases and after them, and the user is told of the first`() async throws {
        let passthru = Self.call("bdev_passthru_create", #""name": "P", "base_bdev_name": "D""#)
        let split = Self.call("bdev_split_create", #""base_bdev": "P", "split_count": 2"#)
        try await apply([passthru, split, Self.malloc, Self.delay]) { engine, notices in
            #expect(notices == ["there is no bdev 'D' yet", "there is no bdev 'P' yet"])
            #expect(await engine.list().map(\.name).sorted() == ["D", "M", "P", "Pp0", "Pp1"])
            let uuids = await engine.list().map(\.uuid.description)
            #expect(uuids.contains("e1c24cb1-dd44-4be6-8d67-de92a332013f"))
        }
        let deletions = [
            Self.call("bdev_split_delete", #""base_bdev": "P""#), Self.call("bdev_passthru_delete", #""name": "P""#),
            Self.call("bdev_delay_delete", #""name": "D""#),
        ]
        try await apply([Self.malloc, Self.delay, passthru, split] + deletions) { engine, notices in
            #expect(notices.isEmpty)
            #expect(await engine.list().map(\.name) == ["M"])
        }
    }

    @Test func `every method of delay and error is accepted with SPDK's words`() async throws {
        var calls = [Self.malloc, Self.error]
        for type in ["read", "write", "flush", "unmap", "all", "clear"] {
            for effect in ["failure", "pending", "corrupt_data", "nomem", "nvme_failure"] {
                calls.append(
                    Self.call(
                        "bdev_error_inject_error",
                        #""name": "EE_M", "io_type": "\#(type)", "error_type": "\#(effect)", "num": 3, "nvme_sct": 2, "#
                            + #""nvme_sc": 129, "queue_depth": 4, "corrupt_offset": 5, "corrupt_value": 6"#))
            }
        }
        calls.append(Self.call("bdev_error_resume_pending", #""name": "EE_M""#))
        calls.append(Self.call("bdev_error_delete", #""name": "EE_M""#))
        calls.append(Self.delay)
        for (type, value) in [("p99_read", 9), ("avg_read", 8), ("p99_write", 7), ("avg_write", 6)] {
            calls.append(
                Self.call(
                    "bdev_delay_update_latency",
                    #""delay_bdev_name": "D", "latency_type": "\#(type)", "latency_us": \#(value)"#))
        }
        try await apply(calls) { engine, _ in #expect(await engine.list().map(\.name) == ["M", "D"]) }
    }

    @Test(arguments: [
        ("bdev_split_create", #""base_bdev": "M", "split_count": 0"#, "1 to 4294967295"),
        ("bdev_split_create", #""base_bdev": "M", "split_count": 1, "split_size_mb": 5"#, "parts of 5242880 bytes"),
        ("bdev_split_create", #""base_bdev": "M""#, "split_count"),
        ("bdev_split_delete", #""base_bdev": "X""#, "no bdev of this name"),
        ("bdev_passthru_create", #""name": "P""#, "base_bdev_name"),
        ("bdev_passthru_delete", #""name": "X""#, "no bdev of this name"),
        (
            "bdev_delay_create",
            #""name": "D", "base_bdev_name": "M", "avg_read_latency": 2, "p99_read_latency": 1, "#
                + #""avg_write_latency": 1, "p99_write_latency": 1"#,
            "below the average"
        ),
        (
            "bdev_delay_update_latency", #""delay_bdev_name": "D", "latency_type": "max", "latency_us": 1"#,
            "avg_read, p99_read, avg_write, p99_write"
        ),
        (
            "bdev_error_inject_error", #""name": "EE_M", "io_type": "compare", "error_type": "failure""#,
            "clear, read, write, unmap, flush, all"
        ),
        (
            "bdev_error_inject_error", #""name": "EE_M", "io_type": "read", "error_type": "corrupt_data""#,
            "corrupts nothing"
        ),
        (
            "bdev_error_inject_error", #""name": "EE_M", "io_type": "read", "error_type": "failure""#,
            "no bdev of this name"
        ),
    ])
    func `what makes no sense is refused, and what was done before is taken back`(
        method: String, parameters: String, message: String
    ) async throws {
        do {
            try await apply([Self.malloc, Self.call(method, parameters)])
            Issue.record("\(method) was accepted")
        } catch let error as ConfigurationError { #expect(error.description.contains(message), "\(error)") }
    }
}
