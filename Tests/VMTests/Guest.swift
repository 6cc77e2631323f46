import Foundation
import NVMeDriver
import Reactors
import Testing

/// All tests that need the guest: one after the other, since they share its drives.
@Suite(
    "In the guest", .serialized,
    .enabled(
        if: Guest.drives["plain"] != nil && !Guest.isOrdinaryUser, "these need real controllers: run `make vm-test`"))
struct GuestTests {}

/// What `Scripts/vm` says about the machine it has booted.
enum Guest {
    private static let environment = ProcessInfo.processInfo.environment

    static let isHere = environment["BDEV_GUEST"] == "1"
    /// Without the rights of root.
    static let isOrdinaryUser = isHere && geteuid() != 0

    /// Of the kernel: `6.1` is `[6, 1]`.
    static let kernel: [Int] = {
        let release = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? ""
        return release.split { $0 == "." || $0 == "-" }.prefix(2).compactMap { Int($0) }
    }()
    static let isLinux62OrLater = !kernel.lexicographicallyPrecedes([6, 2])

    /// The PCI addresses of its drives by their names, which are also their serial numbers.
    static let drives: [String: PCIAddress] = {
        var drives: [String: PCIAddress] = [:]
        for word in (environment["BDEV_GUEST_DRIVES"] ?? "").split(separator: " ") {
            let parts = word.split(separator: "=")
            drives[String(parts[0])] = PCIAddress(String(parts[1]))
        }
        return drives
    }()

    static func address(_ drive: String) throws -> PCIAddress {
        try #require(drives[drive], "the guest has no drive '\(drive)'; it has \(drives.keys.sorted())")
    }

    /// Runs a program of the guest to its end.
    @discardableResult
    static func shell(_ command: String) throws -> (status: Int32, output: Data) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", command]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, output)
    }

    /// What the IOMMU has refused to a drive, as the kernel's log has it. QEMU's controllers say nothing of it: a
    /// command whose memory is out of reach ends with success.
    static func faults(of drive: String) throws -> [Substring] {
        // `0000:00:10.0` is `00:10.0` there.
        let device = try "Request device [\(address(drive).description.dropFirst(5))]"
        let log = try String(decoding: shell("dmesg").output, as: UTF8.self)
        return log.split(separator: "\n").filter { $0.contains("DMAR:") && $0.contains(device) }
    }
}

/// Runs `body` on a reactor, with a group that is shut down whatever happens.
func onReactor(
    count: Int = 1, pages: MemoryRegion.Pages = .normal,
    _ body: @escaping @Sendable (isolated LocalReactor, ReactorGroup) async throws -> Void
) async throws {
    var options = ReactorOptions()
    options.locksCores = false
    options.memory.pages = pages
    let group = try ReactorGroup(cores: Array(0..<count), options: options)
    do {
        try await group.reactors[0].run { local in try await body(local, group) }
    } catch {
        await group.shutDown()
        throw error
    }
    await group.shutDown()
}

/// Runs `body` with a drive's controller, which is given back whatever happens. Afterwards, the IOMMU must not have
/// refused anything to it.
func withController(
    _ drive: String, options: NVMeController.Options = .init(),
    _ body: @escaping @Sendable (isolated LocalReactor, NVMeController) async throws -> Void
) async throws {
    let before = try Guest.faults(of: drive).count
    try await onReactor { local, _ in
        let controller = try await NVMeController.attach(
            pciAddress: Guest.address(drive), on: local.reactor, options: options)
        do {
            try await body(local, controller)
        } catch {
            await controller.detach()
            throw error
        }
        await controller.detach()
    }
    let faults = try Guest.faults(of: drive).dropFirst(before)
    #expect(faults.isEmpty, "\(drive): the IOMMU refused \(faults.count) accesses: \(faults.first ?? "")")
}
