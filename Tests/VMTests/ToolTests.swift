import Foundation
import NVMeDriver
import Testing

/// A program of the package, beside the tests.
func runProgram(_ line: String) throws -> (status: Int32, json: [String: Any]?, text: String) {
    let folder = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path()
    let result = try Guest.shell("'\(folder)'/\(line)")
    let json = try? JSONSerialization.jsonObject(with: result.output) as? [String: Any]
    return (result.status, json, String(decoding: result.output, as: UTF8.self))
}

extension GuestTests {
    @Test func `hello-nvme reads back what it wrote on a real controller`() throws {
        let result = try runProgram("hello-nvme \(Guest.address("plain"))")
        #expect(result.status == 0)
        #expect(result.text == "read back what was written\n")
    }

    @Test func `nvme-identify shows real controllers as they were made`() throws {
        let drives = ["large", "protected1", "protected64"]
        let result = try runProgram(
            "nvme-identify --json \(drives.map { try "\(Guest.address($0))" }.joined(separator: " "))")
        #expect(result.status == 0)
        let controllers = try #require(result.json?["controllers"] as? [[String: Any]])
        try #require(controllers.count == 3)
        let names = controllers.map { ($0["controller"] as? [String: Any])?["serial"] as? String }
        #expect(names == drives)
        let namespaces = controllers.compactMap { ($0["namespaces"] as? [[String: Any]])?.first }
        #expect(namespaces.map { $0["block_size"] as? Int } == [4096, 512, 4096])
        #expect(namespaces.map { $0["metadata_size"] as? Int } == [0, 8, 16])
        #expect(namespaces.map { $0["protection_type"] as? Int } == [0, 1, 1])
        #expect(namespaces.map { $0["guard_bits"] as? Int } == [nil, 16, 64])
        for controller in controllers {
            let health = try #require(controller["health"] as? [String: Any])
            #expect(250...400 ~= (health["temperature"] as? Int ?? 0))
            #expect((controller["firmware_slots"] as? [String: Any])?["active_slot"] as? Int == 1)
        }
    }

    @Test func `nvme-identify lists the drives of the machine as usable`() throws {
        let result = try runProgram("nvme-identify --list --json")
        let devices = try #require(result.json?["devices"] as? [[String: Any]])
        let plain = try Guest.address("plain").description
        let found = try #require(devices.first { $0["address"] as? String == plain })
        #expect(found["usable"] as? Bool == true, "\(found)")
        #expect(found["driver"] as? String == "vfio-pci")
    }

    @Test(arguments: ["plain", "large", "separate", "extended"])
    func `nvme-perf loads a real controller without a failure`(drive: String) throws {
        let line = "-q 32 --number-ios 2000 -w randrw --disable-cpumask-locks --output json"
        let result = try runProgram("nvme-perf -b \(Guest.address(drive)) \(line)")
        #expect(result.status == 0)
        let job = try #require((result.json?["jobs"] as? [[String: Any]])?.first)
        #expect(job["io_completed"] as? Int == 2000)
        #expect(job["io_failed"] as? Int == 0)
        let doorbells = try #require(job["submission_doorbells"] as? Int)
        #expect(doorbells < 2000, "\(doorbells) doorbell writes for 2000 commands")
        #expect(try Guest.faults(of: drive).isEmpty)
    }
}
