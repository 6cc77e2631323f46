import Foundation
import Testing

@Suite(.serialized)
struct OtherExampleTests {
    /// Runs a program that takes a core for itself, on the first core that nothing else of this machine has.
    private func run(
        _ name: String, _ arguments: [String] = [], signals: [(after: TimeInterval, number: Int32)] = []
    ) throws -> Program.Result {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        var result: Program.Result?
        for attempt in 0..<40 {
            let last = try Program(name: name).run(arguments, core: attempt % cores, signals: signals)
            if !(last.output + last.errors).contains("has a reactor of") { return last }
            result = last
            Thread.sleep(forTimeInterval: 0.5)
        }
        return try #require(result)
    }

    @Test func `hello-bdev reads back what it wrote`() throws {
        let result = try run("hello-bdev")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output == "read back what was written\n")
    }

    @Test func `numa-pinning shows the node of the memory`() throws {
        let result = try run("numa-pinning")
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.contains("node 0: cores"))
        #expect(result.output.contains("its buffers on node"))
        #expect(try run("numa-pinning", ["8000"]).status == 2)
        #expect(try run("numa-pinning", ["/no/such/file"]).status == 2)
    }

    @Test func `swift-service ends in order when it is asked to`() throws {
        let result = try run("swift-service", signals: [(2, SIGTERM)])
        #expect(result.status == 0 && !result.crashed, "\(result.errors)")
        let text = result.output + result.errors
        #expect(text.contains("has counted to 10"))
        #expect(text.contains("storage closed"))
        let closed = try #require(text.range(of: "storage closed"))
        for worker in 0..<4 {
            #expect(try #require(text.range(of: "worker of block \(worker) ended")).upperBound < closed.lowerBound)
        }
    }
}
